-- Statements of the event store, used by name. {braces} stand for a table and its columns.

-- :name create_ledger
-- Which migrations were applied, with the checksum of the text that was applied.
CREATE TABLE IF NOT EXISTS migration (
    number bigint PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- :name lock_migrations
-- One process migrates at a time; the number is arbitrary and ours.
SELECT pg_advisory_lock(7467368265);

-- :name unlock_migrations
SELECT pg_advisory_unlock(7467368265);

-- :name applied_migrations
SELECT number, name, checksum FROM migration ORDER BY number;

-- :name note_migration
INSERT INTO migration (number, name, checksum) VALUES (%s, %s, %s);

-- :name server_level
-- plain, timescale-apache or timescale-community. The licence can only be shown where the extension is.
SELECT CASE
    WHEN NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN 'plain'
    WHEN current_setting('timescaledb.license', true) = 'timescale' THEN 'timescale-community'
    ELSE 'timescale-apache'
END;

-- :name be_patient
-- How long this connection waits for a lock that somebody else holds.
SELECT set_config('lock_timeout', %s, false);

-- :name column_types
-- The types of a table's columns, so that binary COPY and the stage follow the schema.
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped;

-- :name create_stage
-- Where a batch lands before it is inserted; lives as long as the connection, emptied by every commit.
CREATE TEMP TABLE {stage} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {table} WITH NO DATA;

-- :name fill_stage
COPY {stage} ({columns}) FROM STDIN (FORMAT BINARY);

-- :name insert_stage
-- Known records change nothing. In the order of the key, so that two workers with the same records queue up
-- instead of waiting for each other in a circle.
INSERT INTO {table} ({columns})
SELECT {columns} FROM {stage} ORDER BY device, boot, seq, at
ON CONFLICT DO NOTHING;

-- :name hear_devices
-- Devices that were heard just now; a row is touched at most every five seconds, so that workers do not queue for it.
INSERT INTO device (device)
SELECT heard FROM unnest(%s::text[]) AS heard
WHERE NOT EXISTS (
    SELECT FROM device known WHERE known.device = heard AND known.heard_at > now() - interval '5 seconds'
)
ORDER BY heard
ON CONFLICT (device) DO UPDATE SET heard_at = excluded.heard_at;

-- :name know_devices
-- Devices whose records a person brought: they get a row, which says that this server has not heard them itself.
INSERT INTO device (device, heard_at)
SELECT known, 'epoch' FROM unnest(%s::text[]) AS known
ORDER BY known
ON CONFLICT (device) DO NOTHING;

-- :name ensure_devices
INSERT INTO device (device, heard_at)
SELECT said, CASE WHEN %(live)s THEN now() ELSE 'epoch' END FROM unnest(%(devices)s::text[]) AS said
ORDER BY said
ON CONFLICT (device) DO NOTHING;

-- :name note_boots
-- Boots that say something of themselves for the first time, in the order in which they did.
INSERT INTO boot_heard (device, boot)
SELECT said.device, said.boot
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS said (device, boot, number)
WHERE NOT EXISTS (SELECT FROM boot_heard known WHERE known.device = said.device AND known.boot = said.boot)
ORDER BY said.device, said.number
ON CONFLICT DO NOTHING;

-- :name heard_later
-- Whether the first of two boots was heard of after the second; one that nobody has heard of was before all.
SELECT
    coalesce((SELECT number FROM boot_heard WHERE device = %(device)s AND boot = %(new)s), 0)
    > coalesce((SELECT number FROM boot_heard WHERE device = %(device)s AND boot = %(old)s), 0);

-- :name read_standings
-- What is known of devices, locked in one order until the transaction ends.
SELECT device, state_boot, state_session, state_mono_us, state, birth_boot, birth_session
FROM device WHERE device = ANY(%s) ORDER BY device FOR UPDATE;

-- :name write_status
UPDATE device SET
    state = %(state)s, reason = %(reason)s, faults = %(faults)s, state_boot = %(boot)s,
    state_session = %(session)s, state_mono_us = %(mono_us)s, state_at = %(at)s,
    heard_at = CASE WHEN %(live)s AND %(state)s <> 'offline' THEN now() ELSE heard_at END -- the broker says offline
WHERE device = %(device)s;

-- :name write_birth
UPDATE device SET
    birth_boot = %(boot)s, birth_session = %(session)s, birth_at = %(at)s, versions = %(versions)s,
    actors = %(actors)s, detectors = %(detectors)s, bundle = %(bundle)s, config = %(config)s, mode = %(mode)s,
    privacy = %(privacy)s, report_s = %(report_s)s, location = %(location)s,
    location_source = %(location_source)s,
    heard_at = CASE WHEN %(live)s THEN now() ELSE heard_at END
WHERE device = %(device)s;

-- :name read_reports
SELECT device, what, boot, mono_us FROM device_report WHERE device = ANY(%s);

-- :name write_report
INSERT INTO device_report (device, what, boot, mono_us, at, revision, document)
VALUES (%(device)s, %(what)s, %(boot)s, %(mono_us)s, %(at)s, %(revision)s, %(document)s)
ON CONFLICT (device, what) DO UPDATE SET
    boot = excluded.boot, mono_us = excluded.mono_us, at = excluded.at, revision = excluded.revision,
    document = excluded.document, received_at = now();

-- :name answer_label
-- A stored acknowledgement proves its label; a label that was superseded or answered before stays as it is.
UPDATE label SET
    state = CASE WHEN %(outcome)s IN ('applied', 'duplicate') THEN 'applied' ELSE 'rejected' END,
    reason = %(reason)s,
    answered_at = now()
WHERE device = %(device)s AND sample = %(sample)s AND revision = %(revision)s AND state IN ('queued', 'published');

-- :name notify_answer
-- Sent with the commit, so that the API clears the retained label at once.
SELECT pg_notify('tinyml_labelack', json_build_object(
    'device', %(device)s::text, 'sample', %(sample)s::text, 'revision', %(revision)s::bigint,
    'outcome', %(outcome)s::text)::text);

-- :name bury_letter
INSERT INTO ingest_dead_letter (device, digest, boot, seq, topic, kind, reason, payload)
VALUES (%(device)s, %(digest)s, %(boot)s, %(seq)s, %(topic)s, %(kind)s, %(reason)s, %(payload)s)
ON CONFLICT (device, digest) DO UPDATE SET times = ingest_dead_letter.times + %(live)s::int;

-- :name keep_waiting
-- An object for the object store, until the job `objects` brings it there.
INSERT INTO waiting_object (key, type, data, reason) VALUES (%(key)s, %(type)s, %(data)s, %(reason)s)
ON CONFLICT (key) DO NOTHING;

-- :name next_waiting
-- Those tried least often, the oldest first; locked, so that nobody erases them while they are on their way.
SELECT key, type, data, reason FROM waiting_object ORDER BY tries, since LIMIT %s FOR UPDATE SKIP LOCKED;

-- :name arrived_waiting
DELETE FROM waiting_object WHERE key = ANY(%s);

-- :name failed_waiting
UPDATE waiting_object SET tries = tries + 1, reason = %(reason)s WHERE key = %(key)s;

-- :name lock_job
-- One process does a job at a time; the lock goes with its connection.
SELECT pg_try_advisory_lock(hashtextextended('tinyml job ' || %s, 0));

-- :name unlock_job
SELECT pg_advisory_unlock(hashtextextended('tinyml job ' || %s, 0));

-- :name begin_job
-- Whether the job is to be done now: it never was, it is due, or somebody wants it anyway.
INSERT INTO job (name) VALUES (%s)
ON CONFLICT (name) DO UPDATE SET began_at = now()
WHERE %s::boolean OR job.began_at <= now() - %s::double precision * interval '1 second'
RETURNING true;

-- :name end_job
UPDATE job SET
    ended_at = now(), done = %(done)s, said = %(said)s, seconds = %(seconds)s,
    done_at = CASE WHEN %(done)s THEN now() ELSE done_at END
WHERE name = %(name)s;

-- :name claim_messages
-- The messages of the stage that nobody has stored before; whoever claims one copies its readings.
INSERT INTO {table} ({columns})
SELECT {columns} FROM {stage} ORDER BY device, boot, seq, at
ON CONFLICT DO NOTHING
RETURNING device, boot, seq, at;

-- :name add_series
-- In the order of the key, so that workers with the same names do not wait for each other in a circle.
INSERT INTO series (device, name)
SELECT wanted.device, wanted.name
FROM unnest(%(devices)s::text[], %(names)s::text[]) AS wanted (device, name)
WHERE NOT EXISTS (SELECT FROM series known WHERE known.device = wanted.device AND known.name = wanted.name)
ORDER BY wanted.device, wanted.name
ON CONFLICT DO NOTHING;

-- :name read_series
SELECT series.device, series.name, series.id
FROM unnest(%(devices)s::text[], %(names)s::text[]) AS wanted (device, name)
JOIN series ON series.device = wanted.device AND series.name = wanted.name;

-- :name hold_series
-- Until the transaction ends no series is deleted (the trigger series_are_deleted takes the same number).
SELECT pg_advisory_xact_lock_shared(7467368267);

-- :name series_generation
SELECT last_value + is_called::int FROM series_generation;

-- :name copy_readings
COPY reading (series, at, value) FROM STDIN (FORMAT BINARY);

-- :name count_traffic
-- Adds what devices sent; the arrays are sorted by the key, so that workers queue up instead of waiting in a circle.
-- Not of devices that nobody knows: one may have been forgotten since its messages were counted.
INSERT INTO traffic (device, hour, kind, messages, bytes)
SELECT counted.*
FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::bigint[], %s::bigint[])
    AS counted (device, hour, kind, messages, bytes)
WHERE EXISTS (SELECT FROM device WHERE device.device = counted.device)
ON CONFLICT (device, hour, kind) DO UPDATE SET
    messages = traffic.messages + excluded.messages, bytes = traffic.bytes + excluded.bytes;

-- :name set_clocks
-- The first one to tell the clock of a boot sets it; what it is then says read_clocks.
INSERT INTO boot_clock (device, boot, offset_us)
SELECT told.device, told.boot, told.offset_us
FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS told (device, boot, offset_us)
ORDER BY told.device, told.boot
ON CONFLICT DO NOTHING;

-- :name stored_unsynced
-- Which of these records are there at the time they came with.
SELECT r.device, r.boot, r.seq, r.op_s
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::double precision[]) AS again (device, boot, seq, op_s)
JOIN {table} r
    ON r.device = again.device AND r.boot = again.boot AND r.seq = again.seq AND r.op_s = again.op_s
    AND r.clock = 'unsynced';

-- :name read_clocks
SELECT boot_clock.device, boot_clock.boot, boot_clock.offset_us
FROM unnest(%s::text[], %s::text[]) AS asked (device, boot)
JOIN boot_clock ON boot_clock.device = asked.device AND boot_clock.boot = asked.boot;
