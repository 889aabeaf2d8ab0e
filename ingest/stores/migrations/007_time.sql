-- Readings become rows of their own, and the clocks of boots are known.

-- One row a name that a device ever reported a reading under.
CREATE TABLE series (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    name text NOT NULL,
    UNIQUE (device, name)
);

-- One row a reading. That none is there twice follows from `telemetry`: only who claims a message there copies it.
CREATE TABLE reading (
    series bigint NOT NULL,
    at timestamptz NOT NULL,
    value real NOT NULL
);
-- In ascending order pages fill up where a series grows; equal keys are too few to look for.
CREATE INDEX reading_series_at ON reading (series, at) WITH (deduplicate_items = off);

-- Workers remember the ids of series. Whoever deletes one waits for those who are just writing, and makes all others
-- look again; readings are deleted after their series, in the same transaction.
CREATE SEQUENCE series_generation;

CREATE FUNCTION series_are_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7467368267);
    PERFORM nextval('series_generation');
    RETURN NULL;
END
$$;
CREATE TRIGGER series_are_deleted BEFORE DELETE OR TRUNCATE ON series
    FOR EACH STATEMENT EXECUTE FUNCTION series_are_deleted();

DROP VIEW v_telemetry;

INSERT INTO series (device, name)
SELECT DISTINCT t.device, name FROM telemetry t CROSS JOIN LATERAL unnest(t.names) AS name
ORDER BY 1, 2;

INSERT INTO reading (series, at, value)
SELECT s.id, t.at - age.seconds * interval '1 second', value.value
FROM telemetry t
CROSS JOIN LATERAL unnest(t.ages) WITH ORDINALITY AS age (seconds, i)
CROSS JOIN LATERAL unnest(t.names) WITH ORDINALITY AS name (name, i)
JOIN series s ON s.device = t.device AND s.name = name.name
CROSS JOIN LATERAL (SELECT t.readings[(age.i - 1) * cardinality(t.names) + name.i]) AS value (value)
WHERE t.clock <> 'unsynced' AND value.value <> 'NaN'
ORDER BY 1, 2;

ALTER TABLE telemetry ADD COLUMN size bigint;
ALTER TABLE telemetry ADD COLUMN seconds real;
ALTER TABLE telemetry ALTER COLUMN names DROP NOT NULL;
ALTER TABLE telemetry ALTER COLUMN ages DROP NOT NULL;
ALTER TABLE telemetry ALTER COLUMN readings DROP NOT NULL;
UPDATE telemetry SET
    size = (SELECT count(*) FROM unnest(readings) AS value WHERE value <> 'NaN'),
    seconds = coalesce((SELECT max(age) FROM unnest(ages) AS age), 0),
    names = CASE WHEN clock = 'unsynced' THEN names END,
    ages = CASE WHEN clock = 'unsynced' THEN ages END,
    readings = CASE WHEN clock = 'unsynced' THEN readings END;
ALTER TABLE telemetry ALTER COLUMN size SET NOT NULL;
ALTER TABLE telemetry ALTER COLUMN seconds SET NOT NULL;
ALTER TABLE telemetry ADD CONSTRAINT telemetry_waits CHECK ((clock = 'unsynced') = (ages IS NOT NULL));

-- One row a reading; of a boot without a clock at the times that its device believed.
CREATE VIEW v_telemetry AS
SELECT s.device, r.at, s.name, r.value
FROM series s
JOIN reading r ON r.series = s.id
UNION ALL
SELECT t.device, t.at - age.seconds * interval '1 second', name.name, value.value
FROM telemetry t
CROSS JOIN LATERAL unnest(t.ages) WITH ORDINALITY AS age (seconds, i)
CROSS JOIN LATERAL unnest(t.names) WITH ORDINALITY AS name (name, i)
CROSS JOIN LATERAL (SELECT t.readings[(age.i - 1) * cardinality(t.names) + name.i]) AS value (value)
WHERE t.clock = 'unsynced' AND value.value <> 'NaN';

