-- What devices report of the settings, commands and models that people wanted of them.

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
