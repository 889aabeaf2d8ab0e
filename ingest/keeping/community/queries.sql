-- What only the Community edition of TimescaleDB can do: aggregates that keep themselves up to date, compression and
-- policies. Written for TimescaleDB 2.13 and later.

-- :name aggregate_prediction_hour
CREATE MATERIALIZED VIEW aggregate_prediction_hour
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    device,
    time_bucket(INTERVAL '1 hour', at) AS hour,
    count(*) AS windows,
    sum(frames)::bigint AS frames,
    sum(seconds) AS seconds,
    min(nullif(confidence[1], 'NaN'))::double precision AS confidence_low,
    sum(frames * nullif(confidence[3], 'NaN')) AS confidence_sum,
    max(nullif(confidence[5], 'NaN'))::double precision AS confidence_high,
    min(nullif(distance[1], 'NaN'))::double precision AS distance_low,
    sum(frames * nullif(distance[3], 'NaN')) AS distance_sum,
    max(nullif(distance[5], 'NaN'))::double precision AS distance_high,
    min(nullif(score[1], 'NaN'))::double precision AS score_low,
    sum(frames * nullif(score[3], 'NaN')) AS score_sum,
    max(nullif(score[5], 'NaN'))::double precision AS score_high
FROM prediction
WHERE clock <> 'unsynced'
GROUP BY 1, 2
WITH NO DATA;

-- :name show_prediction_hour
-- What was summed up before there was an aggregate stays where the aggregate has nothing.
CREATE OR REPLACE VIEW hourly_prediction AS
SELECT
    device, hour, windows, frames, seconds, confidence_low, confidence_sum, confidence_high,
    distance_low, distance_sum, distance_high, score_low, score_sum, score_high
FROM aggregate_prediction_hour
UNION ALL
SELECT * FROM prediction_hour t
WHERE NOT EXISTS (SELECT FROM aggregate_prediction_hour a WHERE a.device = t.device AND a.hour = t.hour);

-- :name aggregate_drift_hour
CREATE MATERIALIZED VIEW aggregate_drift_hour
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    device,
    time_bucket(INTERVAL '1 hour', at) AS hour,
    detector,
    count(*) FILTER (WHERE phase = 'begin') AS begins,
    count(*) FILTER (WHERE phase = 'continue') AS continues,
    count(*) FILTER (WHERE phase = 'end') AS ends,
    max(severity) AS peak_severity,
    max(statistic) AS peak_statistic
FROM drift_event
WHERE clock <> 'unsynced'
GROUP BY 1, 2, 3
WITH NO DATA;

-- :name show_drift_hour
CREATE OR REPLACE VIEW hourly_drift AS
SELECT device, hour, detector, begins, continues, ends, peak_severity, peak_statistic FROM aggregate_drift_hour
UNION ALL
SELECT * FROM drift_hour t
WHERE NOT EXISTS (SELECT FROM aggregate_drift_hour a WHERE a.device = t.device AND a.hour = t.hour);

-- :name aggregate_reading_hour
CREATE MATERIALIZED VIEW aggregate_reading_hour
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    series,
    time_bucket(INTERVAL '1 hour', at) AS hour,
    min(value)::double precision AS low,
    max(value)::double precision AS high,
    sum(value::double precision) AS total,
    count(*) AS count
FROM reading
GROUP BY 1, 2
WITH NO DATA;

-- :name show_reading_hour
CREATE OR REPLACE VIEW hourly_reading AS
SELECT series, hour, low, high, total, count FROM aggregate_reading_hour
UNION ALL
SELECT * FROM reading_hour t
WHERE NOT EXISTS (SELECT FROM aggregate_reading_hour a WHERE a.series = t.series AND a.hour = t.hour);

-- :name refresh
-- Outside of a transaction: it commits by itself.
CALL refresh_continuous_aggregate({aggregate}, NULL, date_trunc('hour', now(), 'UTC'));

-- :name refresh_offset
-- How far back the aggregate is kept up to date, as its policy has it.
SELECT (j.config ->> 'start_offset')::interval
FROM timescaledb_information.jobs j
JOIN timescaledb_information.continuous_aggregates c
    ON j.hypertable_name IN (c.view_name, c.materialization_hypertable_name)
WHERE c.view_name = %s AND j.proc_name = 'policy_refresh_continuous_aggregate';

-- :name end_refresh_policy
SELECT remove_continuous_aggregate_policy(%s::regclass, if_exists => true);

-- :name refresh_policy
-- Late rows count as long as devices may be offline; the hour that is just filling is read from the rows.
SELECT add_continuous_aggregate_policy(
    %(name)s::regclass, start_offset => %(late)s::interval, end_offset => INTERVAL '1 hour',
    schedule_interval => INTERVAL '15 minutes');

-- :name is_compressed
SELECT compression_enabled FROM timescaledb_information.hypertables
WHERE hypertable_schema = 'public' AND hypertable_name = %s;

-- :name compress_records
-- A unique key has to be among these columns.
ALTER TABLE {table} SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'device',
    timescaledb.compress_orderby = 'at DESC, boot, seq');

-- :name compress_readings
ALTER TABLE {table} SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series', timescaledb.compress_orderby = 'at DESC');

-- :name compression_age
SELECT (j.config ->> 'compress_after')::interval FROM timescaledb_information.jobs j
WHERE j.hypertable_name = %s AND j.proc_name = 'policy_compression';

-- :name end_compression_policy
SELECT remove_compression_policy(%s::regclass, if_exists => true);

-- :name compression_policy
SELECT add_compression_policy(%(name)s::regclass, compress_after => %(age)s::interval);

-- :name lifts_limit
SELECT EXISTS (
    SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
    WHERE d.datname = %s AND 'timescaledb.max_tuples_decompressed_per_dml_transaction=0' = ANY (s.setconfig)
);

-- :name lift_limit
-- Rows that come very late, and devices that are forgotten, may open more of compressed chunks than is allowed usually.
ALTER DATABASE {database} SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0;

-- :name retention_age
SELECT (j.config ->> 'drop_after')::interval
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.continuous_aggregates c ON j.hypertable_name = c.materialization_hypertable_name
WHERE %s IN (j.hypertable_name, c.view_name) AND j.proc_name = 'policy_retention';

-- :name end_retention_policy
SELECT remove_retention_policy(%s::regclass, if_exists => true);

-- :name retention_policy
SELECT add_retention_policy(%(name)s::regclass, drop_after => %(age)s::interval);

-- :name aggregate_tables
-- The tables behind the aggregates, for forgetting.
SELECT view_name, materialization_hypertable_schema, materialization_hypertable_name
FROM timescaledb_information.continuous_aggregates
WHERE view_schema = 'public' ORDER BY view_name;
