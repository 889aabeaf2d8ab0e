-- Statements of what is known beyond the records, used by name.

-- ---- presence ----------------------------------------------------------------------------------------------------

-- :name note_presence
-- What a status means for the history of a device's presence. The device's row is locked, so the clock now is in the
-- order of the statuses that count.
INSERT INTO presence_event (device, at, presence, reason, source, boot, heard_at)
SELECT
    d.device, clock_timestamp(), n.presence, d.reason,
    CASE WHEN d.state = 'offline' THEN 'will' ELSE 'status' END, coalesce(d.state_boot, ''), d.heard_at
FROM device d
CROSS JOIN LATERAL (SELECT presence_of(d.state, d.heard_at, d.report_s, now()) AS presence) n
WHERE d.device = %s AND n.presence IS DISTINCT FROM (
    SELECT p.presence FROM presence_event p WHERE p.device = d.device ORDER BY p.at DESC, p.id DESC LIMIT 1
);

-- :name note_silence
-- Devices that fell silent or were heard again without saying so, each dated to when that became true.
INSERT INTO presence_event (device, at, presence, reason, source, boot, heard_at)
SELECT
    d.device,
    greatest(p.at, CASE
        WHEN d.state IN ('offline', 'stopped') THEN now()
        WHEN n.presence IN ('online', 'unknown') THEN d.heard_at
        WHEN d.state = 'sleeping' THEN d.heard_at + CASE WHEN n.presence = 'idle' THEN '0 s' ELSE interval '24 hours' END
        WHEN n.presence = 'idle' THEN d.heard_at + (3 * n.interval_s + 5) * interval '1 second'
        ELSE d.heard_at + greatest(30 * n.interval_s, 900) * interval '1 second'
    END),
    n.presence,
    CASE
        WHEN d.state IN ('offline', 'stopped', 'sleeping') AND n.presence <> 'online' THEN d.reason
        WHEN n.presence = 'online' THEN 'heard'
        WHEN n.presence = 'idle' THEN 'not heard for 3 of its report intervals'
        ELSE 'not heard for 30 of its report intervals'
    END,
    CASE
        WHEN d.state = 'offline' THEN 'will'
        WHEN d.state = 'stopped' OR (d.state = 'sleeping' AND n.presence = 'idle') THEN 'status'
        WHEN n.presence = 'online' THEN 'records'
        ELSE 'silence'
    END,
    coalesce(d.state_boot, ''),
    d.heard_at
FROM device d
CROSS JOIN LATERAL (
    SELECT presence_of(d.state, d.heard_at, d.report_s, now()) AS presence,
        least(greatest(d.report_s, 1), 86400) AS interval_s
) n
LEFT JOIN LATERAL (
    SELECT e.presence, e.at FROM presence_event e WHERE e.device = d.device ORDER BY e.at DESC, e.id DESC LIMIT 1
) p ON true
WHERE n.presence IS DISTINCT FROM p.presence AND NOT (p.presence IS NULL AND n.presence = 'unknown');

-- :name note_fleet
-- How many are online now, of each bundle and of all, where that is the most of this hour.
INSERT INTO fleet_hour (hour, bundle, online)
SELECT date_trunc('hour', now(), 'UTC'), CASE WHEN grouping(bundle) = 1 THEN '*' ELSE bundle END, count(*)
FROM device
WHERE presence_of(state, heard_at, report_s, now()) = 'online'
GROUP BY GROUPING SETS ((bundle), ())
ON CONFLICT (hour, bundle) DO UPDATE SET online = excluded.online WHERE excluded.online > fleet_hour.online;

-- ---- episodes ----------------------------------------------------------------------------------------------------

-- :name read_mark
-- From when on records are to be looked at, and what time it is.
SELECT coalesce(
    (SELECT at FROM knowledge_mark WHERE name = %s),
    least(
        (SELECT min(received_at) FROM drift_event), (SELECT min(received_at) FROM camera_event),
        (SELECT min(noted_at) FROM presence_event)
    ),
    now()
), now();

