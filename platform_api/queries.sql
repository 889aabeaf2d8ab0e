-- Statements of the API, used by name. Lists are ordered by a unique key, newest first, and a page begins after the
-- key of the last row of the page before (all NULL: the first page).

-- :name ping
-- Fails where the tables are missing.
SELECT 1 FROM label LIMIT 1;

-- ---- devices -----------------------------------------------------------------------------------------------------

-- :name devices
SELECT * FROM v_device
WHERE (%(device)s::text IS NULL OR device > %(device)s)
ORDER BY device
LIMIT %(limit)s;

-- :name device
SELECT * FROM v_device WHERE device = %(device)s;

-- ---- drift -------------------------------------------------------------------------------------------------------

-- :name episodes
-- `since_at` is when the episode began, as far as is known.
SELECT * FROM (
    SELECT *, NOT ended AS open, coalesce(begin_at, last_at) AS since_at FROM v_drift_episode
    WHERE %(only_device)s::text IS NULL OR device = %(only_device)s
) e
WHERE (%(open)s::boolean IS NULL OR open = %(open)s)
    AND (%(since)s::timestamptz IS NULL OR last_at >= %(since)s)
    AND (%(since_at)s::timestamptz IS NULL
        OR (since_at, device, episode) < (%(since_at)s, %(device)s::text, %(episode)s::text))
ORDER BY since_at DESC, device DESC, episode DESC
LIMIT %(limit)s;

-- :name episode
SELECT *, NOT ended AS open FROM v_drift_episode WHERE device = %(device)s AND episode = %(episode)s;

-- ---- incidents and notifications ---------------------------------------------------------------------------------

-- :name incidents
SELECT * FROM v_incident
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(since)s::timestamptz IS NULL OR last_at >= %(since)s)
    AND (%(begin_at)s::timestamptz IS NULL OR (begin_at, incident) < (%(begin_at)s, %(incident)s::text))
ORDER BY begin_at DESC, incident DESC
LIMIT %(limit)s;

-- :name incident
SELECT * FROM v_incident WHERE incident = %(incident)s;

-- :name incident_members
SELECT * FROM v_incident_device WHERE incident = %(incident)s ORDER BY begin_at, device, episode LIMIT 1000;

-- :name notifications
SELECT * FROM v_notification
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(severity)s::text IS NULL OR severity = %(severity)s)
    AND (%(only_device)s::text IS NULL OR device = %(only_device)s)
    AND (%(active)s::boolean IS NULL OR active = %(active)s)
    AND (%(acked)s::boolean IS NULL OR (acked_at IS NOT NULL) = %(acked)s)
    AND (%(notified_at)s::timestamptz IS NULL OR (notified_at, id) < (%(notified_at)s, %(id)s::bigint))
ORDER BY notified_at DESC, id DESC
LIMIT %(limit)s;

-- :name notification
SELECT * FROM v_notification WHERE id = %(id)s;

-- :name ack_notification
UPDATE notification SET acked_at = now(), acked_by = %(by)s
WHERE id = %(id)s AND notified_at IS NOT NULL AND acked_at IS NULL;

-- ---- samples -----------------------------------------------------------------------------------------------------

-- :name samples
-- `pending`: nobody has said anything about it, or that was taken back.
SELECT * FROM v_sample
WHERE (%(only_device)s::text IS NULL OR device = %(only_device)s)
    AND (%(episode)s::text IS NULL OR episode = %(episode)s)
    AND (%(label)s::text IS NULL OR (label = %(label)s AND verdict = 'is'))
    AND (%(pending)s::boolean IS NULL OR (revision IS NULL OR verdict = 'retract') = %(pending)s)
    AND (%(asked)s::boolean IS NULL OR (asked_at IS NOT NULL) = %(asked)s)
    AND (%(at)s::timestamptz IS NULL
        OR (at, device, boot, seq) < (%(at)s, %(device)s::text, %(boot)s::text, %(seq)s::bigint))
ORDER BY at DESC, device DESC, boot DESC, seq DESC
LIMIT %(limit)s;

