-- What is known of devices and of the fleet beyond their records: presence and its history, episodes with a status,
-- incidents, notifications.

-- ---- presence -------------------------------------------------------------------------------------------------------

-- Whether a device is there, from its last status, when it was last heard, and its own report interval:
--   online   it was heard within 3 of its intervals, and said neither that it stops nor that it goes to sleep
--   idle     it said that it sleeps, for at most a day; or it is connected but was not heard for 3 of its intervals
--   offline  its will came, it stopped, or it was not heard for 30 of its intervals and a quarter of an hour
--   unknown  it never said anything of its presence
-- An interval counts as 1 s at least and a day at most; 5 s are how exactly heard_at is noted.
CREATE FUNCTION presence_of(state text, heard_at timestamptz, report_s double precision, moment timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN state IN ('offline', 'stopped') THEN 'offline'
        WHEN state = 'sleeping' THEN CASE WHEN silent_s <= 86400 THEN 'idle' ELSE 'offline' END
        WHEN silent_s <= 3 * interval_s + 5 THEN 'online'
        WHEN state = 'unknown' THEN 'unknown'
        WHEN silent_s <= greatest(30 * interval_s, 900) THEN 'idle'
        ELSE 'offline'
    END
    FROM (SELECT extract(epoch FROM moment - heard_at) AS silent_s, least(greatest(report_s, 1), 86400) AS interval_s) s
$$;

-- A row when the presence of a device changes, by this server's clock.
CREATE TABLE presence_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    at timestamptz NOT NULL,        -- when it changed; silence counts from when it was long enough
    presence text NOT NULL CHECK (presence IN ('online', 'idle', 'offline', 'unknown')),
    reason text NOT NULL,
    source text NOT NULL CHECK (source IN ('status', 'will', 'silence', 'records')),
    boot text NOT NULL DEFAULT '',  -- of its last status
    heard_at timestamptz NOT NULL,  -- when the device was last heard
    noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX presence_event_device ON presence_event (device, at, id);
CREATE INDEX presence_event_noted_at ON presence_event (noted_at);

-- The most devices that were online at once in an hour: of each bundle, and of all ('*').
CREATE TABLE fleet_hour (
    hour timestamptz NOT NULL,
    bundle text NOT NULL,
    online bigint NOT NULL,
    PRIMARY KEY (hour, bundle)
);

-- ---- episodes: what was wrong with a device, from when to when ----------------------------------------------------------

-- Up to when records were looked at, by when they were received; a job each.
CREATE TABLE knowledge_mark (
    name text PRIMARY KEY,
    at timestamptz NOT NULL
);
CREATE INDEX drift_event_received_at ON drift_event USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX camera_event_received_at ON camera_event USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX camera_event_episode ON camera_event (device, episode);
CREATE INDEX sample_received_at ON sample USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX adaptation_received_at ON adaptation USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX adaptation_episode ON adaptation (device, episode);
CREATE INDEX label_ack_received_at ON label_ack USING brin (received_at) WITH (autosummarize = on);

-- The job `episodes` writes it from the records, which stay the truth, and gives each a status. What a person said of
-- one (`by` is not 'system') the job leaves alone.
CREATE TABLE episode_state (
    device text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('drift', 'camera', 'away')),
    episode text NOT NULL,          -- the device's id of it; of an absence p and the id of the presence_event before
    type text NOT NULL,             -- drift: what the detector watches; camera: the fault; away: away
    detector text NOT NULL DEFAULT '', -- away: will | silence
    bundle text NOT NULL DEFAULT '', -- '*' where it does not matter
    clock text NOT NULL DEFAULT 'synced',  -- unsynced: begin_at cannot be trusted yet
    begin_at timestamptz,           -- NULL while only later events have arrived
    end_at timestamptz,
    ended_heard_at timestamptz,     -- when its end was received here
    last_heard_at timestamptz NOT NULL,    -- when its last event was received here
    severity double precision NOT NULL DEFAULT 0,
    samples bigint NOT NULL DEFAULT 0,
    labels bigint NOT NULL DEFAULT 0,      -- of these samples, applied by the device
    applied bigint NOT NULL DEFAULT 0,     -- adaptations of the device, by outcome
    rolled_back bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    end_reason text NOT NULL DEFAULT '',   -- the device's own
    installation text NOT NULL DEFAULT '', -- of the device that began it
    clustered boolean NOT NULL DEFAULT false, -- whether incidents know of it as it is
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'in-review', 'resolved', 'dismissed')),
    reason text NOT NULL DEFAULT '', -- of the status: quiet | followed | other-bundle | set-up-anew | lost, or a person's
    at timestamptz NOT NULL DEFAULT now(), -- when the status became this
    by text NOT NULL DEFAULT 'system',
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, kind, episode)
);
CREATE INDEX episode_state_begin ON episode_state (kind, type, bundle, begin_at);
CREATE INDEX episode_state_day ON episode_state (((begin_at AT TIME ZONE 'UTC')::date), device) WHERE kind = 'drift';
CREATE INDEX episode_state_open ON episode_state (kind, device) WHERE status IN ('open', 'in-review');
CREATE INDEX episode_state_latest ON episode_state (kind, begin_at DESC);
CREATE INDEX episode_state_new ON episode_state (begin_at) WHERE NOT clustered;
CREATE INDEX episode_state_unsynced ON episode_state (last_heard_at) WHERE clock = 'unsynced';
CREATE INDEX episode_state_changed_at ON episode_state (changed_at);

