-- What stays when rows are given up: a row an hour of predictions, drift and readings.

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
