#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# Faults that an operation of the soak makes on a host. The argument is the fault.
set -eu
state=/etc/tke-overlay
lock=/run/tke-overlay/lock

# Put a file system of its own over the directory of the saved state, with the same files and no room.
fill() {
    copy=$(mktemp -d)
    cp -a "$state/." "$copy"
    size=$(du -sk --apparent-size "$copy" | cut -f 1)
    mount -t tmpfs -o "size=$((2 * size + 64))k,mode=755" soak "$state"
    cp -a "$copy/." "$state"
    rm -r "$copy"
    dd if=/dev/zero "of=$state/soak-filler" bs=1k 2>/dev/null || true
}

# Move the files to the former file system, and remove the full one.
free() {
    copy=$(mktemp -d)
    rm -f "$state/soak-filler"
    cp -a "$state/." "$copy"
    umount "$state"
    find "$state" -mindepth 1 -delete
    cp -a "$copy/." "$state"
    rm -r "$copy"
}

case $1 in
fill-disk)
    [ -d "$state" ] || exit 0 # a node that no run has configured yet
    exec 9>>"$lock"
    flock 9
    fill
    ;;
free-disk)
    mountpoint -q "$state" || exit 0
    exec 9>>"$lock"
    flock 9
    free
    ;;
stop-timer)
    # The timer would put the entries back, and a run of the playbook must.
    systemctl stop tke-overlay.timer 2>/dev/null || exit 0
    for route in $(ip route show proto 144 | awk '/ via / {print $1}' | head -n 1); do
        ip route del "$route" proto 144
    done
    ;;
*)
    echo "unknown fault $1" >&2
    exit 2
    ;;
esac