-- ---- incidents: the same on many devices --------------------------------------------------------------------------------

CREATE TABLE incident (
    incident text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('drift', 'camera', 'away')),
    type text NOT NULL,             -- as in episode_state
    bundle text NOT NULL,           -- as in episode_state
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed', 'merged', 'dissolved')),
    begin_at timestamptz NOT NULL,  -- of the first and
    last_at timestamptz NOT NULL,   -- of the last episode
    devices bigint NOT NULL,
    online bigint NOT NULL,         -- devices that could have been concerned
    restarted bigint NOT NULL,      -- of `devices`, that had come online in the quarter of an hour before
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    merged_into text
);
CREATE INDEX incident_begin ON incident (begin_at DESC, incident DESC);
CREATE INDEX incident_known ON incident (kind, type, bundle, begin_at) WHERE status IN ('open', 'closed');

CREATE TABLE incident_device (
    incident text NOT NULL REFERENCES incident ON DELETE CASCADE,
    device text NOT NULL,
    kind text NOT NULL,
    episode text NOT NULL,
    PRIMARY KEY (device, kind, episode)
);
CREATE INDEX incident_device_incident ON incident_device (incident);

-- ---- notifications --------------------------------------------------------------------------------------------------------

-- What a person should know. The condition behind one has a `key`; while it lasts (over_at is NULL) there is one row of
-- it. A row that is held down (notified_at is NULL) is not a notification yet, and goes if the condition does.
CREATE TABLE notification (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid uuid NOT NULL DEFAULT gen_random_uuid(),  -- the same in every delivery of it
    kind text NOT NULL,
    key text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    device text,
    episode text,
    incident text,
    title text NOT NULL,
    text text NOT NULL,             -- what happened
    action text NOT NULL,           -- what to do
    link text NOT NULL,             -- where to look: a path of the API
    since timestamptz NOT NULL,     -- when the condition began
    made_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    notified_at timestamptz,
    over_at timestamptz,
    times bigint NOT NULL DEFAULT 1,  -- how often the condition came back within the hour, this time included
    acked_at timestamptz,
    acked_by text
);
CREATE UNIQUE INDEX notification_key ON notification (key) WHERE over_at IS NULL;
CREATE INDEX notification_key_over ON notification (key, over_at);
CREATE INDEX notification_notified ON notification (notified_at DESC, id DESC) WHERE notified_at IS NOT NULL;

CREATE TABLE notification_delivery (
    notification bigint NOT NULL REFERENCES notification ON DELETE CASCADE,
    channel text NOT NULL,          -- webhook | mail
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    tries bigint NOT NULL DEFAULT 0,
    next_try timestamptz NOT NULL DEFAULT now(),
    error text NOT NULL DEFAULT '', -- of the last try
    mail uuid,                      -- the mail it is in, so that a mail that is sent again is the same mail
    sent_at timestamptz,
    PRIMARY KEY (notification, channel)
);
CREATE INDEX notification_delivery_waiting ON notification_delivery (channel, next_try) WHERE state = 'waiting';
CREATE INDEX notification_delivery_mail ON notification_delivery (mail);

