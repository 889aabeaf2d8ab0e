-- The whole database as the migrations leave it; tests compare the two. Works on PostgreSQL 15 to 18 with or
-- without TimescaleDB.
--
-- A record of a device is a row keyed (device, boot, seq, at), so that storing it twice changes nothing:
--   at           wall time of the device, header.wall_us to the microsecond
--   clock        whether that wall time could be trusted: synced | unsynced; retimed: it follows from boot_clock
--   op_s         message time: seconds of operation of the device, which never jump
--   received_at  when the record was stored here
-- `real[]` and `bytea` columns named features hold float32; features are little-endian bytes as they travel.

-- ---- records of devices: one table a kind ---------------------------------------------------------------------

CREATE TABLE drift_event (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    phase text NOT NULL CHECK (phase IN ('begin', 'continue', 'end')),
    episode text NOT NULL,
    frame text NOT NULL,
    detector text NOT NULL,
    drift_type text NOT NULL,
    statistic double precision NOT NULL,
    threshold double precision NOT NULL,
    severity double precision NOT NULL,
    frames bigint NOT NULL,         -- begin: since commissioning; later: since the episode began
    samples text[] NOT NULL,        -- quarantined since the last event of the episode
    reason text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX drift_event_at ON drift_event (at DESC);
CREATE INDEX drift_event_episode ON drift_event (device, episode);

CREATE TABLE camera_event (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    phase text NOT NULL CHECK (phase IN ('begin', 'end')),
    episode text NOT NULL,          -- the first frame of the fault
    frame text NOT NULL,
    fault text NOT NULL,            -- frozen | black | saturated
    statistic double precision NOT NULL,
    threshold double precision NOT NULL,
    frames bigint NOT NULL,         -- since the first one of the fault
    seconds double precision NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX camera_event_at ON camera_event (at DESC);

-- The ledger of messages with readings. Those of a boot without a clock wait here with their readings.
CREATE TABLE telemetry (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    names text[],                   -- names, ages, readings: NULL once the readings are rows of `reading`
    ages real[],                    -- row i was read ages[i] seconds before `at`
    readings real[],                -- cardinality(ages) x cardinality(names), row by row; NaN where one is missing
    faults text[] NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    size bigint NOT NULL,           -- readings, without those that are missing
    seconds real NOT NULL,          -- age of the oldest reading
    PRIMARY KEY (device, boot, seq, at),
    CONSTRAINT telemetry_waits CHECK ((clock = 'unsynced') = (ages IS NOT NULL))
);
CREATE INDEX telemetry_at ON telemetry (at DESC);
CREATE INDEX telemetry_device_at ON telemetry (device, at DESC);

CREATE TABLE prediction (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    seconds double precision NOT NULL,
    frames bigint NOT NULL,
    labels text[] NOT NULL,
    counts bigint[] NOT NULL,       -- frames per label
    confidence real[] NOT NULL,     -- quantiles .05 .25 .5 .75 .95
    distance real[] NOT NULL,       -- the same of the mean neighbour distance
    score real[] NOT NULL,          -- the same of the drift score
    each_frame text[] NOT NULL,     -- single predictions, where the device is set to report them
    each_label bigint[] NOT NULL,   -- index into labels, from 0
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX prediction_at ON prediction (at DESC);
CREATE INDEX prediction_device_at ON prediction (device, at DESC);

CREATE TABLE snapshot (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    snapshot text NOT NULL,
    reason text NOT NULL,
    digest text NOT NULL,
    size bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX snapshot_at ON snapshot (at DESC);

CREATE TABLE log (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    level text NOT NULL,
    source text NOT NULL,           -- the actor or module that speaks
    text text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX log_at ON log (at DESC);

CREATE TABLE sample (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    sample text NOT NULL,
    episode text NOT NULL,
    bundle text NOT NULL,           -- the bundle whose feature space `features` belongs to
    predicted text NOT NULL,        -- what the device took it for
    confidence double precision NOT NULL,
    score double precision NOT NULL,
    features bytea NOT NULL,
    neighbours text[] NOT NULL,     -- labels of the nearest in the memory, nearest first
    distances real[] NOT NULL,
    picture_digest text,            -- sha256; the object pictures/<first two digits>/<digest>; NULL without a picture
    picture_type text NOT NULL,
    width bigint NOT NULL,
    height bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX sample_id ON sample (device, sample);
CREATE INDEX sample_episode ON sample (device, episode);
CREATE INDEX sample_at ON sample (at DESC);
-- Whether a picture is still needed is asked before it is removed.
CREATE INDEX sample_picture ON sample (picture_digest) WHERE picture_digest IS NOT NULL;

CREATE TABLE adaptation (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    adaptation text NOT NULL,
    episode text NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,          -- applied | rolled-back | rejected
    reason text NOT NULL,
    label text NOT NULL,
    samples text[] NOT NULL,
    statistic double precision NOT NULL,
    threshold double precision NOT NULL,
    accuracy_before double precision NOT NULL,
    accuracy_after double precision NOT NULL,
    memory bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX adaptation_at ON adaptation (at DESC);

-- What devices asked people about; the sample itself came before.
CREATE TABLE label_request (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    sample text NOT NULL,
    episode text NOT NULL,
    reason text NOT NULL,           -- dense | random | unsure: why this one
    asked bigint NOT NULL,          -- requests of the device in its present period, this one included
    budget bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX label_request_sample ON label_request (device, sample);

CREATE TABLE label_ack (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    sample text NOT NULL,
    revision bigint NOT NULL,
    outcome text NOT NULL,          -- applied | duplicate | rejected
    reason text NOT NULL,
    snapshot text NOT NULL,         -- the snapshot on the device that holds the label
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX label_ack_sample ON label_ack (device, sample, revision);

CREATE TABLE command_report (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    command text NOT NULL,
    verb text NOT NULL,
    state text NOT NULL,            -- accepted | running | done | failed | expired
    reason text NOT NULL,
    result jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX command_report_command ON command_report (device, command);

CREATE TABLE blob_offer (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    what text NOT NULL,             -- snapshot: what kind of thing it is
    name text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX blob_offer_sha256 ON blob_offer (device, sha256);
CREATE INDEX blob_offer_unsynced ON blob_offer (device, boot) WHERE clock = 'unsynced';

CREATE TABLE dead_letter (
    device text NOT NULL,
    boot text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    clock text NOT NULL,
    op_s double precision NOT NULL,
    source text NOT NULL,           -- the actor that could not handle the message
    topic text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot, seq, at)
);
CREATE INDEX dead_letter_at ON dead_letter (at DESC);

-- ---- readings and clocks -----------------------------------------------------------------------------------------

-- One row a name that a device ever reported a reading under.
CREATE TABLE series (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    name text NOT NULL,
    UNIQUE (device, name)
);

-- One row a reading. That none is there twice follows from `telemetry`: only who claims a message there copies it.
CREATE TABLE reading (
    series bigint NOT NULL,
    at timestamptz NOT NULL,
    value real NOT NULL
);
-- In ascending order pages fill up where a series grows; equal keys are too few to look for.
CREATE INDEX reading_series_at ON reading (series, at) WITH (deduplicate_items = off);

-- Workers remember the ids of series. Whoever deletes one waits for those who are just writing, and makes all others
-- look again; readings are deleted after their series, in the same transaction.
CREATE SEQUENCE series_generation;

CREATE FUNCTION series_are_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7467368267);
    PERFORM nextval('series_generation');
    RETURN NULL;
END
$$;
CREATE TRIGGER series_are_deleted BEFORE DELETE OR TRUNCATE ON series
    FOR EACH STATEMENT EXECUTE FUNCTION series_are_deleted();

-- What message time means in a boot: wall time = offset + message time. Set once and never changed.
CREATE TABLE boot_clock (
    device text NOT NULL,
    boot text NOT NULL,
    offset_us bigint NOT NULL,      -- microseconds since 1970
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot)
);

-- The boots that said something of themselves here, in the order in which they first did so: what is heard of an
-- earlier installation of a device is old, however late it arrives, unless it is a boot that nobody has heard of.
CREATE TABLE boot_heard (
    device text NOT NULL,
    boot text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    heard_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot)
);

-- The records that came with a clock which could not be trusted, and that are moved once their boot has one.
CREATE INDEX drift_event_unsynced ON drift_event (device, boot) WHERE clock = 'unsynced';
CREATE INDEX camera_event_unsynced ON camera_event (device, boot) WHERE clock = 'unsynced';
CREATE INDEX telemetry_unsynced ON telemetry (device, boot) WHERE clock = 'unsynced';
CREATE INDEX prediction_unsynced ON prediction (device, boot) WHERE clock = 'unsynced';
CREATE INDEX snapshot_unsynced ON snapshot (device, boot) WHERE clock = 'unsynced';
CREATE INDEX log_unsynced ON log (device, boot) WHERE clock = 'unsynced';
CREATE INDEX sample_unsynced ON sample (device, boot) WHERE clock = 'unsynced';
CREATE INDEX adaptation_unsynced ON adaptation (device, boot) WHERE clock = 'unsynced';
CREATE INDEX label_request_unsynced ON label_request (device, boot) WHERE clock = 'unsynced';
CREATE INDEX label_ack_unsynced ON label_ack (device, boot) WHERE clock = 'unsynced';
CREATE INDEX command_report_unsynced ON command_report (device, boot) WHERE clock = 'unsynced';
CREATE INDEX dead_letter_unsynced ON dead_letter (device, boot) WHERE clock = 'unsynced';

-- ---- what ingest itself could not handle ------------------------------------------------------------------------

CREATE TABLE ingest_dead_letter (
    device text NOT NULL,           -- from the topic, empty where even that cannot be read
    digest text NOT NULL,           -- sha256 of topic and payload: sent again it is the same row
    boot text,                      -- boot and seq where the header could be read and is the sender's: then the
    seq bigint,                     -- record counts as stored, or the device would send it for ever
    topic text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, digest)
);
CREATE INDEX ingest_dead_letter_received_at ON ingest_dead_letter (received_at DESC);

-- ---- the fleet: one row a device -----------------------------------------------------------------------------

-- Presence and birth are ordered by (boot, session) and not by arrival: a late will overrules no newer birth.
CREATE TABLE device (
    device text PRIMARY KEY,
    state text NOT NULL DEFAULT 'unknown',  -- online | offline | stopped | sleeping | unknown
    reason text NOT NULL DEFAULT '',
    faults text[] NOT NULL DEFAULT '{}',
    state_boot text,
    state_session bigint,
    state_mono_us bigint,
    state_at timestamptz,                   -- by the device's clock; a will carries the time of its connection
    birth_boot text,
    birth_session bigint,
    birth_at timestamptz,
    versions jsonb NOT NULL DEFAULT '{}',
    actors text[] NOT NULL DEFAULT '{}',
    detectors text[] NOT NULL DEFAULT '{}',
    bundle text NOT NULL DEFAULT '',
    config bigint NOT NULL DEFAULT 0,
    mode text NOT NULL DEFAULT '',
    privacy text NOT NULL DEFAULT '',
    report_s double precision NOT NULL DEFAULT 60,
    location text NOT NULL DEFAULT '',
    location_source text NOT NULL DEFAULT '',
    first_heard_at timestamptz NOT NULL DEFAULT now(),
    heard_at timestamptz NOT NULL DEFAULT now()  -- last record or status, by this server's clock, to five seconds
);

-- What a device said last of its settings and of its model, on the retained topics config/reported, model/reported.
CREATE TABLE device_report (
    device text NOT NULL,
    what text NOT NULL CHECK (what IN ('config', 'model')),
    boot text NOT NULL,             -- boot and message time order the reports, not their arrival
    mono_us bigint NOT NULL,
    at timestamptz NOT NULL,
    revision bigint NOT NULL,       -- of the desired document that it speaks of
    document jsonb NOT NULL,        -- the fields of ConfigReported or ModelReported
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, what)
);

-- ---- deployments: what the model registry is told ---------------------------------------------------------------

-- From births, reports and samples; where a boot said nothing of it, it is taken for that of its neighbours.
CREATE TABLE device_bundle (
    device text NOT NULL,
    boot text NOT NULL,
    digest text NOT NULL,           -- of the bundle; empty where nothing tells
    inferred boolean NOT NULL DEFAULT false,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot)
);
CREATE INDEX device_bundle_noted_at ON device_bundle (noted_at);

-- A device with a bundle, from the first to the last record of it that MLflow was told of; one run of MLflow's.
CREATE TABLE deployment (
    device text NOT NULL,
    digest text NOT NULL,
    run_id text NOT NULL,
    model text NOT NULL DEFAULT '', -- in the registry; empty where the bundle was not registered
    version bigint,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    running boolean NOT NULL DEFAULT true,  -- as MLflow was told
    counts jsonb NOT NULL DEFAULT '{}',     -- name of a metric that counts -> how far it has come
    PRIMARY KEY (device, digest)
);

-- Up to when MLflow was told of what was received, a row a kind of record.
CREATE TABLE registry_mark (
    source text PRIMARY KEY,
    received_at timestamptz NOT NULL
);

-- ---- labels: the outbox towards devices -----------------------------------------------------------------------

-- The API writes `queued`, publishes (`published`), and clears the retained topic once answered. Ingest answers:
-- it sets applied or rejected in the transaction that stores the acknowledgement, and only on rows that are queued
-- or published. A newer revision makes the older ones `superseded`.
CREATE TABLE label (
    device text NOT NULL,
    sample text NOT NULL,
    revision bigint NOT NULL CHECK (revision > 0),
    verdict text NOT NULL CHECK (verdict IN ('is', 'is-not', 'unknown', 'retract')),
    label text NOT NULL DEFAULT '',
    by text NOT NULL,
    features bytea NOT NULL,
    bundle text NOT NULL,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'published', 'applied', 'rejected', 'superseded')),
    reason text NOT NULL DEFAULT '',
    made_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    answered_at timestamptz,
    cleared_at timestamptz,
    idempotency_key text,           -- of the request that made it, where it had one: sent again it makes nothing new
    PRIMARY KEY (device, sample, revision)
);
CREATE UNIQUE INDEX label_idempotency_key ON label (idempotency_key);
CREATE INDEX label_outstanding ON label (device, made_at) WHERE state IN ('queued', 'published');
-- Labels whose topic may hold them: an answer proves that it did, even where the publisher died before noting so.
CREATE INDEX label_to_clear ON label (device, sample)
    WHERE cleared_at IS NULL AND (published_at IS NOT NULL OR answered_at IS NOT NULL);
CREATE INDEX label_made_at ON label (made_at DESC);

-- ---- objects on their way into the object store --------------------------------------------------------------

CREATE TABLE waiting_object (
    key text PRIMARY KEY,           -- where it belongs in the object store
    type text NOT NULL,             -- its content type
    data bytea NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    tries bigint NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '' -- why it could not be put, the last time
);
ALTER TABLE waiting_object ALTER COLUMN data SET STORAGE EXTERNAL;  -- pictures are compressed already
CREATE INDEX waiting_object_turn ON waiting_object (tries, since);

-- What became of each thing that a device offered; times are this server's.
CREATE TABLE blob (
    device text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    what text NOT NULL,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'wanted' CHECK (state IN ('wanted', 'stored', 'refused', 'expired', 'dropped')),
    reason text NOT NULL DEFAULT '',
    offered_at timestamptz NOT NULL DEFAULT now(),   -- the last time
    asked_at timestamptz,           -- when the device was asked for chunks last
    asked_got bigint NOT NULL DEFAULT 0,             -- chunks that were there then
    pause_s double precision NOT NULL DEFAULT 0,     -- of silence before it is asked again
    failures bigint NOT NULL DEFAULT 0,              -- times that all chunks were there and were not what was offered
    unfit bigint NOT NULL DEFAULT 0,                 -- chunks that did not fit into what was offered
    stored_at timestamptz,
    told_at timestamptz,            -- when the device was told that it need not keep it
    PRIMARY KEY (device, sha256)
);
CREATE INDEX blob_wanted ON blob (offered_at) WHERE state = 'wanted';
CREATE INDEX blob_untold ON blob (offered_at) WHERE state IN ('stored', 'refused');

CREATE TABLE blob_chunk (
    device text NOT NULL,
    sha256 text NOT NULL,
    index bigint NOT NULL,          -- bytes index * 65536 and on
    data bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, sha256, index),
    FOREIGN KEY (device, sha256) REFERENCES blob ON DELETE CASCADE
);
ALTER TABLE blob_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

-- ---- traffic and rollouts --------------------------------------------------------------------------------------

-- What ingest took from the broker in an hour, by its own clock: also what came twice, for it was carried twice.
-- A worker writes its counts every few seconds; what it had not written when it was killed is not counted.
CREATE TABLE traffic (
    device text NOT NULL,
    hour timestamptz NOT NULL,
    kind text NOT NULL,             -- of the message; 'unreadable' for what became a dead letter
    messages bigint NOT NULL,
    bytes bigint NOT NULL,          -- of payloads
    PRIMARY KEY (device, hour, kind)
);
CREATE INDEX traffic_hour ON traffic (hour);

-- Hours that were given up are kept as days of UTC.
CREATE TABLE traffic_day (
    device text NOT NULL,
    day timestamptz NOT NULL,
    kind text NOT NULL,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (device, day, kind)
);

-- A bundle on its way to part of the fleet, phase by phase.
CREATE TABLE rollout (
    rollout text PRIMARY KEY,
    name text NOT NULL,
    devices jsonb NOT NULL,         -- which devices are meant, by what they have in common; their names: rollout_device
    digest text NOT NULL,           -- of the bundle
    phases jsonb NOT NULL,          -- the shares of the devices, in order
    phase bigint NOT NULL DEFAULT 0,
    thresholds jsonb NOT NULL DEFAULT '{}', -- what stops it
    state text NOT NULL DEFAULT 'planned'
        CHECK (state IN ('planned', 'running', 'paused', 'done', 'stopped', 'rolled-back')),
    reason text NOT NULL DEFAULT '',
    by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

CREATE TABLE rollout_device (
    rollout text NOT NULL REFERENCES rollout ON DELETE CASCADE,
    device text NOT NULL,
    phase bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'sent', 'trial', 'confirmed', 'refused', 'rolled-back', 'left-out')),
    reason text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (rollout, device)
);
CREATE INDEX rollout_device_device ON rollout_device (device);

