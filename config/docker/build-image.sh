#!/bin/sh
# Build the container image with docker, podman or buildah, whichever is available.
#
#     config/docker/build-image.sh NAME [BUILDER OPTIONS...]
#
# The builders' environment variables apply, such as BUILDAH_ISOLATION and STORAGE_DRIVER. Options can add what one
# machine needs, such as --volume with a pip.conf.
set -eu

name=$1
shift
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
    revision=$revision-dirty
fi

# The docker format, because the OCI format has no HEALTHCHECK.
if docker info >/dev/null 2>&1; then
    set -- docker build "$@"
elif command -v podman >/dev/null; then
    set -- podman build --format docker "$@"
elif command -v buildah >/dev/null; then
    set -- buildah build --format docker "$@"
else
    echo "build-image: found no running docker, no podman and no buildah; install one of them" >&2
    exit 1
fi

echo "$*" >&2
exec "$@" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --tag "$name" .