-- :name write_mark
INSERT INTO knowledge_mark (name, at) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET at = excluded.at;

-- :name refresh_drift
-- Drift episodes of which anything was received in this time, and those whose time is not certain yet.
WITH touched AS (
    SELECT device, episode FROM drift_event
    WHERE received_at >= %(since)s AND received_at < %(until)s AND at >= %(made_since)s
    UNION
    SELECT device, episode FROM sample WHERE received_at >= %(since)s AND received_at < %(until)s
    UNION
    SELECT device, episode FROM adaptation WHERE received_at >= %(since)s AND received_at < %(until)s
    UNION
    SELECT s.device, s.episode FROM label_ack a JOIN sample s USING (device, sample)
    WHERE a.received_at >= %(since)s AND a.received_at < %(until)s
    UNION
    SELECT device, episode FROM episode_state
    WHERE kind = 'drift' AND clock = 'unsynced' AND last_heard_at > now() - interval '30 days'
), fact AS (
    SELECT
        d.device, d.episode,
        coalesce(max(d.drift_type) FILTER (WHERE d.phase = 'begin'), '') AS type,
        max(d.detector) AS detector,
        CASE WHEN bool_or(d.clock = 'unsynced' AND d.phase = 'begin') THEN 'unsynced' ELSE 'synced' END AS clock,
        min(d.at) FILTER (WHERE d.phase = 'begin') AS begin_at,
        max(d.at) FILTER (WHERE d.phase = 'end') AS end_at,
        max(d.received_at) FILTER (WHERE d.phase = 'end') AS ended_heard_at,
        max(d.received_at) AS last_heard_at,
        max(d.severity) AS severity,
        coalesce(max(d.reason) FILTER (WHERE d.phase = 'end'), '') AS end_reason,
        regexp_replace(min(d.boot), '-[0-9]*$', '') AS installation,
        min(d.boot) AS boot
    FROM touched t
    JOIN drift_event d ON d.device = t.device AND d.episode = t.episode
    GROUP BY d.device, d.episode
)
INSERT INTO episode_state AS e (
    device, kind, episode, type, detector, bundle, clock, begin_at, end_at, ended_heard_at, last_heard_at, severity,
    samples, labels, applied, rolled_back, rejected, end_reason, installation
)
SELECT
    f.device, 'drift', f.episode, f.type, f.detector,
    coalesce(nullif(s.bundle, ''), nullif(b.digest, ''), nullif(known.bundle, ''), d.bundle, ''), f.clock,
    f.begin_at, greatest(f.end_at, CASE WHEN f.end_at IS NOT NULL THEN f.begin_at END), f.ended_heard_at,
    f.last_heard_at, f.severity, s.samples, l.labels, a.applied, a.rolled_back, a.rejected, f.end_reason, f.installation
FROM fact f
LEFT JOIN device d ON d.device = f.device
LEFT JOIN device_bundle b ON b.device = f.device AND b.boot = f.boot
LEFT JOIN episode_state known ON known.device = f.device AND known.kind = 'drift' AND known.episode = f.episode
CROSS JOIN LATERAL (
    SELECT count(*) AS samples, max(bundle) AS bundle FROM sample
    WHERE sample.device = f.device AND sample.episode = f.episode
) s
CROSS JOIN LATERAL (
    SELECT count(DISTINCT k.sample) AS labels
    FROM sample m JOIN label_ack k ON k.device = m.device AND k.sample = m.sample
    WHERE m.device = f.device AND m.episode = f.episode AND k.outcome IN ('applied', 'duplicate')
) l
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE outcome = 'applied') AS applied,
        count(*) FILTER (WHERE outcome = 'rolled-back') AS rolled_back,
        count(*) FILTER (WHERE outcome = 'rejected') AS rejected
    FROM adaptation WHERE adaptation.device = f.device AND adaptation.episode = f.episode
) a
ORDER BY f.device, f.episode
ON CONFLICT (device, kind, episode) DO UPDATE SET
    type = excluded.type, detector = excluded.detector, bundle = excluded.bundle, clock = excluded.clock,
    begin_at = excluded.begin_at, end_at = excluded.end_at, ended_heard_at = excluded.ended_heard_at,
    last_heard_at = excluded.last_heard_at, severity = excluded.severity, samples = excluded.samples,
    labels = excluded.labels, applied = excluded.applied, rolled_back = excluded.rolled_back,
    rejected = excluded.rejected, end_reason = excluded.end_reason, installation = excluded.installation,
    changed_at = now(),
    clustered = e.clustered AND (e.type, e.bundle, e.clock, e.begin_at)
        IS NOT DISTINCT FROM (excluded.type, excluded.bundle, excluded.clock, excluded.begin_at)
