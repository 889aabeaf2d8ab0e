-- Statements about blobs, used by name. Times are this server's.

-- ---- in the transaction of a batch ------------------------------------------------------------------------------

-- :name forget_other_size
-- What was collected under another size fits nowhere.
DELETE FROM blob_chunk c USING blob b
WHERE b.device = %(device)s AND b.sha256 = %(sha256)s AND b.size <> %(size)s AND b.state = 'wanted'
    AND c.device = b.device AND c.sha256 = b.sha256;

-- :name offer
-- What the server has it goes on having, and says so once more; what was given up for some reason gets another chance.
INSERT INTO blob (device, sha256, size, what, name)
VALUES (%(device)s, %(sha256)s, %(size)s, %(what)s, %(name)s)
ON CONFLICT (device, sha256) DO UPDATE SET
    what = excluded.what, name = excluded.name, offered_at = now(), told_at = NULL,
    size = CASE WHEN blob.state = 'stored' THEN blob.size ELSE excluded.size END,
    state = CASE WHEN blob.state = 'stored' THEN 'stored' ELSE 'wanted' END,
    reason = CASE WHEN blob.state IN ('stored', 'wanted') THEN blob.reason ELSE '' END,
    failures = CASE WHEN blob.state IN ('stored', 'wanted') THEN blob.failures ELSE 0 END,
    unfit = CASE WHEN blob.state IN ('stored', 'wanted') THEN blob.unfit ELSE 0 END,
    asked_at = CASE WHEN blob.state = 'wanted' THEN blob.asked_at END,
    pause_s = 0;

-- :name take_chunk
-- Only chunks of what this device has offered, where they fit; the same one again changes nothing.
INSERT INTO blob_chunk (device, sha256, index, data)
SELECT b.device, b.sha256, %(index)s::bigint, %(data)b FROM blob b
WHERE b.device = %(device)s AND b.sha256 = %(sha256)s AND b.state = 'wanted'
    AND length(%(data)b) = least(65536, b.size - %(index)s::bigint * 65536)
ON CONFLICT DO NOTHING;

-- :name note_unfit
UPDATE blob b SET unfit = unfit + 1
WHERE b.device = %(device)s AND b.sha256 = %(sha256)s AND b.state = 'wanted'
    AND %(length)s::bigint <> least(65536, b.size - %(index)s::bigint * 65536);

-- ---- the job ------------------------------------------------------------------------------------------------------

-- :name expire
UPDATE blob b SET state = 'expired', reason = 'the device did not send all of it in time'
WHERE b.state = 'wanted' AND b.offered_at < now() - %(days)s * interval '1 day'
    AND NOT EXISTS (
        SELECT FROM blob_chunk c
        WHERE c.device = b.device AND c.sha256 = b.sha256 AND c.received_at > now() - %(days)s * interval '1 day'
    );

-- :name refuse_unfit
UPDATE blob SET state = 'refused', reason = unfit || ' chunks do not fit into what was offered'
WHERE state = 'wanted' AND unfit > %(most)s;

-- :name refuse_large
UPDATE blob SET state = 'refused', reason = 'it has ' || size || ' bytes; ' || %(most)s::bigint || ' are taken'
WHERE state = 'wanted' AND size > %(most)s::bigint;

-- :name refuse_too_many
-- The oldest offers come first; those beyond what a device may have here at a time are refused.
UPDATE blob b SET state = 'refused', reason = 'the device has offered more than ' || %(most)s::bigint || ' bytes at a time'
FROM (
    SELECT device, sha256, sum(size) OVER (PARTITION BY device ORDER BY offered_at, sha256) AS together
    FROM blob WHERE state = 'wanted'
) s
WHERE s.device = b.device AND s.sha256 = b.sha256 AND b.state = 'wanted' AND s.together > %(most)s::bigint;

-- :name drop_chunks
-- Of everything that is not wanted any more.
DELETE FROM blob_chunk c USING blob b
WHERE b.device = c.device AND b.sha256 = c.sha256 AND b.state <> 'wanted';

