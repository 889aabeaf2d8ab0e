-- What the model registry is told of deployments: which bundle a boot ran, and the run each deployment has in MLflow.

-- From births, reports and samples; where a boot said nothing of it, it is taken for that of its neighbours.
CREATE TABLE device_bundle (
    device text NOT NULL,
    boot text NOT NULL,
    digest text NOT NULL,           -- of the bundle; empty where nothing tells
    inferred boolean NOT NULL DEFAULT false,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, boot)
);
CREATE INDEX device_bundle_noted_at ON device_bundle (noted_at);

-- A device with a bundle, from the first to the last record of it that MLflow was told of; one run of MLflow's.
CREATE TABLE deployment (
    device text NOT NULL,
    digest text NOT NULL,
    run_id text NOT NULL,
    model text NOT NULL DEFAULT '', -- in the registry; empty where the bundle was not registered
    version bigint,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    running boolean NOT NULL DEFAULT true,  -- as MLflow was told
    counts jsonb NOT NULL DEFAULT '{}',     -- name of a metric that counts -> how far it has come
    PRIMARY KEY (device, digest)
);

-- Up to when MLflow was told of what was received, a row a kind of record.
CREATE TABLE registry_mark (
    source text PRIMARY KEY,
    received_at timestamptz NOT NULL
);

-- One row a device and bundle; `current`: it is what the device said last that it runs.
CREATE VIEW v_deployment AS
SELECT
    p.device, p.digest, p.model, p.version, p.run_id, p.since, p.until, p.counts,
    coalesce(d.bundle = p.digest, false) AS current
FROM deployment p
LEFT JOIN device d ON d.device = p.device;
