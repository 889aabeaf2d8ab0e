-- Statements of keeping: hours, retention, levels, forgetting. {braces} stand for tables and columns of this program.

-- ---- hours ----------------------------------------------------------------------------------------------------------

-- :name begin_rollup
INSERT INTO rollup (what, until)
SELECT %s, coalesce((SELECT min(received_at) FROM {table}), now())
ON CONFLICT DO NOTHING;

-- :name lock_rollup
-- How far a table was summed up; nobody sums it up, or gives up rows of it, until the transaction ends.
SELECT until, closed, now() FROM rollup WHERE what = %s FOR UPDATE;

-- :name next_arrival
SELECT min(received_at) FROM {table} WHERE received_at >= %(until)s;

-- :name advance_rollup
UPDATE rollup SET until = %(until)s WHERE what = %(what)s;

-- :name close_rollup
UPDATE rollup SET closed = greatest(closed, %(closed)s) WHERE what = %(what)s;

-- :name create_touched
CREATE TEMP TABLE touched (device text, hour timestamptz) ON COMMIT DROP;

-- :name touch_told
-- Hours that somebody moved rows to.
WITH told AS (
    DELETE FROM rollup_touched
    WHERE (what, device, hour) IN (
        SELECT what, device, hour FROM rollup_touched WHERE what = %(what)s LIMIT %(most)s
    )
    RETURNING device, hour
)
INSERT INTO touched SELECT device, hour FROM told WHERE hour >= %(closed)s;

-- :name touch_prediction
INSERT INTO touched
SELECT DISTINCT device, date_trunc('hour', at, 'UTC') FROM prediction
WHERE received_at >= %(since)s AND received_at < %(until)s AND clock <> 'unsynced'
    AND at >= %(closed)s AND at < now() + interval '1 day';

-- :name touch_drift_event
INSERT INTO touched
SELECT DISTINCT device, date_trunc('hour', at, 'UTC') FROM drift_event
WHERE received_at >= %(since)s AND received_at < %(until)s AND clock <> 'unsynced'
    AND at >= %(closed)s AND at < now() + interval '1 day';

-- :name touch_telemetry
-- A message holds readings of the seconds before it; of more than a month it would be no message of ours.
INSERT INTO touched
SELECT DISTINCT t.device, hour
FROM telemetry t
CROSS JOIN LATERAL generate_series(
    date_trunc('hour', t.at - least(greatest(t.seconds, 0), 2678400) * interval '1 second', 'UTC'), t.at,
    interval '1 hour'
) AS hour
WHERE t.received_at >= %(since)s AND t.received_at < %(until)s AND t.clock <> 'unsynced'
    AND hour >= %(closed)s AND t.at < now() + interval '1 day';

-- :name fill_prediction_hour
-- An hour of a device after the other: there is an index for that, and no guess of the planner's is needed.
INSERT INTO prediction_hour AS h
SELECT t.device, t.hour, p.*
FROM (SELECT DISTINCT device, hour FROM touched) t
CROSS JOIN LATERAL (
    SELECT
        count(*), sum(frames), sum(seconds),
        min(nullif(confidence[1], 'NaN')), sum(frames * nullif(confidence[3], 'NaN')), max(nullif(confidence[5], 'NaN')),
        min(nullif(distance[1], 'NaN')), sum(frames * nullif(distance[3], 'NaN')), max(nullif(distance[5], 'NaN')),
        min(nullif(score[1], 'NaN')), sum(frames * nullif(score[3], 'NaN')), max(nullif(score[5], 'NaN'))
    FROM prediction
    WHERE device = t.device AND at >= t.hour AND at < t.hour + interval '1 hour' AND clock <> 'unsynced'
    HAVING count(*) > 0
) p
ON CONFLICT (device, hour) DO UPDATE SET
    windows = excluded.windows, frames = excluded.frames, seconds = excluded.seconds,
    confidence_low = excluded.confidence_low, confidence_sum = excluded.confidence_sum,
    confidence_high = excluded.confidence_high,
    distance_low = excluded.distance_low, distance_sum = excluded.distance_sum, distance_high = excluded.distance_high,
    score_low = excluded.score_low, score_sum = excluded.score_sum, score_high = excluded.score_high
