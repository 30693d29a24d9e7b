#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# The last step of building the base tree (a hook of mmdebstrap; the tree is its argument):
# remove files that must differ between hosts, and disable services that would start by themselves.
set -eu
root=$1

# Disable those of the units that the packages of the tree have installed.
disable() {
    for unit; do
        if [ -e "$root/lib/systemd/system/$unit" ]; then chroot "$root" systemctl --quiet disable "$unit"; fi
    done
}

# The roles start these services: a role that does not start its service must fail in the lab, too.
disable nginx.service haproxy.service keepalived.service etcd.service nftables.service

# Tests start these services to check that they and the collection work on the same host.
disable docker.service docker.socket containerd.service firewalld.service \
    NetworkManager.service NetworkManager-dispatcher.service NetworkManager-wait-online.service \
    prometheus.service prometheus-node-exporter.service

# No consoles and no background jobs, because 60 hosts share 2 cores.
chroot "$root" systemctl --quiet mask \
    console-getty.service getty@.service systemd-logind.service systemd-modules-load.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service

# Each host gets its own files of these.
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/hostname "$root"/var/lib/dbus/machine-id
: > "$root"/etc/machine-id

# Hosts of the lab cannot reach a mirror.
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*

mkdir -p "$root"/etc/ssh/sshd_config.d "$root"/etc/systemd/system.conf.d \
    "$root"/etc/systemd/journald.conf.d
cat > "$root"/etc/ssh/sshd_config.d/lab.conf <<'EOF'
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
# Ansible with many forks and tests connect at the same time.
MaxStartups 100:30:200
MaxSessions 50
EOF
cat > "$root"/etc/systemd/system.conf.d/lab.conf <<'EOF'
[Manager]
# A host that does not stop in this time is killed.
DefaultTimeoutStopSec=8s
EOF
cat > "$root"/etc/systemd/journald.conf.d/lab.conf <<'EOF'
[Journal]
# Persistent, to be readable after a reboot.
Storage=persistent
SystemMaxUse=16M
EOF
