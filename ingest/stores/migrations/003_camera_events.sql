-- Faults of cameras: frozen, black, saturated.

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

-- Proof that nothing was lost (records = last_seq) and nothing stored twice (records = numbers), a row a boot.
CREATE OR REPLACE VIEW v_record_count AS
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
    UNION ALL SELECT device, boot, seq FROM command_report
    UNION ALL SELECT device, boot, seq FROM dead_letter
    UNION ALL SELECT device, boot, seq FROM ingest_dead_letter WHERE seq IS NOT NULL
) record
GROUP BY device, boot;
