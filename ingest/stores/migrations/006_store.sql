-- Bytes per device and kind, rollouts, and a view for every table an operator looks at.

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

-- Whether a picture is still needed is asked before it is removed.
CREATE INDEX sample_picture ON sample (picture_digest) WHERE picture_digest IS NOT NULL;

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
