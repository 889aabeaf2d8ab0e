-- Of the jobs `retime`, which moves records to the time that the clock of their boot says, and `readings`.

-- :name record_tables
-- The tables whose rows are records of devices: whatever has these columns, so that none can be forgotten.
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND pg_table_is_visible(c.oid)
GROUP BY c.oid
HAVING array_agg(a.attname::text) @> ARRAY['device', 'boot', 'seq', 'at', 'clock', 'op_s']
ORDER BY c.relname;

-- :name create_late
CREATE TEMP TABLE IF NOT EXISTS late_record (
    device text, boot text, seq bigint, at timestamptz, right_at timestamptz, seconds double precision
) ON COMMIT DELETE ROWS;

-- :name allow_decompression
-- Until the transaction ends: rows may be moved out of chunks that TimescaleDB has compressed, however many they share a
-- batch with. Means nothing to a server without it.
SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);

-- :name choose_late
-- Records that were stored with a clock that could not be trusted and whose boot has one now. Their right time is the
-- same to the microsecond as ingest/stores/clocks.py makes it.
INSERT INTO late_record
SELECT
    r.device, r.boot, r.seq, r.at,
    timestamptz 'epoch' + (c.offset_us + round(r.op_s * 1000000)::bigint) * interval '1 microsecond',
    {seconds}
FROM {table} r
JOIN boot_clock c ON c.device = r.device AND c.boot = r.boot
WHERE r.clock = 'unsynced' AND r.op_s > 0 AND r.op_s <= 9000000000
LIMIT %(most)s;

-- :name move_late
-- A record that is at its right time already, because it was sent twice, only loses its other row.
WITH moved AS (
    DELETE FROM {table} r USING late_record l
    WHERE r.device = l.device AND r.boot = l.boot AND r.seq = l.seq AND r.at = l.at AND r.clock = 'unsynced'
    RETURNING r.*, l.right_at
)
INSERT INTO {table} ({columns})
SELECT {values} FROM moved
ORDER BY device, boot, seq
ON CONFLICT DO NOTHING;

-- :name add_late_series
INSERT INTO series (device, name)
SELECT DISTINCT r.device, name
FROM late_record l
JOIN telemetry r ON r.device = l.device AND r.boot = l.boot AND r.seq = l.seq AND r.at = l.at AND r.clock = 'unsynced'
CROSS JOIN LATERAL unnest(r.names) AS name
ORDER BY 1, 2
ON CONFLICT DO NOTHING;

-- :name move_late_readings
-- The same for messages with readings, which become rows where their message is new at its right time.
WITH moved AS (
    DELETE FROM telemetry r USING late_record l
    WHERE r.device = l.device AND r.boot = l.boot AND r.seq = l.seq AND r.at = l.at AND r.clock = 'unsynced'
    RETURNING r.*, l.right_at
), single AS (
    SELECT DISTINCT ON (device, boot, seq, right_at) * FROM moved ORDER BY device, boot, seq, right_at
), kept AS (
    INSERT INTO telemetry ({columns})
    SELECT {values} FROM single
    ORDER BY device, boot, seq
    ON CONFLICT DO NOTHING
    RETURNING device, boot, seq, at
)
INSERT INTO reading (series, at, value)
SELECT s.id, m.right_at - age.seconds * interval '1 second', value.value
FROM kept k
JOIN single m ON m.device = k.device AND m.boot = k.boot AND m.seq = k.seq AND m.right_at = k.at
CROSS JOIN LATERAL unnest(m.ages) WITH ORDINALITY AS age (seconds, i)
CROSS JOIN LATERAL unnest(m.names) WITH ORDINALITY AS name (name, i)
JOIN series s ON s.device = m.device AND s.name = name.name
CROSS JOIN LATERAL (SELECT m.readings[(age.i - 1) * cardinality(m.names) + name.i]) AS value (value)
WHERE value.value <> 'NaN';

-- :name touch_late
-- What is summed up by the hour is summed up anew where something came.
INSERT INTO rollup_touched (what, device, hour)
SELECT DISTINCT {what}, l.device, hour
FROM late_record l
CROSS JOIN LATERAL generate_series(
    date_trunc('hour', l.right_at - l.seconds * interval '1 second', 'UTC'), l.right_at, interval '1 hour'
) AS hour
WHERE EXISTS (SELECT FROM rollup WHERE rollup.what = {what})
ORDER BY 2, 3
ON CONFLICT DO NOTHING;

-- :name reading_chunks
-- The chunks of `reading` without a valid tree: whether they are complete, never analysed, and their other indexes.
SELECT
    c.oid::regclass::text,
    k.range_end < now() - interval '1 hour',
    c.reltuples < 0,
    (SELECT i.indexrelid FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
     WHERE i.indrelid = c.oid AND a.amname = 'brin' LIMIT 1)::regclass::text,
    ARRAY(SELECT i.indexrelid::regclass::text FROM pg_index i WHERE i.indrelid = c.oid AND NOT i.indisvalid)
FROM timescaledb_information.chunks k
JOIN pg_namespace n ON n.nspname = k.chunk_schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.chunk_name
WHERE k.hypertable_name = 'reading' AND NOT k.is_compressed AND NOT EXISTS (
    SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
    WHERE i.indrelid = c.oid AND a.amname = 'btree' AND i.indisvalid
)
ORDER BY k.range_end;

-- :name summarise_chunk
SELECT brin_summarize_new_values(%s::regclass);

-- :name index_chunk
-- Nobody who writes has to wait for it.
CREATE INDEX CONCURRENTLY ON {chunk} (series, at) WITH (deduplicate_items = off);

-- :name drop_index
DROP INDEX IF EXISTS {index};

-- :name analyse_chunk
ANALYZE {chunk};
