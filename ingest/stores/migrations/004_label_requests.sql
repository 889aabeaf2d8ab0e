-- Which samples a device would like to know, because knowing them would help it most.

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

CREATE OR REPLACE VIEW v_sample AS
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

CREATE OR REPLACE VIEW v_sample_pending AS
SELECT * FROM v_sample WHERE revision IS NULL OR verdict = 'retract';

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
    UNION ALL SELECT device, boot, seq FROM label_request
    UNION ALL SELECT device, boot, seq FROM command_report
    UNION ALL SELECT device, boot, seq FROM dead_letter
    UNION ALL SELECT device, boot, seq FROM ingest_dead_letter WHERE seq IS NOT NULL
) record
GROUP BY device, boot;
