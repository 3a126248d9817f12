#!/bin/sh
# Run tests of imaging on emulated arm64: Debian's Python for arm64 and the locked wheels for aarch64, under qemu-user.
# Not part of CI. Requires Debian, debootstrap, qemu-user-static and root; takes about five minutes.
#
#     sudo config/docker/test-arm64.sh FOLDER [PYTEST OPTIONS...]
#
# FOLDER keeps what was downloaded for the next run (800 MB). System calls are those of the host, so that confinement
# is not tested, and tests that start processes are left out, because the host cannot run programs for arm64.
set -eu

mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../.."

if ! [ -e "$folder/root/usr/bin/python3.13" ]; then
    # shellcheck disable=SC2016 # apt expands it
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1)
    debootstrap --foreign --arch=arm64 --variant=minbase --include=python3,libgomp1 trixie "$folder/root" "$mirror"
    for package in "$folder"/root/var/cache/apt/archives/*.deb; do
        dpkg-deb --extract "$package" "$folder/root"
    done
fi
if ! [ -e "$folder/site" ]; then
    .venv/bin/uv pip install --quiet --python-platform aarch64-manylinux_2_28 --python-version 3.13 \
        --target "$folder/partial" --only-binary :all: --no-binary pyvips --require-hashes -r requirements/dev.lock
    mv "$folder/partial" "$folder/site"
fi

# A processor without SVE, which qemu 7.2 emulates wrongly: products of matrices are not numbers.
PYTHONPATH=$PWD:$folder/site PYTHONPYCACHEPREFIX=$folder/bytecode exec qemu-aarch64-static -cpu cortex-a57 \
    -L "$folder/root" "$folder/root/usr/bin/python3.13" -m pytest -q -p no:cacheprovider -p no:xdist --timeout 600 \
    tests/unit/imaging/test_resampling.py tests/unit/imaging/test_resize.py \
    tests/unit/imaging/test_transparency.py tests/unit/imaging/test_seccomp.py \
    -k "not not_installed and not cannot_be_imported" "$@"
