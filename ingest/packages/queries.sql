-- Statements of packages, used by name.

-- :name hold_worker
-- Held as long as the connection; whose lock is free is gone, and its packages are interrupted.
SELECT pg_try_advisory_lock(746736, %s);

-- :name bring
-- A package that was brought: new, or the same file again. Not while somebody works on it.
INSERT INTO package (package, name, size, state, worker)
VALUES (%(package)s, %(name)s, %(size)s, 'waiting', %(worker)s)
ON CONFLICT (package) DO UPDATE SET
    name = excluded.name, state = 'waiting', reason = '', worker = excluded.worker, ended_at = NULL,
    times = package.times + 1
WHERE (SELECT v.state FROM v_package v WHERE v.package = package.package) NOT IN ('waiting', 'running')
RETURNING true;

-- :name resume
-- Takes over a package whose worker is gone; one process succeeds.
UPDATE package SET worker = %(worker)s, state = 'waiting', ended_at = NULL
WHERE package = %(package)s
    AND (SELECT v.state FROM v_package v WHERE v.package = package.package) = 'interrupted'
RETURNING name;

-- :name begin_package
UPDATE package SET state = 'running', kind = '' WHERE package = %(package)s RETURNING name;

-- :name open_package
UPDATE package SET kind = %(kind)s WHERE package = %(package)s;

-- :name end_package
UPDATE package SET state = %(state)s, reason = %(reason)s, ended_at = now() WHERE package = %(package)s;

-- :name forget_steps
DELETE FROM package_step WHERE package = %(package)s;

-- :name add_step
INSERT INTO package_step (package, step, name, kind, state, reason, size)
VALUES (%(package)s, %(step)s, %(name)s, %(kind)s, %(state)s, %(reason)s, %(size)s);

-- :name note_step
UPDATE package_step SET
    state = %(state)s, reason = %(reason)s, device = %(device)s, size = %(size)s, bytes = %(bytes)s,
    records = %(records)s, new_rows = %(new)s, known_rows = %(known)s, letters = %(letters)s,
    began_at = coalesce(began_at, now()),
    ended_at = CASE WHEN %(state)s IN ('done', 'failed', 'skipped') THEN now() END
WHERE package = %(package)s AND step = %(step)s;

-- :name read_package
SELECT package, name, kind, size, state, reason, steps, failed, records, new_rows, known_rows, letters
FROM v_package WHERE package = %s;

-- :name read_steps
SELECT step, name, kind, state, reason, device, size, records, new_rows, known_rows, letters
FROM v_package_step WHERE package = %s ORDER BY step;

-- :name sample_picture
-- The picture of a sample, locked until the transaction ends.
SELECT picture_digest FROM sample WHERE device = %s AND sample = %s ORDER BY at DESC LIMIT 1 FOR UPDATE;

-- :name give_picture
UPDATE sample SET
    picture_digest = %(digest)s, picture_type = %(type)s, width = %(width)s, height = %(height)s
WHERE device = %(device)s AND sample = %(sample)s AND picture_digest IS NULL;