-- ---- views ----------------------------------------------------------------------------------------------------------------

DROP VIEW v_device;
DROP VIEW v_drift_episode;

-- One row a drift episode; begin and end may arrive in any order, so either can be NULL for a while.
-- `status` is what the job `episodes`, or a person, made of it.
CREATE VIEW v_drift_episode AS
SELECT
    d.device,
    d.episode,
    d.begin_at, d.end_at, d.last_at, d.ended, d.detector, d.drift_type, d.peak_statistic, d.threshold,
    d.peak_severity, d.frames, d.reason, d.events,
    (SELECT count(*) FROM sample s WHERE s.device = d.device AND s.episode = d.episode) AS samples,
    coalesce(e.status, 'open') AS status,
    coalesce(e.reason, '') AS status_reason,
    coalesce(e.by, 'system') AS status_by,
    e.at AS status_at
FROM (
    SELECT
        device,
        episode,
        min(at) FILTER (WHERE phase = 'begin') AS begin_at,
        max(at) FILTER (WHERE phase = 'end') AS end_at,
        max(at) AS last_at,
        bool_or(phase = 'end') AS ended,
        max(detector) AS detector,
        max(drift_type) FILTER (WHERE phase = 'begin') AS drift_type,
        max(statistic) AS peak_statistic,
        max(threshold) AS threshold,
        max(severity) AS peak_severity,
        max(frames) FILTER (WHERE phase <> 'begin') AS frames,
        max(reason) FILTER (WHERE phase = 'end') AS reason,
        count(*) AS events
    FROM drift_event
    GROUP BY device, episode
) d
LEFT JOIN episode_state e ON e.device = d.device AND e.kind = 'drift' AND e.episode = d.episode;

-- One row a device: presence, birth, and what is going on.
CREATE VIEW v_device AS
SELECT
    d.*,
    now() - d.heard_at > 3 * d.report_s * interval '1 second' AS silent,
    presence_of(d.state, d.heard_at, d.report_s, now()) AS presence,
    e.episode,
    e.begin_at AS drift_since,
    e.episode IS NOT NULL AS in_drift,
    (SELECT count(*) FROM v_sample_pending p WHERE p.device = d.device) AS samples_pending,
    (SELECT count(*) FROM label l WHERE l.device = d.device AND l.state IN ('queued', 'published')) AS labels_outstanding
FROM device d
LEFT JOIN LATERAL (
    SELECT v.episode, v.begin_at FROM v_drift_episode v
    WHERE v.device = d.device AND NOT v.ended
    ORDER BY v.last_at DESC
    LIMIT 1
) e ON true;

-- One row a change of a device's presence, and how long that lasted (till now where it still does).
CREATE VIEW v_presence_event AS
SELECT
    device, at, presence, reason, source,
    lead(at) OVER next AS until,
    extract(epoch FROM coalesce(lead(at) OVER next, greatest(now(), at)) - at) AS seconds
FROM presence_event
WINDOW next AS (PARTITION BY device ORDER BY at, id);

-- The share of the time for which a device's presence was known that it was online; a row a device and day (UTC).
CREATE VIEW v_availability AS
SELECT
    device,
    (day AT TIME ZONE 'UTC')::date AS day,
    coalesce(sum(seconds) FILTER (WHERE presence = 'online'), 0) AS online_s,
    coalesce(sum(seconds) FILTER (WHERE presence = 'idle'), 0) AS idle_s,
    coalesce(sum(seconds) FILTER (WHERE presence = 'offline'), 0) AS offline_s,
    coalesce(sum(seconds) FILTER (WHERE presence = 'online'), 0) / nullif(sum(seconds), 0) AS online_share
FROM (
    SELECT
        p.device, p.presence, d.day,
        extract(epoch FROM least(p.until, d.day + interval '24 hours') - greatest(p.at, d.day)) AS seconds
    FROM (
        SELECT device, presence, at, coalesce(until, greatest(now(), at)) AS until
        FROM v_presence_event
    ) p
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', p.at, 'UTC'), p.until, interval '24 hours'
    ) AS d (day)
    WHERE p.presence <> 'unknown' AND d.day < p.until
) part
GROUP BY device, day;