WHERE (e.type, e.detector, e.bundle, e.clock, e.begin_at, e.end_at, e.last_heard_at, e.severity, e.samples, e.labels,
        e.applied, e.rolled_back, e.rejected, e.end_reason)
    IS DISTINCT FROM (excluded.type, excluded.detector, excluded.bundle, excluded.clock, excluded.begin_at,
        excluded.end_at, excluded.last_heard_at, excluded.severity, excluded.samples, excluded.labels,
        excluded.applied, excluded.rolled_back, excluded.rejected, excluded.end_reason);

-- :name refresh_camera
WITH touched AS (
    SELECT device, episode, fault FROM camera_event WHERE received_at >= %(since)s AND received_at < %(until)s
    UNION
    SELECT device, episode, type FROM episode_state
    WHERE kind = 'camera' AND clock = 'unsynced' AND last_heard_at > now() - interval '30 days'
)
INSERT INTO episode_state AS e (
    device, kind, episode, type, bundle, clock, begin_at, end_at, ended_heard_at, last_heard_at, installation
)
SELECT
    c.device, 'camera', c.fault || ':' || c.episode, c.fault, '*',
    CASE WHEN bool_or(c.clock = 'unsynced' AND c.phase = 'begin') THEN 'unsynced' ELSE 'synced' END,
    min(c.at) FILTER (WHERE c.phase = 'begin'),
    greatest(
        max(c.at) FILTER (WHERE c.phase = 'end'),
        CASE WHEN bool_or(c.phase = 'end') THEN min(c.at) FILTER (WHERE c.phase = 'begin') END
    ),
    max(c.received_at) FILTER (WHERE c.phase = 'end'),
    max(c.received_at),
    regexp_replace(min(c.boot), '-[0-9]*$', '')
FROM touched t
JOIN camera_event c ON c.device = t.device AND c.episode = t.episode AND c.fault = t.fault
GROUP BY c.device, c.episode, c.fault
ORDER BY c.device, c.episode, c.fault
ON CONFLICT (device, kind, episode) DO UPDATE SET
    clock = excluded.clock, begin_at = excluded.begin_at, end_at = excluded.end_at,
    ended_heard_at = excluded.ended_heard_at, last_heard_at = excluded.last_heard_at,
    installation = excluded.installation, changed_at = now(),
    clustered = e.clustered AND (e.clock, e.begin_at) IS NOT DISTINCT FROM (excluded.clock, excluded.begin_at)
WHERE (e.clock, e.begin_at, e.end_at, e.last_heard_at)
    IS DISTINCT FROM (excluded.clock, excluded.begin_at, excluded.end_at, excluded.last_heard_at);

