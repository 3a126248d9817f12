#!/bin/sh
# Print the base image of the Dockerfile with its digest, as it is pinned there or as its registry has it now.
#
#     config/docker/base-image.sh
#
# Requires docker with buildx, unless the Dockerfile names a digest.
set -eu

name=$(sed -n 's/^ARG PYTHON_IMAGE=//p' "$(dirname "$0")/../../Dockerfile")
case $name in
    '') echo 'base-image: the Dockerfile has no line "ARG PYTHON_IMAGE=..."; add the base image' >&2 && exit 1 ;;
    *@sha256:*) echo "$name" && exit ;;
esac

digest=$(docker buildx imagetools inspect "$name" --format '{{.Manifest.Digest}}')
case $digest in
    sha256:????????????????????????????????????????????????????????????????) echo "$name@$digest" ;;
    *) echo "base-image: the registry returned \"$digest\" for $name, which is not a digest; run it again" >&2 && exit 1 ;;
esac