-- ---- hours --------------------------------------------------------------------------------------------------------

-- How far each table's rows were summed up into hours. `tinyml ingest maintain` does it (job `rollups`).
CREATE TABLE rollup (
    what text PRIMARY KEY,          -- the table that is summed up
    until timestamptz NOT NULL,     -- rows received before this were
    closed timestamptz NOT NULL DEFAULT '2020-01-01 00:00+00' -- hours before this lost rows and stay as they are
);

-- Hours that have to be summed up again although no row of them arrived: rows were moved to them.
CREATE TABLE rollup_touched (
    what text NOT NULL,
    device text NOT NULL,
    hour timestamptz NOT NULL,
    PRIMARY KEY (what, device, hour)
);

CREATE TABLE prediction_hour (
    device text NOT NULL,
    hour timestamptz NOT NULL,
    windows bigint NOT NULL,        -- rows of `prediction`
    frames bigint NOT NULL,
    seconds double precision NOT NULL,
    -- Quantiles cannot be added up. What can: the lowest 5 % quantile of a window, the windows' medians weighted by
    -- their frames, the highest 95 % quantile.
    confidence_low double precision,
    confidence_sum double precision,
    confidence_high double precision,
    distance_low double precision,
    distance_sum double precision,
    distance_high double precision,
    score_low double precision,
    score_sum double precision,
    score_high double precision,
    PRIMARY KEY (device, hour)
);
CREATE INDEX prediction_hour_hour ON prediction_hour (hour);

