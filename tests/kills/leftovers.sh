#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# Prints what this host has, one thing a line: files where the collection writes, units that a change makes, and what
# differs from the saved state. After a killed run and another one it must be the same as after one that was not killed.

set -u
export LC_ALL=C

if [ -e /etc/tke-overlay/restore ]; then sh /etc/tke-overlay/restore 2>&1 | sed 's/^/not as saved: /'; fi
# The restore timer must not have a file of its own in the list. A lock that nobody releases is one more line.
if [ -e /run/tke-overlay/lock ]; then
    exec 9>>/run/tke-overlay/lock
    flock -w 20 9 || echo 'lock: held for 20 s'
fi

# What Ansible leaves when a module is killed is not here: /tmp/ansible_*_payload_*.
for directory in /etc /root /run/lock /tmp /var/tmp /dev/shm; do
    find "$directory" -xdev -mindepth 1 -maxdepth 1 ! -name 'ansible_*_payload_*' ! -name 'systemd-private-*' ! -name '.bash*'
done
find /etc/tke-overlay /etc/cni /etc/kubernetes /etc/sysctl.d /etc/tmpfiles.d /etc/modules-load.d /etc/systemd \
    /etc/NetworkManager /etc/udev /etc/haproxy /etc/keepalived /run/tke-overlay /run/tke-overlay-clb \
    /run/systemd/transient /run/systemd/network /run/NetworkManager/conf.d /run/tmpfiles.d /run/sysctl.d \
    /root/.ansible /var/lib/tke-overlay /usr/local 2>/dev/null

systemctl list-units --all --plain --no-legend 'tke-overlay-rollback*' | cut -d ' ' -f 1 | sed 's/^/unit: /'
systemctl list-units --failed --plain --no-legend 'tke-overlay*' | cut -d ' ' -f 1 | sed 's/^/failed: /'
systemctl show -p Id,NeedDaemonReload 'tke-overlay*' | paste -s -d ' ' | sed 's/  /\n/g' |
    sed -n 's/^Id=\(\S*\) NeedDaemonReload=yes/not loaded: \1/p'
true
