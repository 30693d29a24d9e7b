#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# in_suite.sh TREE DIRECTORY... -- COMMAND
# Run a command with Python and the programs of a base tree of the lab. The directories appear there at their own paths;
# the working directory must lie in one of them. What the command writes elsewhere is gone at the end. The mounts are
# those of this process alone.
set -eu
if [ -z "${TKE_IN_SUITE:-}" ]; then
    TKE_IN_SUITE=$(mktemp -d)
    export TKE_IN_SUITE
    status=0
    unshare --mount "$0" "$@" || status=$?
    rmdir "$TKE_IN_SUITE"
    exit "$status"
fi

tree=$1
shift
mount -t tmpfs none "$TKE_IN_SUITE"
root=$TKE_IN_SUITE/root
mkdir "$TKE_IN_SUITE/upper" "$TKE_IN_SUITE/work" "$root"
mount -t overlay -o "lowerdir=$tree,upperdir=$TKE_IN_SUITE/upper,workdir=$TKE_IN_SUITE/work" none "$root"
for directory in proc sys dev; do mount --rbind "/$directory" "$root/$directory"; done
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    shift
done
shift
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts" # as Debian installs it
unset TKE_IN_SUITE
exec chroot "$root" /usr/bin/env -C "$PWD" "$@"