CREATE TABLE prediction_label_hour (
    device text NOT NULL,
    hour timestamptz NOT NULL,
    label text NOT NULL,
    frames bigint NOT NULL,
    PRIMARY KEY (device, hour, label)
);
CREATE INDEX prediction_label_hour_hour ON prediction_label_hour (hour);

CREATE TABLE drift_hour (
    device text NOT NULL,
    hour timestamptz NOT NULL,
    detector text NOT NULL,
    begins bigint NOT NULL,
    continues bigint NOT NULL,
    ends bigint NOT NULL,
    peak_severity double precision NOT NULL,
    peak_statistic double precision NOT NULL,
    PRIMARY KEY (device, hour, detector)
);
CREATE INDEX drift_hour_hour ON drift_hour (hour);

CREATE TABLE reading_hour (
    series bigint NOT NULL,
    hour timestamptz NOT NULL,
    low double precision NOT NULL,
    high double precision NOT NULL,
    total double precision NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (series, hour)
);
CREATE INDEX reading_hour_hour ON reading_hour (hour);

-- Records come in the order of their arrival, so a block range index finds the last ones and costs next to nothing.
CREATE INDEX prediction_received_at ON prediction USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX telemetry_received_at ON telemetry USING brin (received_at) WITH (autosummarize = on);

