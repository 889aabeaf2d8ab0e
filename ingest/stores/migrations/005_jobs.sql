-- What is done now and then: when each job ran last, and what came of it.
CREATE TABLE job (
    name text PRIMARY KEY,
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    done boolean,                   -- whether the last run that ended did its work
    said text NOT NULL DEFAULT '',  -- what it did, or why it failed
    seconds double precision,
    done_at timestamptz             -- when it did its work last
);
