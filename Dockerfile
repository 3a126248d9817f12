# Built by `make image`; `make image-demo` includes the embedded AWS for `image-worker demo` and `local`.
FROM python:3.13-slim-trixie AS build
WORKDIR /build
COPY requirements/build.lock requirements/runtime.lock requirements/demo.lock requirements/
ARG LOCK=requirements/runtime.lock
# The environment has no pip: the pip of this stage installs into it, and stays behind with the build tools.
# Wheels only, so that no code of a package runs during the build.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes -r "${LOCK}" \
    && pip install --no-cache-dir --root-user-action ignore --only-binary :all: \
        --require-hashes -r requirements/build.lock
COPY config/docker/remove-x265.sh config/docker/remove-x265.sh
RUN config/docker/remove-x265.sh "$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY config/cloudformation/storage.yaml config/cloudformation/storage.yaml
# Hash-based bytecode that is not checked stays valid when layers change the times of files.
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --no-deps /wheel/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /venv/lib

FROM python:3.13-slim-trixie
# The slim image has no bytecode of the standard library, and the file system is read-only at run time: without this,
# every command and every decoder process would compile its imports again.
RUN pip uninstall --yes --root-user-action ignore pip \
    && python -m compileall -q --invalidation-mode unchecked-hash \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 worker \
    && useradd --uid 10001 --gid worker --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin worker
COPY --from=build /venv /venv
# Probes and scrapes reach the HTTP port from outside of the container.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 WORKER_HTTP_HOST=0.0.0.0
# Numeric, so that Kubernetes can verify that it is not root. Any other works too: only /tmp is written.
USER 10001:10001
# The worker's health and metrics, and the web console.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["image-worker", "health"]
ENTRYPOINT ["image-worker"]
CMD ["run"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="image-worker" \
    org.opencontainers.image.description="Validates, resizes and watermarks images uploaded to S3" \
    org.opencontainers.image.licenses="MIT AND LGPL-3.0-or-later" \
    org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