WHERE h.windows <> excluded.windows;

-- :name fill_prediction_label_hour
INSERT INTO prediction_label_hour AS h
SELECT t.device, t.hour, p.label, p.frames
FROM (SELECT DISTINCT device, hour FROM touched) t
CROSS JOIN LATERAL (
    SELECT c.label, sum(c.frames) AS frames
    FROM prediction
    CROSS JOIN LATERAL unnest(labels, counts) AS c (label, frames)
    WHERE device = t.device AND at >= t.hour AND at < t.hour + interval '1 hour' AND clock <> 'unsynced'
    GROUP BY c.label
) p
ON CONFLICT (device, hour, label) DO UPDATE SET frames = excluded.frames
WHERE h.frames <> excluded.frames;

-- :name fill_drift_hour
-- Events are few, and found by time: an index by device and time would cost every event.
INSERT INTO drift_hour AS h
SELECT
    d.device, t.hour, d.detector,
    count(*) FILTER (WHERE d.phase = 'begin'),
    count(*) FILTER (WHERE d.phase = 'continue'),
    count(*) FILTER (WHERE d.phase = 'end'),
    max(d.severity), max(d.statistic)
FROM (SELECT DISTINCT hour FROM touched) t
JOIN drift_event d ON d.at >= t.hour AND d.at < t.hour + interval '1 hour'
WHERE d.clock <> 'unsynced' AND (d.device, t.hour) IN (SELECT device, hour FROM touched)
GROUP BY d.device, t.hour, d.detector
ON CONFLICT (device, hour, detector) DO UPDATE SET
    begins = excluded.begins, continues = excluded.continues, ends = excluded.ends,
    peak_severity = excluded.peak_severity, peak_statistic = excluded.peak_statistic
WHERE (h.begins, h.continues, h.ends) <> (excluded.begins, excluded.continues, excluded.ends);

-- :name fill_reading_hour
INSERT INTO reading_hour AS h
SELECT s.id, t.hour, r.low, r.high, r.total, r.count
FROM (SELECT DISTINCT device, hour FROM touched) t
JOIN series s ON s.device = t.device
CROSS JOIN LATERAL (
    SELECT
        min(value)::double precision AS low, max(value)::double precision AS high,
        sum(value::double precision) AS total, count(*) AS count
    FROM reading
    WHERE series = s.id AND at >= t.hour AND at < t.hour + interval '1 hour'
) r
WHERE r.count > 0
ON CONFLICT (series, hour) DO UPDATE SET
    low = excluded.low, high = excluded.high, total = excluded.total, count = excluded.count
WHERE h.count <> excluded.count;

-- ---- retention ------------------------------------------------------------------------------------------------------

-- :name hypertables
SELECT hypertable_name::text FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public';

-- :name waits_for_clock
-- Whether rows older than the cutoff by a clock that cannot be trusted came later than it.
SELECT EXISTS (SELECT FROM {table} WHERE clock = 'unsynced' AND at < %(cutoff)s AND received_at >= %(cutoff)s)
    OR EXISTS (SELECT FROM {table} WHERE at < '2020-01-01' AND received_at >= %(cutoff)s);

-- :name not_summed_up
SELECT EXISTS (
    SELECT FROM {table}
    WHERE at >= %(closed)s AND at < %(cutoff)s AND received_at >= %(until)s AND clock <> 'unsynced'
);

-- :name drop_chunks
SELECT count(*) FROM drop_chunks(%(table)s::regclass, older_than => %(cutoff)s::timestamptz);

-- :name drop_records
-- What the device's clock makes older than the cutoff. Without a clock to trust, the time of arrival decides.
DELETE FROM {table} WHERE (device, boot, seq, at) IN (
    SELECT device, boot, seq, at FROM {table} old
    WHERE at < %(cutoff)s AND (received_at < %(cutoff)s OR (clock <> 'unsynced' AND at >= '2020-01-01'))
        AND {only_if}
    LIMIT %(most)s
);

-- :name drop_rows
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {table} old WHERE {time} < %(cutoff)s AND {only_if} LIMIT %(most)s
));

