# Built by `make image`; `make image-demo` includes the embedded AWS for `image-worker demo` and `local`.
# A release pins the base image by its digest, here or by --build-arg (config/docker/base-image.sh).
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
# checkov:skip=CKV_DOCKER_7:the argument names a version, which checkov does not resolve
FROM ${PYTHON_IMAGE} AS build
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

FROM ${PYTHON_IMAGE}
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
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="image-worker" \
    org.opencontainers.image.description="Validates, resizes and watermarks images uploaded to S3" \
    org.opencontainers.image.licenses="0BSD AND Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSD-3-Clause AND BSD-3-Clause-Open-MPI AND Bitstream-Vera AND CC0-1.0 AND FTL AND IJG AND ISC AND LGPL-3.0-or-later AND MIT AND MIT-0 AND MIT-CMU AND MPL-2.0 AND PSF-2.0 AND Unicode-3.0 AND Unicode-DFS-2016 AND X11 AND Zlib AND libpng-2.0 AND libtiff" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
