#!/bin/sh
# Remove the encoder x265 (GPL) from an environment in which pillow-heif is installed: the worker only decodes.
#
#     config/docker/remove-x265.sh SITE_PACKAGES
#
# libheif calls two functions of x265: when it is loaded, for the version, which may be null, and when it is unloaded.
# It calls isdigit() and de265_get_version_number() in their place, which ignore what they are called for.
set -eu

cd "$1/pillow_heif.libs"
x265=$(ls libx265-*)
symbols=$(mktemp)
cat >"$symbols" <<END
x265_api_get_${x265##*.so.} isdigit
x265_cleanup de265_get_version_number
END
patchelf --remove-needed "$x265" --rename-dynamic-symbols "$symbols" libheif-*
rm "$x265" "$symbols"