-- One row a drift, camera fault or absence, with its status.
CREATE VIEW v_episode AS
SELECT
    e.device, e.kind, e.episode, e.type, e.detector, e.bundle, e.clock, e.begin_at, e.end_at,
    extract(epoch FROM e.end_at - e.begin_at) AS seconds,
    e.severity, e.samples, e.labels, e.applied, e.rolled_back, e.rejected, e.end_reason,
    e.status, e.reason, e.at, e.by, m.incident
FROM episode_state e
LEFT JOIN incident_device m ON m.device = e.device AND m.kind = e.kind AND m.episode = e.episode;

-- Drift by device, type, detector and day (UTC, of its begin): how often, for how long, and how it was resolved.
CREATE VIEW v_drift_statistics AS
SELECT
    (begin_at AT TIME ZONE 'UTC')::date AS day,
    device, type, detector,
    count(*) AS episodes,
    count(*) FILTER (WHERE status IN ('open', 'in-review')) AS open,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM end_at - begin_at)) AS median_s,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM end_at - begin_at)) AS p90_s,
    max(severity) AS severity,
    sum(samples)::bigint AS samples,
    sum(labels)::bigint AS labels,
    sum(applied)::bigint AS applied,
    sum(rolled_back)::bigint AS rolled_back,
    sum(rejected)::bigint AS rejected,
    count(*) FILTER (WHERE status = 'resolved' AND reason = 'quiet') AS quiet,
    count(*) FILTER (WHERE status = 'resolved' AND reason = 'followed') AS followed,
    count(*) FILTER (WHERE status = 'resolved' AND reason = 'other-bundle') AS other_bundle,
    count(*) FILTER (WHERE status = 'resolved' AND reason NOT IN ('quiet', 'followed', 'other-bundle'))
        + count(*) FILTER (WHERE status = 'dismissed') AS otherwise
FROM episode_state
WHERE kind = 'drift' AND begin_at IS NOT NULL
GROUP BY (begin_at AT TIME ZONE 'UTC')::date, device, type, detector;

-- How often devices began to drift in the last four weeks, a week.
CREATE VIEW v_drift_rate AS
SELECT
    d.device, d.bundle,
    count(e.episode) AS episodes,
    count(e.episode) / greatest(least(extract(epoch FROM now() - d.first_heard_at) / 604800, 4), 1) AS per_week,
    max(e.begin_at) AS last_at
FROM device d
LEFT JOIN episode_state e ON e.device = d.device AND e.kind = 'drift' AND e.begin_at > now() - interval '28 days'
GROUP BY d.device, d.bundle, d.first_heard_at;

-- One row an incident, and how many of its devices it still concerns.
CREATE VIEW v_incident AS
SELECT
    i.incident, i.kind, i.type, i.bundle, i.severity, i.status, i.begin_at, i.last_at, i.devices, i.online,
    i.restarted, i.opened_at, i.closed_at, i.merged_into,
    (
        SELECT count(DISTINCT m.device) FROM incident_device m JOIN episode_state e USING (device, kind, episode)
        WHERE m.incident = i.incident AND e.status IN ('open', 'in-review')
    ) AS unresolved
FROM incident i;

-- One row an episode of an incident.
CREATE VIEW v_incident_device AS
SELECT
    m.incident, m.device, m.kind, m.episode, e.type, e.detector, e.begin_at, e.end_at, e.severity, e.status, e.reason
FROM incident_device m
JOIN episode_state e USING (device, kind, episode);

-- What people were told, with how far each channel is; what is held down is not in it.
CREATE VIEW v_notification AS
SELECT
    n.id, n.uid, n.kind, n.severity, n.device, n.episode, n.incident, n.title, n.text, n.action, n.link,
    n.since, n.notified_at, n.over_at, n.over_at IS NULL AS active, n.times, n.acked_at, n.acked_by,
    (
        SELECT coalesce(jsonb_object_agg(d.channel, d.state), '{}') FROM notification_delivery d
        WHERE d.notification = n.id
    ) AS deliveries
FROM notification n
WHERE n.notified_at IS NOT NULL;