-- :name sample
SELECT * FROM v_sample WHERE device = %(device)s AND sample = %(sample)s ORDER BY at DESC LIMIT 1;

-- ---- adaptations -------------------------------------------------------------------------------------------------

-- :name waiting_object
-- What the object store has not got yet.
SELECT data FROM waiting_object WHERE key = %(key)s;

-- :name blobs
SELECT * FROM v_blob
WHERE device = %(device)s
    AND (%(offered_at)s::timestamptz IS NULL OR (offered_at, sha256) < (%(offered_at)s, %(sha256)s::text))
ORDER BY offered_at DESC, sha256 DESC
LIMIT %(limit)s;

-- :name blob
SELECT * FROM v_blob WHERE device = %(device)s AND sha256 = %(sha256)s;

-- :name adaptations
SELECT * FROM v_adaptation
WHERE (%(only_device)s::text IS NULL OR device = %(only_device)s)
    AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
    AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
    AND (%(at)s::timestamptz IS NULL
        OR (at, device, adaptation) < (%(at)s, %(device)s::text, %(adaptation)s::text))
ORDER BY at DESC, device DESC, adaptation DESC
LIMIT %(limit)s;

-- ---- packages ----------------------------------------------------------------------------------------------------

-- :name packages
SELECT * FROM v_package
WHERE (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(received_at)s::timestamptz IS NULL OR (received_at, package) < (%(received_at)s, %(package)s::text))
ORDER BY received_at DESC, package DESC
LIMIT %(limit)s;

-- :name find_package
SELECT * FROM v_package WHERE package = %(package)s;

-- :name package_steps
SELECT * FROM v_package_step
WHERE package = %(package)s AND (%(step)s::bigint IS NULL OR step > %(step)s)
ORDER BY step
LIMIT %(limit)s;

-- ---- labels ------------------------------------------------------------------------------------------------------

-- :name labels
SELECT * FROM v_label
WHERE (%(only_device)s::text IS NULL OR device = %(only_device)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(made_at)s::timestamptz IS NULL
        OR (made_at, device, sample, revision)
            < (%(made_at)s, %(device)s::text, %(sample)s::text, %(revision)s::bigint))
ORDER BY made_at DESC, device DESC, sample DESC, revision DESC
LIMIT %(limit)s;

-- :name label_history
SELECT * FROM v_label WHERE device = %(device)s AND sample = %(sample)s ORDER BY revision DESC;

-- :name label_revision
SELECT * FROM v_label WHERE device = %(device)s AND sample = %(sample)s AND revision = %(revision)s;

-- :name lock_words
-- Requests that concern the same sample, or carry the same key, are handled one after the other.
SELECT pg_advisory_xact_lock(hashtextextended(word, 7467368)) FROM (SELECT unnest(%(words)s::text[]) AS word ORDER BY 1) w;

-- :name label_of_key
SELECT * FROM label WHERE idempotency_key = %(key)s;

-- :name sample_to_label
-- What a label copies from its sample, and the newest thing said about it.
SELECT s.features, s.bundle, s.predicted, l.revision, l.verdict
FROM sample s
LEFT JOIN LATERAL (
    SELECT revision, verdict FROM label
    WHERE label.device = s.device AND label.sample = s.sample
    ORDER BY revision DESC
    LIMIT 1
) l ON true
WHERE s.device = %(device)s AND s.sample = %(sample)s
ORDER BY s.at DESC
LIMIT 1;

-- :name supersede
UPDATE label SET state = 'superseded'
WHERE device = %(device)s AND sample = %(sample)s AND state IN ('queued', 'published');

-- :name insert_label
-- Dated after the lock was had, so that revisions are in the order of their times.
INSERT INTO label (device, sample, revision, verdict, label, by, features, bundle, idempotency_key, made_at)
VALUES (
    %(device)s, %(sample)s, %(revision)s, %(verdict)s, %(label)s, %(by)s, %(features)s, %(bundle)s, %(key)s,
    clock_timestamp()
);

-- :name notify_label
-- Sent with the commit: whichever process publishes wakes up.
SELECT pg_notify('tinyml_label', '');

