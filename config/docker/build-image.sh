#!/bin/sh
# Build the container image with docker, podman or buildah, whichever is available.
#
#     config/docker/build-image.sh NAME [BUILDER OPTIONS...]
#
# PLATFORMS names the platforms, by default this machine's:
#
#     PLATFORMS=linux/amd64,linux/arm64 config/docker/build-image.sh REGISTRY/image-worker:1.0.0
#
# Podman and buildah make a local manifest list, which `podman manifest push` or `buildah manifest push --all` sends to
# a registry. Docker's buildx pushes the images as it builds them, because not every local image store can hold several.
# Platforms of another processor are emulated: install qemu-user-static, and binfmt-support, first.
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

platforms=${PLATFORMS:-}
several=$(expr "$platforms" : '.*,' || true)

# The docker format, because the OCI format has no HEALTHCHECK.
if docker info >/dev/null 2>&1; then
    if [ "$several" -gt 0 ]; then
        set -- docker buildx build --push "$@"
    else
        set -- docker build "$@"
    fi
    target=--tag
elif command -v podman >/dev/null; then
    set -- podman build --format docker "$@"
    target=--manifest
elif command -v buildah >/dev/null; then
    set -- buildah build --format docker "$@"
    target=--manifest
else
    echo "build-image: found no running docker, no podman and no buildah; install one of them" >&2
    exit 1
fi
if [ "$several" -eq 0 ]; then
    target=--tag
fi
if [ -n "$platforms" ]; then
    set -- "$@" --platform "$platforms"
fi

echo "$*" >&2
exec "$@" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    "$target" "$name" .