-- Objects that no row may need any more; noted with the rows' end, so that none is left behind.
CREATE TABLE object_to_remove (
    key text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);

-- ---- jobs ---------------------------------------------------------------------------------------------------

-- What is done now and then: when each job ran last, and what came of it.
CREATE TABLE job (
    name text PRIMARY KEY,
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    done boolean,                   -- whether the last run that ended did its work
    said text NOT NULL DEFAULT '',  -- what it did, or why it failed
    seconds double precision,
    done_at timestamptz             -- when it did its work last
);

-- ---- presence -------------------------------------------------------------------------------------------------------

-- Whether a device is there, from its last status, when it was last heard, and its own report interval:
--   online   it was heard within 3 of its intervals, and said neither that it stops nor that it goes to sleep
--   idle     it said that it sleeps, for at most a day; or it is connected but was not heard for 3 of its intervals
--   offline  its will came, it stopped, or it was not heard for 30 of its intervals and a quarter of an hour
--   unknown  it never said anything of its presence
-- An interval counts as 1 s at least and a day at most; 5 s are how exactly heard_at is noted.
CREATE FUNCTION presence_of(state text, heard_at timestamptz, report_s double precision, moment timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN state IN ('offline', 'stopped') THEN 'offline'
        WHEN state = 'sleeping' THEN CASE WHEN silent_s <= 86400 THEN 'idle' ELSE 'offline' END
        WHEN silent_s <= 3 * interval_s + 5 THEN 'online'
        WHEN state = 'unknown' THEN 'unknown'
        WHEN silent_s <= greatest(30 * interval_s, 900) THEN 'idle'
        ELSE 'offline'
    END
    FROM (SELECT extract(epoch FROM moment - heard_at) AS silent_s, least(greatest(report_s, 1), 86400) AS interval_s) s
$$;

-- A row when the presence of a device changes, by this server's clock.
CREATE TABLE presence_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    at timestamptz NOT NULL,        -- when it changed; silence counts from when it was long enough
    presence text NOT NULL CHECK (presence IN ('online', 'idle', 'offline', 'unknown')),
    reason text NOT NULL,
    source text NOT NULL CHECK (source IN ('status', 'will', 'silence', 'records')),
    boot text NOT NULL DEFAULT '',  -- of its last status
    heard_at timestamptz NOT NULL,  -- when the device was last heard
    noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX presence_event_device ON presence_event (device, at, id);
CREATE INDEX presence_event_noted_at ON presence_event (noted_at);

-- The most devices that were online at once in an hour: of each bundle, and of all ('*').
CREATE TABLE fleet_hour (
    hour timestamptz NOT NULL,
    bundle text NOT NULL,
    online bigint NOT NULL,
    PRIMARY KEY (hour, bundle)
);

-- ---- episodes: what was wrong with a device, from when to when ----------------------------------------------------------

-- Up to when records were looked at, by when they were received; a job each.
CREATE TABLE knowledge_mark (
    name text PRIMARY KEY,
    at timestamptz NOT NULL
);
CREATE INDEX drift_event_received_at ON drift_event USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX camera_event_received_at ON camera_event USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX camera_event_episode ON camera_event (device, episode);
CREATE INDEX sample_received_at ON sample USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX adaptation_received_at ON adaptation USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX adaptation_episode ON adaptation (device, episode);
CREATE INDEX label_ack_received_at ON label_ack USING brin (received_at) WITH (autosummarize = on);

-- The job `episodes` writes it from the records, which stay the truth, and gives each a status. What a person said of
-- one (`by` is not 'system') the job leaves alone.
CREATE TABLE episode_state (
    device text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('drift', 'camera', 'away')),
    episode text NOT NULL,          -- the device's id of it; of an absence p and the id of the presence_event before
    type text NOT NULL,             -- drift: what the detector watches; camera: the fault; away: away
    detector text NOT NULL DEFAULT '', -- away: will | silence
    bundle text NOT NULL DEFAULT '', -- '*' where it does not matter
    clock text NOT NULL DEFAULT 'synced',  -- unsynced: begin_at cannot be trusted yet
    begin_at timestamptz,           -- NULL while only later events have arrived
    end_at timestamptz,
    ended_heard_at timestamptz,     -- when its end was received here
    last_heard_at timestamptz NOT NULL,    -- when its last event was received here
    severity double precision NOT NULL DEFAULT 0,
    samples bigint NOT NULL DEFAULT 0,
    labels bigint NOT NULL DEFAULT 0,      -- of these samples, applied by the device
    applied bigint NOT NULL DEFAULT 0,     -- adaptations of the device, by outcome
    rolled_back bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    end_reason text NOT NULL DEFAULT '',   -- the device's own
    installation text NOT NULL DEFAULT '', -- of the device that began it
    clustered boolean NOT NULL DEFAULT false, -- whether incidents know of it as it is
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'in-review', 'resolved', 'dismissed')),
    reason text NOT NULL DEFAULT '', -- of the status: quiet | followed | other-bundle | set-up-anew | lost, or a person's
    at timestamptz NOT NULL DEFAULT now(), -- when the status became this
    by text NOT NULL DEFAULT 'system',
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, kind, episode)
);
CREATE INDEX episode_state_begin ON episode_state (kind, type, bundle, begin_at);
CREATE INDEX episode_state_day ON episode_state (((begin_at AT TIME ZONE 'UTC')::date), device) WHERE kind = 'drift';
CREATE INDEX episode_state_open ON episode_state (kind, device) WHERE status IN ('open', 'in-review');
CREATE INDEX episode_state_latest ON episode_state (kind, begin_at DESC);
CREATE INDEX episode_state_new ON episode_state (begin_at) WHERE NOT clustered;
CREATE INDEX episode_state_unsynced ON episode_state (last_heard_at) WHERE clock = 'unsynced';
CREATE INDEX episode_state_changed_at ON episode_state (changed_at);

-- ---- incidents: the same on many devices --------------------------------------------------------------------------------

CREATE TABLE incident (
    incident text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('drift', 'camera', 'away')),
    type text NOT NULL,             -- as in episode_state
    bundle text NOT NULL,           -- as in episode_state
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'merged', 'dissolved')),
    begin_at timestamptz NOT NULL,  -- of the first and
    last_at timestamptz NOT NULL,   -- of the last episode
    devices bigint NOT NULL,
    online bigint NOT NULL,         -- devices that could have been concerned
    restarted bigint NOT NULL,      -- of `devices`, that had come online in the quarter of an hour before
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    merged_into text
);
CREATE INDEX incident_begin ON incident (begin_at DESC, incident DESC);
CREATE INDEX incident_known ON incident (kind, type, bundle, begin_at) WHERE status IN ('open', 'closed');

CREATE TABLE incident_device (
    incident text NOT NULL REFERENCES incident ON DELETE CASCADE,
    device text NOT NULL,
    kind text NOT NULL,
    episode text NOT NULL,
    PRIMARY KEY (device, kind, episode)
);
CREATE INDEX incident_device_incident ON incident_device (incident);

