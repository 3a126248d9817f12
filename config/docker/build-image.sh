#!/bin/sh
# Builds the image with docker, podman or buildah, whichever works here.
#
#     config/docker/build-image.sh NAME [FLAGS OF THE BUILDER...]
#
# The builders' own variables hold, such as BUILDAH_ISOLATION and STORAGE_DRIVER; flags add what only this machine
# needs, such as --volume with another pip.conf.
set -eu

name=$1
shift
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then
    revision=$revision-dirty
fi

# The docker format: the other has no HEALTHCHECK.
if docker info >/dev/null 2>&1; then
    set -- docker build "$@"
elif command -v podman >/dev/null; then
    set -- podman build --format docker "$@"
elif command -v buildah >/dev/null; then
    set -- buildah build --format docker "$@"
else
    echo "build-image: neither a running docker, nor podman, nor buildah is here; install one of them" >&2
    exit 1
fi

echo "$*" >&2
exec "$@" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --tag "$name" .
