#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# The last step of building the base tree (a hook of mmdebstrap; the tree is its argument):
# take away what must differ from host to host, and what would run without being asked to.
set -eu
root=$1

# These belong to the roles: a role that forgets to start its service must fail in the lab, too.
chroot "$root" systemctl --quiet disable \
    nginx.service haproxy.service keepalived.service etcd.service nftables.service

# These are neighbours of the product, which a test starts to see that both keep working.
chroot "$root" systemctl --quiet disable \
    docker.service docker.socket containerd.service firewalld.service \
    NetworkManager.service NetworkManager-dispatcher.service NetworkManager-wait-online.service

# Nobody logs in at a console, nothing is cleaned up in the background: 60 hosts share 2 cores.
chroot "$root" systemctl --quiet mask \
    console-getty.service getty@.service systemd-logind.service systemd-modules-load.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service

# Each host gets its own of these.
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/hostname "$root"/var/lib/dbus/machine-id
: > "$root"/etc/machine-id

# No host of the lab reaches a mirror.
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*

mkdir -p "$root"/etc/ssh/sshd_config.d "$root"/etc/systemd/system.conf.d \
    "$root"/etc/systemd/journald.conf.d
cat > "$root"/etc/ssh/sshd_config.d/lab.conf <<'EOF'
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
# Ansible with many forks, and tests beside it, connect all at once.
MaxStartups 100:30:200
MaxSessions 50
EOF
cat > "$root"/etc/systemd/system.conf.d/lab.conf <<'EOF'
[Manager]
# A host that does not stop within this is switched off.
DefaultTimeoutStopSec=8s
EOF
cat > "$root"/etc/systemd/journald.conf.d/lab.conf <<'EOF'
[Journal]
# Kept over a reboot, because that is when somebody wants to read it.
Storage=persistent
SystemMaxUse=16M
EOF