-- :name complete
SELECT b.device, b.sha256, b.size FROM blob b
WHERE b.state = 'wanted'
    AND (SELECT count(*) FROM blob_chunk c WHERE c.device = b.device AND c.sha256 = b.sha256) = (b.size + 65535) / 65536
ORDER BY b.offered_at
LIMIT %(limit)s;

-- :name chunks
SELECT data FROM blob_chunk WHERE device = %(device)s AND sha256 = %(sha256)s ORDER BY index;

-- :name store
UPDATE blob SET state = 'stored', reason = '', stored_at = now(), told_at = NULL
WHERE device = %(device)s AND sha256 = %(sha256)s AND size = %(size)s AND state = 'wanted';

-- :name held
-- Whether anybody's blob of this digest is an object that has to stay.
SELECT EXISTS (SELECT FROM blob WHERE sha256 = %(sha256)s AND state = 'stored' AND device <> %(device)s);

-- :name spoilt
-- All chunks were there, and they are not what was offered: they are asked for anew, a few times.
WITH gone AS (DELETE FROM blob_chunk WHERE device = %(device)s AND sha256 = %(sha256)s)
UPDATE blob SET
    failures = failures + 1, reason = %(reason)s, asked_at = NULL, pause_s = 0,
    state = CASE WHEN failures + 1 >= %(most)s THEN 'refused' ELSE 'wanted' END
WHERE device = %(device)s AND sha256 = %(sha256)s;

-- :name to_ask
-- Whom silence has lasted long enough. `busy`: something of it came, or was asked for, within a minute.
SELECT b.device, b.sha256, b.size, c.got,
    coalesce(greatest(b.asked_at, c.last_at) > now() - interval '1 minute', false) AS busy,
    b.asked_at IS NULL OR greatest(b.asked_at, c.last_at) < now() - b.pause_s * interval '1 second' AS due
FROM blob b
CROSS JOIN LATERAL (
    SELECT count(*) AS got, max(received_at) AS last_at FROM blob_chunk k
    WHERE k.device = b.device AND k.sha256 = b.sha256
) c
WHERE b.state = 'wanted' AND c.got < (b.size + 65535) / 65536
    AND NOT EXISTS (
        SELECT FROM device d WHERE d.device = b.device AND d.state IN ('offline', 'stopped', 'sleeping')
    )
ORDER BY b.asked_at NULLS FIRST, b.offered_at;

-- :name indices
SELECT index FROM blob_chunk WHERE device = %(device)s AND sha256 = %(sha256)s ORDER BY index;

-- :name asked
-- The pause grows as long as nothing comes.
UPDATE blob SET
    pause_s = CASE WHEN asked_at IS NULL OR %(got)s > asked_got THEN %(first_s)s
        ELSE least(greatest(2 * pause_s, %(first_s)s), %(longest_s)s) END,
    asked_at = now(), asked_got = %(got)s
WHERE device = %(device)s AND sha256 = %(sha256)s;

-- :name to_tell
SELECT device, sha256, reason FROM blob
WHERE state IN ('stored', 'refused') AND told_at IS NULL
ORDER BY offered_at
LIMIT %(limit)s;

-- :name told
UPDATE blob SET told_at = now() WHERE device = %(device)s AND sha256 = %(sha256)s AND state IN ('stored', 'refused');

-- :name give_way
-- The oldest of a device that has more than it may; the newest always stays.
SELECT device, sha256 FROM (
    SELECT device, sha256, stored_at,
        sum(size) OVER newest_first AS together, row_number() OVER newest_first AS place
    FROM blob WHERE state = 'stored'
    WINDOW newest_first AS (PARTITION BY device ORDER BY stored_at DESC, sha256)
) s
WHERE together > %(most)s AND place > 1
ORDER BY stored_at
LIMIT %(limit)s;

-- :name drop
UPDATE blob SET state = 'dropped', reason = 'it gave way to newer ones of the device'
WHERE device = %(device)s AND sha256 = %(sha256)s;

-- :name prune
DELETE FROM blob WHERE state IN ('refused', 'expired', 'dropped') AND offered_at < now() - interval '90 days';