-- ---- the publisher -----------------------------------------------------------------------------------------------

-- :name lead_with_care
-- A leader whose machine vanished must not hold the lock for the hours that TCP would wait for it.
SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false);

-- :name listen_labels
LISTEN tinyml_label;

-- :name listen_answers
LISTEN tinyml_labelack;

-- :name try_lead
-- One process publishes at a time; the number is arbitrary and ours. Held until the connection closes.
SELECT pg_try_advisory_lock(7467368266) AS leading;

-- :name due
-- Queued labels that may be published now, the oldest first: at most %(outstanding)s topics of a device are full at a
-- time, but a topic that is full anyway may be overwritten.
WITH full_topic AS (
    SELECT DISTINCT device, sample FROM label
    WHERE cleared_at IS NULL AND (published_at IS NOT NULL OR answered_at IS NOT NULL)
), waiting AS (
    SELECT l.*, f.sample IS NOT NULL AS is_full,
        count(*) FILTER (WHERE f.sample IS NULL) OVER (PARTITION BY l.device ORDER BY l.made_at, l.sample) AS place
    FROM label l
    LEFT JOIN full_topic f USING (device, sample)
    WHERE l.state = 'queued'
)
SELECT device, sample, revision, verdict, label, by, bundle, features FROM waiting
WHERE is_full
    OR place + (SELECT count(*) FROM full_topic f WHERE f.device = waiting.device) <= %(outstanding)s
ORDER BY made_at
LIMIT %(limit)s;

-- :name to_clear
-- Answered labels whose topic may still hold them, where nothing newer is on its way.
SELECT l.device, l.sample, l.revision FROM label l
WHERE l.cleared_at IS NULL AND l.answered_at IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM label newer
        WHERE newer.device = l.device AND newer.sample = l.sample AND newer.revision > l.revision
    )
LIMIT %(limit)s;

-- :name wanted
-- For each of the given topics what it has to hold: the newest label while it is unanswered, else nothing.
SELECT k.device, k.sample, coalesce(l.revision, 0) AS revision, l.verdict, l.label, l.by, l.bundle, l.features,
    coalesce(l.state IN ('queued', 'published'), false) AS wanted, coalesce(l.state = 'queued', false) AS queued
FROM unnest(%(devices)s::text[], %(samples)s::text[]) AS k (device, sample)
LEFT JOIN LATERAL (
    SELECT * FROM label
    WHERE label.device = k.device AND label.sample = k.sample
    ORDER BY revision DESC
    LIMIT 1
) l ON true;

-- :name published
-- The topics that have to be there.
SELECT device, sample FROM label WHERE state = 'published';

-- :name mark_published
-- The older revisions of the same sample are overwritten with that.
WITH sent AS (
    SELECT * FROM unnest(%(devices)s::text[], %(samples)s::text[], %(revisions)s::bigint[])
        AS s (device, sample, revision)
), overwritten AS (
    UPDATE label l SET cleared_at = now()
    FROM sent s
    WHERE l.device = s.device AND l.sample = s.sample AND l.revision < s.revision AND l.cleared_at IS NULL
)
UPDATE label l SET
    state = CASE WHEN l.state = 'queued' THEN 'published' ELSE l.state END,
    published_at = coalesce(l.published_at, now())
FROM sent s
WHERE l.device = s.device AND l.sample = s.sample AND l.revision = s.revision;

-- :name mark_cleared
-- Nothing up to these revisions is on the broker any more.
UPDATE label l SET cleared_at = now()
FROM unnest(%(devices)s::text[], %(samples)s::text[], %(revisions)s::bigint[]) AS s (device, sample, revision)
WHERE l.device = s.device AND l.sample = s.sample AND l.revision <= s.revision
    AND l.cleared_at IS NULL AND l.state NOT IN ('queued', 'published');

-- :name refuse_label
-- A label that cannot be sent at all; the reason is shown where people look for it.
UPDATE label SET state = 'rejected', reason = %(reason)s, answered_at = now(), cleared_at = now()
WHERE device = %(device)s AND sample = %(sample)s AND revision = %(revision)s AND state IN ('queued', 'published');