-- :name drop_samples
-- A sample goes with all that was said of it, unless its device still has to hear a label or its episode goes on.
WITH gone AS (
    DELETE FROM sample WHERE (device, boot, seq, at) IN (
        SELECT device, boot, seq, at FROM sample old
        WHERE at < %(cutoff)s AND (received_at < %(cutoff)s OR (clock <> 'unsynced' AND at >= '2020-01-01'))
            AND NOT EXISTS (
                SELECT FROM label l WHERE l.device = old.device AND l.sample = old.sample AND (
                    l.state IN ('queued', 'published') OR l.cleared_at IS NULL AND l.published_at IS NOT NULL)
            )
            AND (old.episode = '' OR NOT EXISTS (
                SELECT FROM drift_event b WHERE b.device = old.device AND b.episode = old.episode AND b.phase = 'begin'
                    AND NOT EXISTS (
                        SELECT FROM drift_event e
                        WHERE e.device = b.device AND e.episode = b.episode AND e.phase = 'end')
            ))
        LIMIT %(most)s
    )
    RETURNING device, sample, picture_digest
), labels AS (
    DELETE FROM label USING gone WHERE label.device = gone.device AND label.sample = gone.sample
), requests AS (
    DELETE FROM label_request USING gone
    WHERE label_request.device = gone.device AND label_request.sample = gone.sample
), acknowledgements AS (
    DELETE FROM label_ack USING gone WHERE label_ack.device = gone.device AND label_ack.sample = gone.sample
), objects AS (
    INSERT INTO object_to_remove (key)
    SELECT DISTINCT 'pictures/' || left(picture_digest, 2) || '/' || picture_digest FROM gone
    WHERE picture_digest IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM gone;

-- :name fold_traffic
-- Hours become days; what is added to a day leaves its hours in the same statement.
WITH gone AS (
    DELETE FROM traffic WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM traffic WHERE hour < %(cutoff)s LIMIT %(most)s
    ))
    RETURNING device, date_trunc('day', hour, 'UTC') AS day, kind, messages, bytes
), folded AS (
    INSERT INTO traffic_day (device, day, kind, messages, bytes)
    SELECT device, day, kind, sum(messages), sum(bytes) FROM gone GROUP BY device, day, kind
    ON CONFLICT (device, day, kind) DO UPDATE SET
        messages = traffic_day.messages + excluded.messages, bytes = traffic_day.bytes + excluded.bytes
)
SELECT count(*) FROM gone;

-- ---- objects ---------------------------------------------------------------------------------------------------------

-- :name objects_to_remove
SELECT key FROM object_to_remove WHERE since <= now() - %(age_s)s * interval '1 second' ORDER BY since LIMIT %(most)s;

-- :name object_needed
-- A picture is needed by samples, a blob by what a device offered; by others than the one that is to be forgotten.
SELECT CASE split_part(%(key)s, '/', 1)
    WHEN 'pictures' THEN EXISTS (
        SELECT FROM sample
        WHERE picture_digest = %(digest)s
            AND NOT (device = %(device)s AND (%(sample)s = '' OR sample.sample = %(sample)s))
    )
    WHEN 'blobs' THEN EXISTS (
        SELECT FROM blob WHERE sha256 = %(digest)s AND state = 'stored' AND device <> %(device)s
    )
    ELSE true
END;

-- :name waiting_removed
DELETE FROM waiting_object WHERE key = %(key)s;

-- :name object_removed
DELETE FROM object_to_remove WHERE key = %s;

-- ---- levels -----------------------------------------------------------------------------------------------------------

-- :name timescale_offered
-- Whether the extension could be created: it is on the server and preloaded. Without the preload, creating it would
-- end the connection; the loader's setting exists only where it is preloaded.
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
    AND current_setting('timescaledb.disable_load', true) IS NOT NULL;

-- :name create_timescale
CREATE EXTENSION timescaledb;

-- :name be_brief
-- Workers queue behind whoever waits for a table, so nobody waits for one long.
SET LOCAL lock_timeout = '10s';

-- :name make_hypertable
SELECT create_hypertable(
    %(table)s::regclass, 'at', create_default_indexes => false, migrate_data => true,
    chunk_time_interval => %(chunk)s::interval);

