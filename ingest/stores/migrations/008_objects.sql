-- Objects on their way into the object store: pictures that wait while it is away, blobs that come in chunks.

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

-- Proof that nothing was lost (records = last_seq) and nothing stored twice (records = numbers), a row a boot.
DROP VIEW v_record_count;
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