-- ---- notifications --------------------------------------------------------------------------------------------------------

-- What a person should know. The condition behind one has a `key`; while it lasts (over_at is NULL) there is one row of
-- it. A row that is held down (notified_at is NULL) is not a notification yet, and goes if the condition does.
CREATE TABLE notification (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid uuid NOT NULL DEFAULT gen_random_uuid(),  -- the same in every delivery of it
    kind text NOT NULL,
    key text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    device text,
    episode text,
    incident text,
    title text NOT NULL,
    text text NOT NULL,             -- what happened
    action text NOT NULL,           -- what to do
    link text NOT NULL,             -- where to look: a path of the API
    since timestamptz NOT NULL,     -- when the condition began
    made_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    notified_at timestamptz,
    over_at timestamptz,
    times bigint NOT NULL DEFAULT 1,  -- how often the condition came back within the hour, this time included
    acked_at timestamptz,
    acked_by text
);
CREATE UNIQUE INDEX notification_key ON notification (key) WHERE over_at IS NULL;
CREATE INDEX notification_key_over ON notification (key, over_at);
CREATE INDEX notification_notified ON notification (notified_at DESC, id DESC) WHERE notified_at IS NOT NULL;

CREATE TABLE notification_delivery (
    notification bigint NOT NULL REFERENCES notification ON DELETE CASCADE,
    channel text NOT NULL,          -- webhook | mail
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    tries bigint NOT NULL DEFAULT 0,
    next_try timestamptz NOT NULL DEFAULT now(),
    error text NOT NULL DEFAULT '', -- of the last try
    mail uuid,                      -- the mail it is in, so that a mail that is sent again is the same mail
    sent_at timestamptz,
    PRIMARY KEY (notification, channel)
);
CREATE INDEX notification_delivery_waiting ON notification_delivery (channel, next_try) WHERE state = 'waiting';
CREATE INDEX notification_delivery_mail ON notification_delivery (mail);

-- ---- packages --------------------------------------------------------------------------------------------

-- Packages: files that a person carried here from devices without a link, and what came of each thing in them.
CREATE TABLE package (
    package text PRIMARY KEY,       -- sha256 of the file: the same file is the same package
    name text NOT NULL,             -- what the file was called when it was brought last
    kind text NOT NULL DEFAULT '',  -- how it is packed and what it is: export, gzip tar ...; empty before it was opened
    size bigint NOT NULL,           -- bytes of the file
    state text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'refused')),
    reason text NOT NULL DEFAULT '',
    worker integer NOT NULL,        -- who works on it, and holds the advisory lock (746736, worker) while it lives
    times bigint NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
CREATE INDEX package_received_at ON package (received_at DESC);

CREATE TABLE package_step (
    package text NOT NULL REFERENCES package ON DELETE CASCADE,
    step integer NOT NULL,
    name text NOT NULL,             -- of the entry; open and inspect are steps too
    kind text NOT NULL,             -- open | inspect | export | records | picture | bundle | archive | other
    state text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'skipped')),
    reason text NOT NULL DEFAULT '',
    device text NOT NULL DEFAULT '',
    size bigint NOT NULL DEFAULT 0, -- unpacked bytes
    bytes bigint NOT NULL DEFAULT 0, -- of these, how many are done
    records bigint NOT NULL DEFAULT 0,
    new_rows bigint NOT NULL DEFAULT 0,
    known_rows bigint NOT NULL DEFAULT 0,
    letters bigint NOT NULL DEFAULT 0,
    began_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (package, step)
);

-- ---- views: what dashboards and the API read --------------------------------------------------------------------

-- One row a drift episode; begin and end may arrive in any order, so either can be NULL for a while.
-- `status` is what the job `episodes`, or a person, made of it.
CREATE VIEW v_drift_episode AS
SELECT
    d.device,
    d.episode,
    d.begin_at, d.end_at, d.last_at, d.ended, d.detector, d.drift_type, d.peak_statistic, d.threshold,
    d.peak_severity, d.frames, d.reason, d.events,
    (SELECT count(*) FROM sample s WHERE s.device = d.device AND s.episode = d.episode) AS samples,
    coalesce(e.status, 'open') AS status,
    coalesce(e.reason, '') AS status_reason,
    coalesce(e.by, 'system') AS status_by,
    e.at AS status_at
FROM (
    SELECT
        device,
        episode,
        min(at) FILTER (WHERE phase = 'begin') AS begin_at,
        max(at) FILTER (WHERE phase = 'end') AS end_at,
        max(at) AS last_at,
        bool_or(phase = 'end') AS ended,
        max(detector) AS detector,
        max(drift_type) FILTER (WHERE phase = 'begin') AS drift_type,
        max(statistic) AS peak_statistic,
        max(threshold) AS threshold,
        max(severity) AS peak_severity,
        max(frames) FILTER (WHERE phase <> 'begin') AS frames,
        max(reason) FILTER (WHERE phase = 'end') AS reason,
        count(*) AS events
    FROM drift_event
    GROUP BY device, episode
) d
LEFT JOIN episode_state e ON e.device = d.device AND e.kind = 'drift' AND e.episode = d.episode;

-- One row a fault of a camera; begin and end may arrive in any order, so either can be NULL for a while.
CREATE VIEW v_camera_fault AS
SELECT
    device, episode, fault,
    min(at) FILTER (WHERE phase = 'begin') AS begin_at,
    max(at) FILTER (WHERE phase = 'end') AS end_at,
    bool_or(phase = 'end') AS ended,
    max(seconds) FILTER (WHERE phase = 'end') AS seconds,
    max(frames) FILTER (WHERE phase = 'end') AS frames
FROM camera_event
GROUP BY device, episode, fault;

-- Every revision of every label, and whether it is the current one of its sample.
CREATE VIEW v_label AS
SELECT
    l.device, l.sample, l.revision, l.verdict, l.label, l.by, l.bundle, l.state, l.reason,
    l.made_at, l.published_at, l.answered_at, l.cleared_at,
    NOT EXISTS (
        SELECT FROM label newer
        WHERE newer.device = l.device AND newer.sample = l.sample AND newer.revision > l.revision
    ) AS current
FROM label l;

-- One row a quarantined sample, with its current label where it has one (revision is NULL where not).
CREATE VIEW v_sample AS
SELECT
    s.device, s.sample, s.at, s.boot, s.seq, s.episode, s.bundle, s.predicted, s.confidence, s.score,
    s.features, s.neighbours, s.distances,
    s.picture_digest, s.picture_type, s.width, s.height, s.received_at,
    l.revision, l.verdict, l.label, l.by AS labelled_by, l.state AS label_state, l.reason AS label_reason,
    l.made_at AS labelled_at, l.answered_at,
    q.at AS asked_at, q.reason AS asked_reason
FROM sample s
LEFT JOIN LATERAL (
    SELECT * FROM label
    WHERE label.device = s.device AND label.sample = s.sample
    ORDER BY label.revision DESC
    LIMIT 1
) l ON true
LEFT JOIN LATERAL (
    SELECT at, reason FROM label_request
    WHERE label_request.device = s.device AND label_request.sample = s.sample
    ORDER BY at
    LIMIT 1
) q ON true;

