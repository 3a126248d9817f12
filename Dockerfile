# `make image` builds it; `make image-demo` puts the embedded AWS in too, for `image-worker demo` and `local`.
FROM python:3.13-slim-trixie AS build
WORKDIR /build
COPY requirements/build.lock requirements/runtime.lock requirements/demo.lock requirements/
ARG LOCK=requirements/runtime.lock
# The environment has no pip of its own: the image's fills it from outside, and stays behind with the build tools.
# Wheels only: nothing is compiled, and no code of a package runs.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes -r "${LOCK}" \
    && pip install --no-cache-dir --root-user-action ignore --only-binary :all: \
        --require-hashes -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY config/cloudformation/storage.yaml config/cloudformation/storage.yaml
# Bytecode that is not compared with its source's time holds, whatever becomes of the times in layers.
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --no-deps /wheel/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /venv/lib

FROM python:3.13-slim-trixie
# The slim image has no bytecode of the standard library, and at run time nobody may write it: each command and each
# decoder child would compile anew what it imports.
RUN pip uninstall --yes --root-user-action ignore pip \
    && python -m compileall -q --invalidation-mode unchecked-hash \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 worker \
    && useradd --uid 10001 --gid worker --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin worker
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can see that it is not root. Any other works too: nothing but /tmp is written.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["image-worker", "health"]
ENTRYPOINT ["image-worker"]
CMD ["run"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="image-worker" \
    org.opencontainers.image.description="Validates, resizes and watermarks pictures uploaded to S3" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
