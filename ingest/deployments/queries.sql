-- Statements about deployments, used by name.

-- :name note_bundles
-- Which bundle boots run, as devices say; what was only inferred gives way.
INSERT INTO device_bundle (device, boot, digest)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])
ON CONFLICT (device, boot) DO UPDATE SET digest = excluded.digest, inferred = false, noted_at = now()
WHERE device_bundle.inferred;

-- :name horizon
-- All that was received before this moment can be seen, for whoever writes records now has begun later. Births get
-- some time to arrive, which may come another way than the records of their boot.
SELECT least(
    now() - %s * interval '1 second',
    (
        SELECT min(xact_start) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'tinyml%%'
    )
);

-- :name read_mark
SELECT received_at FROM registry_mark WHERE source = %s;

-- :name write_mark
INSERT INTO registry_mark (source, received_at) VALUES (%s, %s)
ON CONFLICT (source) DO UPDATE SET received_at = excluded.received_at;

-- :name new_bundles
-- Boots in the place of records: so a deployment is known before anything happens in it. Here as below, what was
-- stored in one transaction comes together.
SELECT
    noted_at, device, boot, 0::bigint AS seq, noted_at, 0::double precision AS op_s, digest, NULL, NULL, NULL
FROM device_bundle
WHERE noted_at > %(mark)s AND noted_at < %(horizon)s AND NOT inferred
ORDER BY noted_at
FETCH FIRST %(most)s ROWS WITH TIES;

-- :name new_adaptations
SELECT
    received_at, device, boot, seq, CASE WHEN clock = 'unsynced' THEN received_at ELSE at END, op_s,
    outcome, accuracy_before, accuracy_after, memory::double precision
FROM adaptation
WHERE received_at > %(mark)s AND received_at < %(horizon)s
ORDER BY received_at
FETCH FIRST %(most)s ROWS WITH TIES;

-- :name new_drifts
SELECT
    received_at, device, boot, seq, CASE WHEN clock = 'unsynced' THEN received_at ELSE at END, op_s,
    phase, statistic, severity, NULL
FROM drift_event
WHERE received_at > %(mark)s AND received_at < %(horizon)s AND phase IN ('begin', 'end')
ORDER BY received_at
FETCH FIRST %(most)s ROWS WITH TIES;

-- :name new_labels
SELECT
    received_at, device, boot, seq, CASE WHEN clock = 'unsynced' THEN received_at ELSE at END, op_s,
    outcome, NULL, NULL, NULL
FROM label_ack
WHERE received_at > %(mark)s AND received_at < %(horizon)s
ORDER BY received_at
FETCH FIRST %(most)s ROWS WITH TIES;

-- :name known_bundles
SELECT device, boot, digest FROM device_bundle
WHERE (device, boot) IN (SELECT * FROM unnest(%s::text[], %s::text[]));

-- :name infer_bundle
-- Of a boot that did not say which bundle it ran: what its samples say, else the boot before of its installation,
-- else the one after; the numbers of boots are of one length. An answer that is given once stays.
INSERT INTO device_bundle (device, boot, digest, inferred)
SELECT %(device)s, %(boot)s, coalesce(
    (
        SELECT bundle FROM sample
        WHERE device = %(device)s AND boot = %(boot)s AND bundle ~ '^[0-9a-f]{{64}}$'
        LIMIT 1
    ),
    (
        SELECT digest FROM device_bundle
        WHERE device = %(device)s AND left(boot, 9) = left(%(boot)s, 9) AND boot < %(boot)s AND NOT inferred
        ORDER BY boot DESC
        LIMIT 1
    ),
    (
        SELECT digest FROM device_bundle
        WHERE device = %(device)s AND left(boot, 9) = left(%(boot)s, 9) AND boot > %(boot)s AND NOT inferred
        ORDER BY boot
        LIMIT 1
    ),
    ''
), true
ON CONFLICT (device, boot) DO NOTHING;

-- :name known_deployments
SELECT device, digest, run_id, running, counts FROM deployment WHERE device = ANY(%s);

-- :name present_bundles
SELECT device, bundle FROM device WHERE device = ANY(%s);

-- :name write_deployment
INSERT INTO deployment (device, digest, run_id, model, version, since, until, counts)
VALUES (
    %(device)s, %(digest)s, %(run_id)s, %(model)s, %(version)s, %(since)s, %(until)s, %(counts)s
)
ON CONFLICT (device, digest) DO UPDATE SET
    run_id = excluded.run_id, model = excluded.model, version = excluded.version, counts = excluded.counts,
    since = least(deployment.since, excluded.since), until = greatest(deployment.until, excluded.until);

-- :name write_running
UPDATE deployment SET running = %s WHERE device = %s AND digest = %s;

-- :name devices_of_bundles
-- Which devices run which bundle, as they said last.
SELECT bundle, count(*), (array_agg(device ORDER BY device))[:5] FROM device WHERE bundle <> '' GROUP BY bundle;