-- What message time means in a boot: wall time = offset + message time. Set once and never changed.
CREATE TABLE boot_clock (
    device text NOT NULL,
    boot text NOT NULL,
    offset_us bigint NOT NULL,      -- microseconds since 1970
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot)
);

-- The boots that said something of themselves here, in the order in which they first did so: what is heard of an
-- earlier installation of a device is old, however late it arrives, unless it is a boot that nobody has heard of.
CREATE TABLE boot_heard (
    device text NOT NULL,
    boot text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    heard_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot)
);
INSERT INTO boot_heard (device, boot)
SELECT device, boot
FROM (
    SELECT device, state_boot AS boot FROM device WHERE state_boot IS NOT NULL
    UNION
    SELECT device, birth_boot FROM device WHERE birth_boot IS NOT NULL
    UNION
    SELECT device, boot FROM device_report
) known
ORDER BY device, boot;

-- The records that came with a clock which could not be trusted, and that are moved once their boot has one.
CREATE INDEX drift_event_unsynced ON drift_event (device, boot) WHERE clock = 'unsynced';
CREATE INDEX camera_event_unsynced ON camera_event (device, boot) WHERE clock = 'unsynced';
CREATE INDEX telemetry_unsynced ON telemetry (device, boot) WHERE clock = 'unsynced';
CREATE INDEX prediction_unsynced ON prediction (device, boot) WHERE clock = 'unsynced';
CREATE INDEX snapshot_unsynced ON snapshot (device, boot) WHERE clock = 'unsynced';
CREATE INDEX log_unsynced ON log (device, boot) WHERE clock = 'unsynced';
CREATE INDEX sample_unsynced ON sample (device, boot) WHERE clock = 'unsynced';
CREATE INDEX adaptation_unsynced ON adaptation (device, boot) WHERE clock = 'unsynced';
CREATE INDEX label_request_unsynced ON label_request (device, boot) WHERE clock = 'unsynced';
CREATE INDEX label_ack_unsynced ON label_ack (device, boot) WHERE clock = 'unsynced';
CREATE INDEX command_report_unsynced ON command_report (device, boot) WHERE clock = 'unsynced';
CREATE INDEX dead_letter_unsynced ON dead_letter (device, boot) WHERE clock = 'unsynced';

-- Clocks that the records told which are here already.
DO $$
DECLARE
    records text;
BEGIN
    FOREACH records IN ARRAY ARRAY[
        'drift_event', 'camera_event', 'telemetry', 'prediction', 'snapshot', 'log', 'sample', 'adaptation',
        'label_request', 'label_ack', 'command_report', 'dead_letter'
    ] LOOP
        EXECUTE format(
            'INSERT INTO boot_clock (device, boot, offset_us)'
            ' SELECT DISTINCT ON (device, boot)'
            '     device, boot, (extract(epoch FROM at) * 1000000 - round(op_s * 1000000)::numeric)::bigint'
            ' FROM %I WHERE clock = ''synced'' AND op_s > 0 AND op_s <= 9000000000'
            '     AND at BETWEEN ''2020-01-01 00:00+00'' AND now() + interval ''1 day'''
            ' ORDER BY device, boot, seq'
            ' ON CONFLICT DO NOTHING', records);
    END LOOP;
END
$$;

-- ---- TimescaleDB, where it is --------------------------------------------------------------------------------------

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable(
            'reading', 'at', create_default_indexes => false, chunk_time_interval => interval '1 day',
            migrate_data => true);
        -- Readings arrive device by device, so that ranges of pages tell them apart, for a quarter of what it costs to
        -- keep a tree. What is complete gets a tree (job `readings`).
        DROP INDEX reading_series_at;
        CREATE INDEX reading_series_at ON reading USING brin (series, at) WITH (pages_per_range = 4);
    END IF;
END
$$;