-- ---- forgetting -----------------------------------------------------------------------------------------------------

-- :name columns
-- The columns of a name, and the types, of tables.
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = %s
ORDER BY 1;

-- :name count_of_device
SELECT count(*) FROM {table} WHERE device = %(device)s;

-- :name erase_of_device
DELETE FROM {table} WHERE device = %(device)s;

-- :name count_of_sample
SELECT count(*) FROM {table} WHERE device = %(device)s AND sample = %(sample)s;

-- :name erase_of_sample
DELETE FROM {table} WHERE device = %(device)s AND sample = %(sample)s;

-- :name count_listed
SELECT count(*) FROM {table} WHERE device = %(device)s AND %(sample)s = ANY (samples);

-- :name erase_listed
UPDATE {table} SET samples = array_remove(samples, %(sample)s)
WHERE device = %(device)s AND %(sample)s = ANY (samples);

-- :name count_letters
-- Dead letters that hold the name of the sample, and so perhaps the sample.
SELECT count(*) FROM {table}
WHERE device = %(device)s
    AND (topic ~ %(mention)s OR position(convert_to(%(sample)s, 'UTF8') IN payload) > 0);

-- :name erase_letters
DELETE FROM {table}
WHERE device = %(device)s
    AND (topic ~ %(mention)s OR position(convert_to(%(sample)s, 'UTF8') IN payload) > 0);

-- :name count_mentions
SELECT count(*) FROM {table} WHERE {column}::text ~ %(mention)s AND {scope};

-- :name erase_mentions
UPDATE {table} SET {column} = regexp_replace({column}::text, %(mention)s, '(forgotten)', 'g')::{type}
WHERE {column}::text ~ %(mention)s AND {scope};

-- :name count_readings
SELECT count(*) FROM {table} WHERE series = ANY (%(series)s);

-- :name erase_readings
DELETE FROM {table} WHERE series = ANY (%(series)s);

-- :name series_of_device
SELECT id FROM series WHERE device = %(device)s;

-- :name erase_series
DELETE FROM series WHERE device = %(device)s RETURNING id;

-- :name objects_of_device
SELECT DISTINCT 'pictures/' || left(picture_digest, 2) || '/' || picture_digest FROM sample
WHERE device = %(device)s AND picture_digest IS NOT NULL
UNION
SELECT 'blobs/' || left(sha256, 2) || '/' || sha256 FROM blob WHERE device = %(device)s;

-- :name objects_of_sample
SELECT DISTINCT 'pictures/' || left(picture_digest, 2) || '/' || picture_digest FROM sample
WHERE device = %(device)s AND sample = %(sample)s AND picture_digest IS NOT NULL;

-- :name object_waits
SELECT EXISTS (SELECT FROM waiting_object WHERE key = %s);

-- :name last_heard
SELECT extract(epoch FROM now() - heard_at)::double precision FROM device WHERE device = %s;

-- ---- readers --------------------------------------------------------------------------------------------------------

-- :name role_mark
SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s;

-- :name create_reader
CREATE ROLE {role};

-- :name limit_reader
ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 20;

-- :name calm_reader
ALTER ROLE {role} SET default_transaction_read_only = on;

-- :name patient_reader
ALTER ROLE {role} SET statement_timeout = '30s';

-- :name reader_password
ALTER ROLE {role} PASSWORD {digest};

-- :name mark_reader
COMMENT ON ROLE {role} IS {mark};

-- :name let_in
GRANT CONNECT ON DATABASE {database} TO {role};

-- :name revoke_all
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};

-- :name let_into_schema
GRANT USAGE ON SCHEMA public TO {role};

-- :name readable_views
SELECT viewname::text FROM pg_views WHERE schemaname = 'public' AND viewname LIKE 'v\_%' ORDER BY 1;

-- :name let_read
GRANT SELECT ON {views} TO {role};

-- :name readers_here
-- Roles that were made here and may read in this database.
SELECT r.rolname::text
FROM pg_roles r
JOIN pg_database d ON d.datname = current_database()
WHERE shobj_description(r.oid, 'pg_authid') = %s
    AND EXISTS (SELECT FROM aclexplode(d.datacl) allowed WHERE allowed.grantee = r.oid);