-- Samples a person has not said anything about, or whose label was taken back.
CREATE VIEW v_sample_pending AS
SELECT * FROM v_sample WHERE revision IS NULL OR verdict = 'retract';

CREATE VIEW v_adaptation AS
SELECT
    device, adaptation, at, boot, episode, kind, outcome, reason, label, cardinality(samples) AS samples,
    statistic, threshold, accuracy_before, accuracy_after, memory, received_at
FROM adaptation;

-- One row a reading; of a boot without a clock at the times that its device believed.
CREATE VIEW v_telemetry AS
SELECT s.device, r.at, s.name, r.value
FROM series s
JOIN reading r ON r.series = s.id
UNION ALL
SELECT t.device, t.at - age.seconds * interval '1 second', name.name, value.value
FROM telemetry t
CROSS JOIN LATERAL unnest(t.ages) WITH ORDINALITY AS age (seconds, i)
CROSS JOIN LATERAL unnest(t.names) WITH ORDINALITY AS name (name, i)
CROSS JOIN LATERAL (SELECT t.readings[(age.i - 1) * cardinality(t.names) + name.i]) AS value (value)
WHERE t.clock = 'unsynced' AND value.value <> 'NaN';

-- One row a device: presence, birth, and what is going on.
CREATE VIEW v_device AS
SELECT
    d.*,
    now() - d.heard_at > 3 * d.report_s * interval '1 second' AS silent,
    presence_of(d.state, d.heard_at, d.report_s, now()) AS presence,
    e.episode,
    e.begin_at AS drift_since,
    e.episode IS NOT NULL AS in_drift,
    (SELECT count(*) FROM v_sample_pending p WHERE p.device = d.device) AS samples_pending,
    (SELECT count(*) FROM label l WHERE l.device = d.device AND l.state IN ('queued', 'published')) AS labels_outstanding
FROM device d
LEFT JOIN LATERAL (
    SELECT v.episode, v.begin_at FROM v_drift_episode v
    WHERE v.device = d.device AND NOT v.ended
    ORDER BY v.last_at DESC
    LIMIT 1
) e ON true;

-- One row a command: its first final report, or the last one while there is none.
CREATE VIEW v_command AS
SELECT DISTINCT ON (device, command)
    device, command, verb, state, reason, result, at, received_at,
    state IN ('done', 'failed', 'expired') AS final
FROM command_report
ORDER BY
    device, command, state IN ('done', 'failed', 'expired') DESC,
    CASE WHEN state IN ('done', 'failed', 'expired') THEN op_s ELSE -op_s END;

CREATE VIEW v_device_config AS
SELECT
    device, at, revision,
    document -> 'applied' AS applied,
    document -> 'rejected' AS rejected,
    document -> 'restart' AS restart,
    received_at
FROM device_report
WHERE what = 'config';

CREATE VIEW v_device_model AS
SELECT
    device, at, revision,
    document ->> 'running' AS running,
    document ->> 'desired' AS desired,
    document ->> 'phase' AS phase,
    (document ->> 'progress')::double precision AS progress,
    document ->> 'reason' AS reason,
    document -> 'metrics' AS metrics,
    received_at
FROM device_report
WHERE what = 'model';

-- What waits for the object store, a row a kind of object; nothing, while all is well.
CREATE VIEW v_waiting_object AS
SELECT
    split_part(key, '/', 1) AS what,
    count(*) AS objects,
    sum(octet_length(data))::bigint AS bytes,
    min(since) AS oldest,
    max(tries) AS most_tries,
    max(reason) AS reason
FROM waiting_object
GROUP BY split_part(key, '/', 1);

-- One row a thing that a device offered, and how far it has come.
CREATE VIEW v_blob AS
SELECT
    b.device, b.sha256, b.what, b.name, b.size, b.state, b.reason,
    (b.size + 65535) / 65536 AS chunks,
    CASE WHEN b.state = 'stored' THEN (b.size + 65535) / 65536 ELSE c.got END AS got,
    b.offered_at, b.asked_at, c.last_at AS chunk_at, b.stored_at, b.failures, b.unfit
FROM blob b
CROSS JOIN LATERAL (
    SELECT count(*) AS got, max(received_at) AS last_at FROM blob_chunk k
    WHERE k.device = b.device AND k.sha256 = b.sha256
) c;

-- One row a device and bundle; `current`: it is what the device said last that it runs.
CREATE VIEW v_deployment AS
SELECT
    p.device, p.digest, p.model, p.version, p.run_id, p.since, p.until, p.counts,
    coalesce(d.bundle = p.digest, false) AS current
FROM deployment p
LEFT JOIN device d ON d.device = p.device;

-- What could not be handled, on devices and here.
CREATE VIEW v_dead_letter AS
SELECT device, at, source, topic, kind, reason, payload, 1::bigint AS times, received_at FROM dead_letter
UNION ALL
SELECT device, received_at, 'ingest', topic, kind, reason, payload, times, received_at FROM ingest_dead_letter;

-- Proof that nothing was lost (records = last_seq) and nothing stored twice (records = numbers), a row a boot.
CREATE VIEW v_record_count AS
SELECT
    device, boot,
    count(*) AS records,
    count(DISTINCT seq) AS numbers,
    min(seq) AS first_seq,
    max(seq) AS last_seq
FROM (
    SELECT device, boot, seq FROM drift_event
    UNION ALL SELECT device, boot, seq FROM camera_event
    UNION ALL SELECT device, boot, seq FROM telemetry
    UNION ALL SELECT device, boot, seq FROM prediction
    UNION ALL SELECT device, boot, seq FROM snapshot
    UNION ALL SELECT device, boot, seq FROM log
    UNION ALL SELECT device, boot, seq FROM sample
    UNION ALL SELECT device, boot, seq FROM adaptation
    UNION ALL SELECT device, boot, seq FROM label_ack
    UNION ALL SELECT device, boot, seq FROM label_request
    UNION ALL SELECT device, boot, seq FROM command_report
    UNION ALL SELECT device, boot, seq FROM blob_offer
    UNION ALL SELECT device, boot, seq FROM dead_letter
    UNION ALL SELECT device, boot, seq FROM ingest_dead_letter WHERE seq IS NOT NULL
) record
GROUP BY device, boot;

