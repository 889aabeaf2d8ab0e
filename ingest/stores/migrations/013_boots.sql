-- What is known of the boots of devices.

-- One row a boot: its clock, how many of its records wait for one, and between what its time must lie where it has
-- none: after what is known of the boots before it, before what is known of those after it and before it was received.
CREATE VIEW v_boot AS
WITH record AS (
    SELECT device, boot, at, clock, op_s, received_at FROM drift_event
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM camera_event
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM telemetry
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM prediction
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM snapshot
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM log
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM sample
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM adaptation
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM label_ack
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM label_request
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM command_report
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM blob_offer
    UNION ALL SELECT device, boot, at, clock, op_s, received_at FROM dead_letter
), boot AS (
    SELECT
        device, boot,
        regexp_replace(boot, '-[^-]*$', '') AS installation,
        coalesce(substring(boot FROM '[0-9]+$')::numeric, 0) AS number,
        count(*) AS records,
        count(*) FILTER (WHERE clock = 'unsynced') AS unsynced,
        count(*) FILTER (WHERE clock = 'retimed') AS retimed,
        min(at) FILTER (WHERE clock <> 'unsynced') AS first_at,
        max(at) FILTER (WHERE clock <> 'unsynced') AS last_at,
        max(op_s) - min(op_s) AS seconds,
        min(received_at) AS first_received_at,
        max(received_at) AS last_received_at
    FROM record
    GROUP BY device, boot
)
SELECT
    b.device, b.boot, c.offset_us IS NOT NULL AS has_clock, c.offset_us, b.records, b.unsynced, b.retimed,
    b.first_at, b.last_at, b.seconds,
    CASE WHEN c.offset_us IS NULL THEN max(b.last_at) OVER before END AS not_before,
    CASE WHEN c.offset_us IS NULL THEN least(min(b.first_at) OVER after, b.last_received_at) END AS not_after,
    b.first_received_at, b.last_received_at
FROM boot b
LEFT JOIN boot_clock c ON c.device = b.device AND c.boot = b.boot
WINDOW
    before AS (PARTITION BY b.device, b.installation ORDER BY b.number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    after AS (PARTITION BY b.device, b.installation ORDER BY b.number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING);
