#!/bin/sh
# Create a substitute for the base image where no registry is reachable: Debian's Python on a debootstrap, under the
# name that the Dockerfile uses. For testing the Dockerfile, never for a release. Requires Debian, debootstrap, buildah
# and root; packages come from apt's mirror.
#
#     sudo config/docker/stand-in-base.sh
set -eu

name=$(sed -n 's/^ARG PYTHON_IMAGE=\([^@]*\).*/\1/p' "$(dirname "$0")/../../Dockerfile")
suite=trixie
# shellcheck disable=SC2016 # apt expands it
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
debootstrap --variant=minbase --include=ca-certificates,netbase,python3,python3-venv,tzdata "$suite" "$root" "$mirror"

# Where the real image differs from Debian: links in /usr/local/bin, an unrestricted pip, no bytecode of the standard
# library, no files of apt.
for python in python python3 python3.13; do
    ln -s /usr/bin/python3.13 "$root/usr/local/bin/$python"
done
rm "$root"/usr/lib/python3.13/EXTERNALLY-MANAGED
# shellcheck disable=SC2016 # expanded inside
chroot "$root" sh -eu -c '
    pip=$(echo /usr/share/python-wheels/pip-*.whl)
    python "$pip/pip" install --no-index --no-compile --root-user-action ignore "$pip"
'
find "$root/usr" -name __pycache__ -prune -exec rm -rf {} +
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/doc/* "$root"/usr/share/man/*

base=$(buildah from scratch)
trap 'rm -rf "$root"; buildah rm "$base" >/dev/null' EXIT
buildah add --quiet "$base" "$root" /
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 \
    --cmd python3 "$base"
buildah commit --quiet --format docker "$base" "$name"