-- One row a boot: its clock, how many of its records wait for one, and between what its time must lie where it has
-- none: after what is known of the boots before it, before what is known of those after it and before it was received.
CREATE VIEW v_boot AS
WITH record AS (
    SELECT device, boot, at, clock, op_s, received_at FROM drift_event
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM camera_event
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM telemetry
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM prediction
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM snapshot
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM log
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM sample
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM adaptation
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM label_ack
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM label_request
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM command_report
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM blob_offer
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM dead_letter
), boot AS (
    SELECT
        device, boot,
        regexp_replace(boot, '-[^-]*$', '') AS installation,
        coalesce(substring(boot FROM '[0-9]+$')::numeric, 0) AS number,
        count(*) AS records,
        count(*) FILTER (WHERE clock = 'unsynced') AS unsynced,
        count(*) FILTER (WHERE clock = 'retimed') AS retimed,
        min(at) FILTER (WHERE clock <> 'unsynced') AS first_at,
        max(at) FILTER (WHERE clock <> 'unsynced') AS last_at,
        max(op_s) - min(op_s) AS seconds,
        min(received_at) AS first_received_at,
        max(received_at) AS last_received_at
    FROM record
    GROUP BY device, boot
)
SELECT
    b.device, b.boot, c.offset_us IS NOT NULL AS has_clock, c.offset_us, b.records, b.unsynced, b.retimed,
    b.first_at, b.last_at, b.seconds,
    CASE WHEN c.offset_us IS NULL THEN max(b.last_at) OVER before END AS not_before,
    CASE WHEN c.offset_us IS NULL THEN least(min(b.first_at) OVER after, b.last_received_at) END AS not_after,
    b.first_received_at, b.last_received_at
FROM boot b
LEFT JOIN boot_clock c ON c.device = b.device AND c.boot = b.boot
WINDOW
    before AS (PARTITION BY b.device, b.installation ORDER BY b.number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    after AS (PARTITION BY b.device, b.installation ORDER BY b.number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING);

CREATE VIEW v_traffic AS
SELECT device, hour, kind, messages, bytes FROM traffic;

CREATE VIEW v_traffic_day AS
SELECT device, day, kind, sum(messages)::bigint AS messages, sum(bytes)::bigint AS bytes
FROM (
    SELECT device, date_trunc('day', hour, 'UTC') AS day, kind, messages, bytes FROM traffic
    UNION ALL
    SELECT device, day, kind, messages, bytes FROM traffic_day
) counted
GROUP BY device, day, kind;

-- One row a rollout, with how many of its devices are where.
CREATE VIEW v_rollout AS
SELECT
    r.rollout, r.name, r.devices, r.digest, r.phases, r.phase, r.thresholds, r.state, r.reason, r.by,
    r.made_at, r.changed_at, r.ended_at,
    count(d.device) AS total,
    count(*) FILTER (WHERE d.state = 'waiting') AS waiting,
    count(*) FILTER (WHERE d.state IN ('sent', 'trial')) AS under_way,
    count(*) FILTER (WHERE d.state = 'confirmed') AS confirmed,
    count(*) FILTER (WHERE d.state IN ('refused', 'rolled-back')) AS failed
FROM rollout r
LEFT JOIN rollout_device d ON d.rollout = r.rollout
GROUP BY r.rollout;

CREATE VIEW v_rollout_device AS
SELECT rollout, device, phase, state, reason, changed_at FROM rollout_device;

CREATE VIEW v_drift_event AS
SELECT
    device, at, boot, seq, clock, phase, episode, frame, detector, drift_type, statistic, threshold, severity, frames,
    samples, reason, received_at
FROM drift_event;

-- Windows of predictions as devices summed them up.
CREATE VIEW v_prediction AS
SELECT
    device, at, boot, seq, clock, seconds, frames, labels, counts, confidence, distance, score, received_at
FROM prediction;

CREATE VIEW v_snapshot AS
SELECT device, at, boot, seq, clock, snapshot, reason, digest, size, received_at FROM snapshot;

CREATE VIEW v_log AS
SELECT device, at, boot, seq, clock, level, source, text, received_at FROM log;

-- What is done now and then, and whether it was done.
CREATE VIEW v_job AS
SELECT name, began_at, ended_at, done, said, seconds, done_at FROM job;

-- One row a change of a device's presence, and how long that lasted (till now where it still does).
CREATE VIEW v_presence_event AS
SELECT
    device, at, presence, reason, source,
    lead(at) OVER next AS until,
    extract(epoch FROM coalesce(lead(at) OVER next, greatest(now(), at)) - at) AS seconds
FROM presence_event
WINDOW next AS (PARTITION BY device ORDER BY at, id);

-- The share of the time for which a device's presence was known that it was online; a row a device and day (UTC).
CREATE VIEW v_availability AS
SELECT
    device,
    (day AT TIME ZONE 'UTC')::date AS day,
    coalesce(sum(seconds) FILTER (WHERE presence = 'online'), 0) AS online_s,
    coalesce(sum(seconds) FILTER (WHERE presence = 'idle'), 0) AS idle_s,
    coalesce(sum(seconds) FILTER (WHERE presence = 'offline'), 0) AS offline_s,
    coalesce(sum(seconds) FILTER (WHERE presence = 'online'), 0) / nullif(sum(seconds), 0) AS online_share
FROM (
    SELECT
        p.device, p.presence, d.day,
        extract(epoch FROM least(p.until, d.day + interval '24 hours') - greatest(p.at, d.day)) AS seconds
    FROM (
        SELECT device, presence, at, coalesce(until, greatest(now(), at)) AS until
        FROM v_presence_event
    ) p
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', p.at, 'UTC'), p.until, interval '24 hours'
    ) AS d (day)
    WHERE p.presence <> 'unknown' AND d.day < p.until
) part
GROUP BY device, day;

-- One row a drift, camera fault or absence, with its status.
CREATE VIEW v_episode AS
SELECT
    e.device, e.kind, e.episode, e.type, e.detector, e.bundle, e.clock, e.begin_at, e.end_at,
    extract(epoch FROM e.end_at - e.begin_at) AS seconds,
    e.severity, e.samples, e.labels, e.applied, e.rolled_back, e.rejected, e.end_reason,
    e.status, e.reason, e.at, e.by, m.incident
FROM episode_state e
LEFT JOIN incident_device m ON m.device = e.device AND m.kind = e.kind AND m.episode = e.episode;

-- Drift by device, type, detector and day (UTC, of its begin): how often, for how long, and how it was resolved.
CREATE VIEW v_drift_statistics AS
SELECT
    (begin_at AT TIME ZONE 'UTC')::date AS day,
    device, type, detector,
    count(*) AS episodes,
    count(*) FILTER (WHERE status IN ('open', 'in-review')) AS open,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM end_at - begin_at)) AS median_s,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM end_at - begin_at)) AS p90_s,
    max(severity) AS severity,
    sum(samples)::bigint AS samples,
    sum(labels)::bigint AS labels,
    sum(applied)::bigint AS applied,
    sum(rolled_back)::bigint AS rolled_back,
    sum(rejected)::bigint AS rejected,
    count(*) FILTER (WHERE status = 'resolved' AND reason = 'quiet') AS quiet,
    count(*) FILTER (WHERE status = 'resolved' AND reason = 'followed') AS followed,
    count(*) FILTER (WHERE status = 'resolved' AND reason = 'other-bundle') AS other_bundle,
    count(*) FILTER (WHERE status = 'resolved' AND reason NOT IN ('quiet', 'followed', 'other-bundle'))
        + count(*) FILTER (WHERE status = 'dismissed') AS otherwise
FROM episode_state
WHERE kind = 'drift' AND begin_at IS NOT NULL
GROUP BY (begin_at AT TIME ZONE 'UTC')::date, device, type, detector;