-- :name refresh_away
-- A device is away from when it was heard last until it is online again, unless it said that it stops or sleeps.
-- The id is that of the time online before, which does not change if a will and silence are noted at once.
WITH told AS (
    SELECT
        p.*,
        lag(p.presence) OVER before AS was,
        lag(p.id) OVER before AS online_before,
        min(p.at) FILTER (WHERE p.presence = 'online') OVER after AS back_at,
        min(p.noted_at) FILTER (WHERE p.presence = 'online') OVER after AS back_heard_at
    FROM presence_event p
    WHERE p.at > now() - interval '60 days' AND p.device IN (
        SELECT device FROM presence_event WHERE noted_at >= %(since)s AND noted_at < %(until)s
    )
    WINDOW
        before AS (PARTITION BY p.device ORDER BY p.at, p.id),
        after AS (PARTITION BY p.device ORDER BY p.at, p.id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
INSERT INTO episode_state AS e (
    device, kind, episode, type, detector, bundle, begin_at, end_at, ended_heard_at, last_heard_at
)
SELECT
    device, 'away', 'p' || online_before, 'away', source, '*',
    CASE WHEN source = 'silence' THEN heard_at ELSE at END, back_at, back_heard_at, coalesce(back_heard_at, noted_at)
FROM told
WHERE presence IN ('idle', 'offline') AND was = 'online' AND source IN ('will', 'silence')
ORDER BY device, online_before
ON CONFLICT (device, kind, episode) DO UPDATE SET
    detector = excluded.detector, begin_at = excluded.begin_at, end_at = excluded.end_at,
    ended_heard_at = excluded.ended_heard_at, last_heard_at = excluded.last_heard_at, changed_at = now(),
    clustered = e.clustered AND e.begin_at = excluded.begin_at
WHERE (e.begin_at, e.end_at, e.last_heard_at) IS DISTINCT FROM (excluded.begin_at, excluded.end_at, excluded.last_heard_at);

-- :name settle_episodes
-- Gives every episode that is open, or of which something was learnt lately, the status it should have:
--   quiet         it ended, and the device was heard 3 of its report intervals later without another one
--   followed      it ended, and another one of the device began after it
--   other-bundle  the device runs another bundle by now, so what drifted is not there any more
--   set-up-anew   the device was set up anew and knows nothing of it
--   lost          nothing was heard of it for 30 days
-- Faults of cameras and absences are over when they end. What a person said stays.
WITH judged AS (
    SELECT e.device, e.kind, e.episode, CASE
        WHEN e.kind <> 'drift' AND e.end_at IS NOT NULL THEN 'quiet'
        WHEN e.end_at IS NOT NULL AND EXISTS (
            SELECT FROM episode_state n
            WHERE n.device = e.device AND n.kind = 'drift' AND n.episode <> e.episode AND n.begin_at > e.begin_at
        ) THEN 'followed'
        WHEN e.end_at IS NOT NULL
            AND d.heard_at >= e.ended_heard_at + 3 * least(greatest(d.report_s, 1), 86400) * interval '1 second'
            THEN 'quiet'
        WHEN e.kind = 'drift' AND e.bundle <> '' AND d.bundle <> '' AND d.bundle <> e.bundle THEN 'other-bundle'
        WHEN e.installation <> '' AND d.birth_boot IS NOT NULL
            AND regexp_replace(d.birth_boot, '-[0-9]*$', '') <> e.installation THEN 'set-up-anew'
        WHEN e.last_heard_at < now() - interval '30 days' THEN 'lost'
    END AS reason
    FROM episode_state e
    LEFT JOIN device d ON d.device = e.device
    WHERE e.by = 'system' AND (e.status = 'open' OR e.changed_at >= %s)
)
UPDATE episode_state e SET
    status = CASE WHEN j.reason IS NULL THEN 'open' ELSE 'resolved' END, reason = coalesce(j.reason, ''), at = now()
FROM judged j
WHERE e.device = j.device AND e.kind = j.kind AND e.episode = j.episode AND e.by = 'system'
    AND (e.status, e.reason) <> (CASE WHEN j.reason IS NULL THEN 'open' ELSE 'resolved' END, coalesce(j.reason, ''));

-- ---- incidents ---------------------------------------------------------------------------------------------------

-- :name unclustered
-- Episodes that incidents do not know of as they are.
SELECT e.device, e.kind, e.episode, e.type, e.bundle, e.begin_at, e.clock, m.incident
FROM episode_state e
LEFT JOIN incident_device m ON m.device = e.device AND m.kind = e.kind AND m.episode = e.episode
WHERE NOT e.clustered
ORDER BY e.begin_at, e.device, e.kind, e.episode
LIMIT %s;

-- :name mark_clustered
-- Unless it has changed since it was read.
UPDATE episode_state e SET clustered = true
FROM unnest(
    %(devices)s::text[], %(kinds)s::text[], %(episodes)s::text[], %(types)s::text[], %(bundles)s::text[],
    %(begins)s::timestamptz[], %(clocks)s::text[]
) AS s (device, kind, episode, type, bundle, begin_at, clock)
WHERE e.device = s.device AND e.kind = s.kind AND e.episode = s.episode
    AND (e.type, e.bundle, e.begin_at, e.clock) IS NOT DISTINCT FROM (s.type, s.bundle, s.begin_at, s.clock);

-- :name incident_key
SELECT kind, type, bundle, begin_at, last_at FROM incident WHERE incident = ANY (%s::text[]);

-- :name incidents_between
SELECT incident, begin_at, last_at FROM incident
WHERE kind = %(kind)s AND type = %(type)s AND bundle = %(bundle)s AND status IN ('open', 'closed')
    AND begin_at <= %(until)s AND last_at >= %(since)s;

-- :name beginnings
-- A begin by a clock that cannot be trusted waits until it is re-timed.
SELECT device, episode, begin_at FROM episode_state
WHERE kind = %(kind)s AND type = %(type)s AND bundle = %(bundle)s AND clock <> 'unsynced'
    AND begin_at BETWEEN %(since)s AND %(until)s;

-- :name fleet_sizes
-- With the first hour that was ever counted, which stands for all before.
SELECT hour, online FROM fleet_hour
WHERE bundle = %(bundle)s AND (
    hour BETWEEN %(since)s::timestamptz - interval '8 days' AND %(until)s::timestamptz + interval '7 days'
    OR hour = (SELECT min(first.hour) FROM fleet_hour first WHERE first.bundle = %(bundle)s)
)
ORDER BY hour;

-- :name members
SELECT incident, device, episode FROM incident_device WHERE incident = ANY (%s::text[]);

-- :name opening_order
SELECT incident FROM incident WHERE incident = ANY (%s::text[]) ORDER BY opened_at, incident;

-- :name write_incident
INSERT INTO incident (incident, kind, type, bundle, severity, begin_at, last_at, devices, online, restarted)
VALUES (%(incident)s, %(kind)s, %(type)s, %(bundle)s, %(severity)s, %(begin_at)s, %(last_at)s, %(devices)s, %(online)s, 0)
ON CONFLICT (incident) DO UPDATE SET
    severity = excluded.severity, begin_at = excluded.begin_at, last_at = excluded.last_at,
    devices = excluded.devices, online = excluded.online, merged_into = NULL,
    status = CASE WHEN incident.status IN ('merged', 'dissolved') THEN 'open' ELSE incident.status END;

-- :name clear_members
DELETE FROM incident_device WHERE incident = ANY (%s::text[]);

-- :name drop_members
DELETE FROM incident_device m
USING unnest(%(devices)s::text[], %(episodes)s::text[]) AS s (device, episode)
WHERE m.incident = %(incident)s AND m.device = s.device AND m.episode = s.episode;

-- :name write_members
INSERT INTO incident_device (incident, device, kind, episode)
SELECT %(incident)s, m.device, %(kind)s, m.episode FROM unnest(%(devices)s::text[], %(episodes)s::text[]) AS m (device, episode)
ON CONFLICT (device, kind, episode) DO UPDATE SET incident = excluded.incident;

-- :name count_restarted
-- Devices whose boot was first seen in the quarter of an hour before their drift began.
UPDATE incident SET restarted = (
    SELECT count(DISTINCT m.device)
    FROM incident_device m
    JOIN episode_state e USING (device, kind, episode)
    JOIN presence_event p ON p.device = m.device AND p.presence = 'online'
        AND p.at BETWEEN e.begin_at - interval '15 minutes' AND e.begin_at
    WHERE m.incident = incident.incident AND NOT EXISTS (
        SELECT FROM presence_event o
        WHERE o.device = p.device AND o.boot = p.boot AND o.at < e.begin_at - interval '15 minutes'
    )
)
WHERE incident = %s AND kind <> 'away';

-- :name end_incident
UPDATE incident SET status = %(status)s, merged_into = %(into)s, closed_at = now() WHERE incident = %(incident)s;

-- :name settle_incidents
-- Open while any of its episodes is.
WITH judged AS (
    SELECT i.incident, EXISTS (
        SELECT FROM incident_device m JOIN episode_state e USING (device, kind, episode)
        WHERE m.incident = i.incident AND e.status IN ('open', 'in-review')
    ) AS going_on
    FROM incident i
    WHERE i.status = 'open' OR (i.status = 'closed' AND i.closed_at > now() - interval '60 days')
)
UPDATE incident i SET
    status = CASE WHEN j.going_on THEN 'open' ELSE 'closed' END,
    closed_at = CASE WHEN j.going_on THEN NULL ELSE now() END
FROM judged j
WHERE i.incident = j.incident AND i.status <> CASE WHEN j.going_on THEN 'open' ELSE 'closed' END;

-- ---- notifications -----------------------------------------------------------------------------------------------
-- A condition is something a person should act on, as long as it lasts: kind, key, severity, device, episode, incident,
-- since, facts. A rule is the statement `when_<kind>`.

-- :name when_incident
-- A broken link may be back in a minute. An incident that gets graver is told once more.
SELECT 'incident' AS kind, 'incident:' || incident || ':' || severity AS key, severity, NULL::text AS device, NULL::text AS episode,
    incident, begin_at AS since, jsonb_build_object(
        'kind', kind, 'type', type, 'bundle', left(bundle, 12), 'devices', devices, 'online', online,
        'restarted', restarted) AS facts
FROM incident
WHERE status = 'open' AND severity <> 'info'
    AND (kind <> 'away' OR opened_at <= now() - %(hold_s)s * interval '1 second');

-- :name when_incident_closed
-- Told of those of which it was told that they began.
SELECT 'incident-closed' AS kind, 'incident-closed:' || i.incident AS key, 'info' AS severity, NULL::text AS device,
    NULL::text AS episode, i.incident, i.closed_at AS since,
    jsonb_build_object('kind', i.kind, 'type', i.type, 'devices', i.devices, 'status', i.status) AS facts
FROM incident i
WHERE i.status IN ('closed', 'dissolved') AND i.closed_at > now() - interval '1 day' AND EXISTS (
    SELECT FROM notification n
    WHERE n.kind = 'incident' AND n.incident = i.incident AND n.notified_at IS NOT NULL
);

-- :name when_drift_waits
-- What an incident tells of is not told once more a device.
SELECT 'drift-waits' AS kind, 'drift-waits:' || e.device AS key, 'warning' AS severity, e.device, e.episode,
    NULL::text AS incident, e.begin_at AS since,
    jsonb_build_object('type', e.type, 'severity', e.severity, 'waiting', w.waiting) AS facts
FROM episode_state e
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting FROM sample s
    WHERE s.device = e.device AND s.episode = e.episode AND NOT EXISTS (
        SELECT FROM label l WHERE l.device = s.device AND l.sample = s.sample
    )
) w
WHERE e.kind = 'drift' AND e.status = 'open' AND e.end_at IS NULL AND w.waiting > 0
    AND coalesce(e.begin_at, e.last_heard_at) < now() - %(drift_s)s * interval '1 second'
    AND NOT EXISTS (
        SELECT FROM incident_device m JOIN incident i USING (incident)
        WHERE m.device = e.device AND i.kind = 'drift' AND i.status = 'open'
    );

-- :name when_offline
SELECT 'device-offline' AS kind, 'device-offline:' || e.device AS key, 'warning' AS severity, e.device,
    NULL::text AS episode, NULL::text AS incident, e.begin_at AS since,
    jsonb_build_object(
        'how', e.detector, 'heard_at', to_char(d.heard_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')) AS facts
FROM episode_state e
JOIN device d ON d.device = e.device
WHERE e.kind = 'away' AND e.status = 'open' AND e.begin_at < now() - %(offline_s)s * interval '1 second'
    AND d.state NOT IN ('stopped', 'sleeping')
    AND presence_of(d.state, d.heard_at, d.report_s, now()) = 'offline'
    AND NOT EXISTS (
        SELECT FROM incident_device m JOIN incident i USING (incident)
        WHERE m.device = e.device AND i.kind = 'away' AND i.status = 'open'
    );

-- :name when_faults
-- Named states of a device that is there which do not go by themselves.
SELECT 'device-fault' AS kind, 'device-fault:' || d.device || ':' || f.fault AS key, 'warning' AS severity, d.device,
    NULL::text AS episode, NULL::text AS incident, d.state_at AS since, jsonb_build_object('fault', f.fault) AS facts
FROM device d
CROSS JOIN LATERAL unnest(d.faults) AS f (fault)
WHERE f.fault = ANY (%(faults)s::text[]) AND presence_of(d.state, d.heard_at, d.report_s, now()) IN ('online', 'idle')
    AND NOT (f.fault LIKE 'camera~_%%' ESCAPE '~' AND EXISTS (
        SELECT FROM incident_device m JOIN incident i USING (incident)
        WHERE m.device = d.device AND i.kind = 'camera' AND i.status = 'open'
            AND f.fault = 'camera_' || i.type
    ));

-- :name when_dead_letters
SELECT 'dead-letters' AS kind, 'dead-letters' AS key, 'warning' AS severity, NULL::text AS device,
    NULL::text AS episode, NULL::text AS incident, min(received_at) AS since,
    jsonb_build_object('letters', sum(times), 'devices', count(DISTINCT device)) AS facts
FROM v_dead_letter
WHERE received_at > now() - interval '1 day'
HAVING count(*) > 0;

-- :name when_label_rejected
SELECT 'label-rejected' AS kind, 'label-rejected:' || l.device AS key, 'warning' AS severity, l.device,
    NULL::text AS episode, NULL::text AS incident, min(l.answered_at) AS since,
    jsonb_build_object('labels', count(*), 'reason', left(max(l.reason), 200)) AS facts
FROM label l
WHERE l.state = 'rejected' AND l.answered_at > now() - interval '7 days' AND NOT EXISTS (
    SELECT FROM label newer
    WHERE newer.device = l.device AND newer.sample = l.sample AND newer.revision > l.revision
)
GROUP BY l.device;

-- :name when_job_fails
SELECT 'job-fails' AS kind, 'job-fails:' || name AS key, 'warning' AS severity, NULL::text AS device,
    NULL::text AS episode, NULL::text AS incident, coalesce(done_at, began_at) AS since,
    jsonb_build_object('job', name, 'reason', left(said, 300)) AS facts
FROM job
WHERE done = false;

-- :name when_objects_wait
SELECT 'objects-wait' AS kind, 'objects-wait' AS key, 'warning' AS severity, NULL::text AS device,
    NULL::text AS episode, NULL::text AS incident, min(since) AS since,
    jsonb_build_object('objects', count(*), 'reason', left(max(reason), 200)) AS facts
FROM waiting_object
WHERE since < now() - %(waiting_s)s * interval '1 second'
HAVING count(*) > 0;

-- :name notifications_lasting
SELECT key FROM notification WHERE over_at IS NULL;

-- :name see_condition
-- A condition is there: it goes on, or it is back within the hour after it was over, or it is new and held down.
WITH known AS (
    SELECT id FROM notification
    WHERE key = %(key)s AND (over_at IS NULL OR over_at > now() - interval '1 hour')
    ORDER BY over_at DESC NULLS FIRST, id DESC
    LIMIT 1
), again AS (
    UPDATE notification n SET
        seen_at = now(), over_at = NULL, times = n.times + (n.over_at IS NOT NULL)::int,
        severity = CASE WHEN n.notified_at IS NULL THEN %(severity)s ELSE n.severity END,
        title = %(title)s, text = %(text)s, episode = %(episode)s
    FROM known WHERE n.id = known.id
    RETURNING n.id
)
INSERT INTO notification (kind, key, severity, device, episode, incident, title, text, action, link, since)
SELECT %(kind)s, %(key)s, %(severity)s, %(device)s, %(episode)s, %(incident)s, %(title)s, %(text)s, %(action)s, %(link)s,
    coalesce(%(since)s, now())
WHERE NOT EXISTS (SELECT FROM again);

-- :name end_conditions
-- What is not there any more is over; what was not told of yet never was.
WITH never AS (
    DELETE FROM notification WHERE over_at IS NULL AND notified_at IS NULL AND NOT key = ANY (%(keys)s::text[])
)
UPDATE notification SET over_at = now()
WHERE over_at IS NULL AND notified_at IS NOT NULL AND NOT key = ANY (%(keys)s::text[]);

-- :name held_down
-- Conditions that last and were not told of yet, the gravest first, with how long each has been seen.
SELECT id, kind, severity, extract(epoch FROM now() - made_at)::double precision AS held_s
FROM notification
WHERE over_at IS NULL AND notified_at IS NULL
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), id;

-- :name told_lately
-- How many of a kind were told in the last hour.
SELECT kind, count(*) FROM notification WHERE notified_at > now() - interval '1 hour' GROUP BY kind;

-- :name tell
UPDATE notification SET notified_at = now() WHERE id = ANY (%s::bigint[]);

-- :name deliver
INSERT INTO notification_delivery (notification, channel)
SELECT n.id, c.channel FROM unnest(%(ids)s::bigint[]) AS n (id) CROSS JOIN unnest(%(channels)s::text[]) AS c (channel)
ON CONFLICT DO NOTHING;

-- :name write_notification
-- One that is told at once, such as a test.
INSERT INTO notification (kind, key, severity, title, text, action, link, since, notified_at, over_at)
VALUES (%(kind)s, %(key)s, %(severity)s, %(title)s, %(text)s, %(action)s, %(link)s, now(), now(), now())
RETURNING id;

-- :name read_notification
SELECT id, uid, kind, severity, device, episode, incident, title, text, action, link, since, notified_at
FROM notification WHERE id = %s;

-- :name due_webhooks
SELECT notification, tries FROM notification_delivery
WHERE channel = 'webhook' AND state = 'waiting' AND next_try <= now()
ORDER BY notification
LIMIT %s;

-- :name due_mails
-- Critical ones at once, a mail each; the others together, one mail an interval, and none while one cannot be sent.
SELECT d.notification, d.mail, n.severity = 'critical' AS alone, d.tries
FROM notification_delivery d
JOIN notification n ON n.id = d.notification
WHERE d.channel = 'mail' AND d.state = 'waiting' AND d.next_try <= now() AND (
    d.mail IS NOT NULL OR n.severity = 'critical' OR NOT EXISTS (
        SELECT FROM notification_delivery s
        JOIN notification o ON o.id = s.notification
        WHERE s.channel = 'mail' AND o.severity <> 'critical' AND (
            s.sent_at > now() - %(digest_s)s * interval '1 second' OR (s.state = 'waiting' AND s.mail IS NOT NULL)
        )
    )
)
ORDER BY d.notification;

-- :name put_into_mail
UPDATE notification_delivery SET mail = %(mail)s
WHERE channel = 'mail' AND notification = ANY (%(ids)s::bigint[]) AND state = 'waiting';

-- :name delivered
UPDATE notification_delivery SET state = 'sent', sent_at = now(), tries = tries + 1, error = ''
WHERE channel = %(channel)s AND notification = ANY (%(ids)s::bigint[]);

-- :name not_delivered
UPDATE notification_delivery SET
    tries = tries + 1, error = %(error)s, state = CASE WHEN tries + 1 >= %(most)s THEN 'failed' ELSE 'waiting' END,
    next_try = now() + %(pause_s)s * interval '1 second'
WHERE channel = %(channel)s AND notification = ANY (%(ids)s::bigint[]);

-- :name recent_notifications
SELECT notified_at, severity, kind, active, title, deliveries FROM v_notification ORDER BY notified_at DESC, id DESC LIMIT %s;
