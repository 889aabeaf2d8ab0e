-- What `tinyml simulate` asks of the database when the run is over.

-- :name count_records
SELECT device, boot, records, numbers, last_seq FROM v_record_count WHERE boot = ANY(%s);

-- :name time_to_row
-- From the moment a device made a drift event until the transaction that stored it began, on a clock that both share.
SELECT
    count(*),
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM received_at - at)::double precision),
    extract(epoch FROM max(received_at - at))::double precision
FROM drift_event
WHERE boot = ANY(%s) AND clock = 'synced';

-- :name count_labels
-- Labels that count as applied, of devices that acknowledged one in these boots.
SELECT count(*)
FROM label l
WHERE l.state = 'applied' AND EXISTS (
    SELECT FROM label_ack a
    WHERE a.device = l.device AND a.sample = l.sample AND a.revision = l.revision AND a.boot = ANY(%s)
);
