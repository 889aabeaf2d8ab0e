-- Packages: files that a person carried here from devices without a link, and what came of each thing in them.
CREATE TABLE package (
    package text PRIMARY KEY,       -- sha256 of the file: the same file is the same package
    name text NOT NULL,             -- what the file was called when it was brought last
    kind text NOT NULL DEFAULT '',  -- how it is packed and what it is: export, gzip tar ...; empty before it was opened
    size bigint NOT NULL,           -- bytes of the file
    state text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'refused')),
    reason text NOT NULL DEFAULT '',
    worker integer NOT NULL,        -- who works on it, and holds the advisory lock (746736, worker) while it lives
    times bigint NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
CREATE INDEX package_received_at ON package (received_at DESC);

CREATE TABLE package_step (
    package text NOT NULL REFERENCES package ON DELETE CASCADE,
    step integer NOT NULL,
    name text NOT NULL,             -- of the entry; open and inspect are steps too
    kind text NOT NULL,             -- open | inspect | export | records | picture | bundle | archive | other
    state text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'skipped')),
    reason text NOT NULL DEFAULT '',
    device text NOT NULL DEFAULT '',
    size bigint NOT NULL DEFAULT 0, -- unpacked bytes
    bytes bigint NOT NULL DEFAULT 0, -- of these, how many are done
    records bigint NOT NULL DEFAULT 0,
    new_rows bigint NOT NULL DEFAULT 0,
    known_rows bigint NOT NULL DEFAULT 0,
    letters bigint NOT NULL DEFAULT 0,
    began_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (package, step)
);

-- One row a step of a package, with how far it is (0 to 1).
CREATE VIEW v_package_step AS
SELECT
    package, step, name, kind, state, reason, device,
    CASE
        WHEN state IN ('done', 'skipped', 'failed') THEN 1.0
        WHEN size > 0 THEN least(bytes::double precision / size, 1.0)
        ELSE 0.0
    END AS progress,
    size, records, new_rows, known_rows, letters, began_at, ended_at
FROM package_step;

-- One row a package. Whose worker is gone is interrupted: it can be brought again, and goes on from where it was.
CREATE VIEW v_package AS
SELECT
    p.package, p.name, p.kind, p.size,
    CASE
        WHEN p.state NOT IN ('waiting', 'running') OR EXISTS (
            SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.classid = 746736 AND l.objid = p.worker::oid AND l.objsubid = 2
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted
        ) THEN p.state
        ELSE 'interrupted'
    END AS state,
    p.reason, p.times, p.received_at, p.ended_at,
    s.steps, s.failed, s.records, s.new_rows, s.known_rows, s.letters,
    CASE
        WHEN p.state IN ('done', 'failed', 'refused') THEN 1.0
        WHEN s.steps > 2 AND s.size > 0 THEN least(s.bytes::double precision / s.size, 1.0)
        ELSE 0.0
    END AS progress
FROM package p
CROSS JOIN LATERAL (
    SELECT
        count(*) AS steps,
        count(*) FILTER (WHERE state = 'failed') AS failed,
        coalesce(sum(records), 0)::bigint AS records,
        coalesce(sum(new_rows), 0)::bigint AS new_rows,
        coalesce(sum(known_rows), 0)::bigint AS known_rows,
        coalesce(sum(letters), 0)::bigint AS letters,
        coalesce(sum(size), 0)::bigint AS size,
        coalesce(sum(CASE WHEN state IN ('done', 'skipped', 'failed') THEN size ELSE bytes END), 0)::bigint AS bytes
    FROM package_step s
    WHERE s.package = p.package
) s;