-- How often devices began to drift in the last four weeks, a week.
CREATE VIEW v_drift_rate AS
SELECT
    d.device, d.bundle,
    count(e.episode) AS episodes,
    count(e.episode) / greatest(least(extract(epoch FROM now() - d.first_heard_at) / 604800, 4), 1) AS per_week,
    max(e.begin_at) AS last_at
FROM device d
LEFT JOIN episode_state e ON e.device = d.device AND e.kind = 'drift' AND e.begin_at > now() - interval '28 days'
GROUP BY d.device, d.bundle, d.first_heard_at;

-- One row an incident, and how many of its devices it still concerns.
CREATE VIEW v_incident AS
SELECT
    i.incident, i.kind, i.type, i.bundle, i.severity, i.status, i.begin_at, i.last_at, i.devices, i.online,
    i.restarted, i.opened_at, i.closed_at, i.merged_into,
    (
        SELECT count(DISTINCT m.device) FROM incident_device m JOIN episode_state e USING (device, kind, episode)
        WHERE m.incident = i.incident AND e.status IN ('open', 'in-review')
    ) AS unresolved
FROM incident i;

-- One row an episode of an incident.
CREATE VIEW v_incident_device AS
SELECT
    m.incident, m.device, m.kind, m.episode, e.type, e.detector, e.begin_at, e.end_at, e.severity, e.status, e.reason
FROM incident_device m
JOIN episode_state e USING (device, kind, episode);

-- What people were told, with how far each channel is; what is held down is not in it.
CREATE VIEW v_notification AS
SELECT
    n.id, n.uid, n.kind, n.severity, n.device, n.episode, n.incident, n.title, n.text, n.action, n.link,
    n.since, n.notified_at, n.over_at, n.over_at IS NULL AS active, n.times, n.acked_at, n.acked_by,
    (
        SELECT coalesce(jsonb_object_agg(d.channel, d.state), '{}') FROM notification_delivery d
        WHERE d.notification = n.id
    ) AS deliveries
FROM notification n
WHERE n.notified_at IS NOT NULL;

-- One row a step of a package, with how far it is (0 to 1).
CREATE VIEW v_package_step AS
SELECT
    package, step, name, kind, state, reason, device,
    CASE
        WHEN state IN ('done', 'skipped', 'failed') THEN 1.0
        WHEN size > 0 THEN least(bytes::double precision / size, 1.0)
        ELSE 0.0
    END AS progress,
    size, records, new_rows, known_rows, letters, began_at, ended_at
FROM package_step;

-- One row a package. Whose worker is gone is interrupted: it can be brought again, and goes on from where it was.
CREATE VIEW v_package AS
SELECT
    p.package, p.name, p.kind, p.size,
    CASE
        WHEN p.state NOT IN ('waiting', 'running') OR EXISTS (
            SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.classid = 746736 AND l.objid = p.worker::oid AND l.objsubid = 2
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted
        ) THEN p.state
        ELSE 'interrupted'
    END AS state,
    p.reason, p.times, p.received_at, p.ended_at,
    s.steps, s.failed, s.records, s.new_rows, s.known_rows, s.letters,
    CASE
        WHEN p.state IN ('done', 'failed', 'refused') THEN 1.0
        WHEN s.steps > 2 AND s.size > 0 THEN least(s.bytes::double precision / s.size, 1.0)
        ELSE 0.0
    END AS progress
FROM package p
CROSS JOIN LATERAL (
    SELECT
        count(*) AS steps,
        count(*) FILTER (WHERE state = 'failed') AS failed,
        coalesce(sum(records), 0)::bigint AS records,
        coalesce(sum(new_rows), 0)::bigint AS new_rows,
        coalesce(sum(known_rows), 0)::bigint AS known_rows,
        coalesce(sum(letters), 0)::bigint AS letters,
        coalesce(sum(size), 0)::bigint AS size,
        coalesce(sum(CASE WHEN state IN ('done', 'skipped', 'failed') THEN size ELSE bytes END), 0)::bigint AS bytes
    FROM package_step s
    WHERE s.package = p.package
) s;

-- The same hours whoever summed them up: TimescaleDB Community replaces these four by its continuous aggregates and
-- what the tables hold from before (job `levels`).
CREATE VIEW hourly_prediction AS SELECT * FROM prediction_hour;
CREATE VIEW hourly_drift AS SELECT * FROM drift_hour;
CREATE VIEW hourly_reading AS SELECT * FROM reading_hour;

-- One row a device and hour of UTC; *_median is the mean of the windows' medians, weighted by frames.
CREATE VIEW v_prediction_hour AS
SELECT
    h.device, h.hour, h.windows, h.frames, h.seconds,
    h.confidence_low, h.confidence_sum / nullif(h.frames, 0) AS confidence_median, h.confidence_high,
    h.distance_low, h.distance_sum / nullif(h.frames, 0) AS distance_median, h.distance_high,
    h.score_low, h.score_sum / nullif(h.frames, 0) AS score_median, h.score_high,
    coalesce(l.counts, '{}') AS counts
FROM hourly_prediction h
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(p.label, p.frames) AS counts FROM prediction_label_hour p
    WHERE p.device = h.device AND p.hour = h.hour
) l ON true;

CREATE VIEW v_prediction_label_hour AS
SELECT device, hour, label, frames FROM prediction_label_hour;

CREATE VIEW v_drift_hour AS
SELECT device, hour, detector, begins, continues, ends, peak_severity, peak_statistic FROM hourly_drift;

CREATE VIEW v_reading_hour AS
SELECT s.device, s.name, h.hour, h.low AS min, h.high AS max, h.total / h.count AS mean, h.count
FROM hourly_reading h
JOIN series s ON s.id = h.series;

-- ---- TimescaleDB, where it can be had ----------------------------------------------------------------------------

-- What flows steadily becomes a hypertable. Samples, adaptations, label acknowledgements and dead letters are few,
-- are looked up by their ids and kept; they stay plain tables.
DO $$
DECLARE
    steady text;
BEGIN
    -- Creating the extension on a server that has not preloaded it would end the connection; the loader's
    -- setting exists only where it is preloaded.
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
            OR current_setting('timescaledb.disable_load', true) IS NULL THEN
            RETURN;
        END IF;
        BEGIN
            CREATE EXTENSION timescaledb;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'TimescaleDB is on this server, but this user may not create the extension; tables stay plain';
            RETURN;
        END;
    END IF;
    FOREACH steady IN ARRAY ARRAY['drift_event', 'telemetry', 'prediction', 'snapshot', 'log'] LOOP
        EXECUTE format('SELECT create_hypertable(%L, %L, create_default_indexes => false)', steady, 'at');
    END LOOP;
    PERFORM create_hypertable(
        'reading', 'at', create_default_indexes => false, chunk_time_interval => interval '1 day');
    -- Readings arrive device by device, so that ranges of pages tell them apart, for a quarter of what it costs to keep a
    -- tree. What is complete gets a tree (job `readings`).
    DROP INDEX reading_series_at;
    CREATE INDEX reading_series_at ON reading USING brin (series, at) WITH (pages_per_range = 4);
END
$$;
