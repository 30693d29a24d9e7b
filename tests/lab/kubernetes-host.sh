#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# Prepare a host of the lab for kubelet and containerd, at each boot. A container cannot write what they expect of a real
# host: writable control groups of version 1, and six settings of the kernel, of which kubelet sets those that differ.
set -eu

for controller in /sys/fs/cgroup/*; do
    if mountpoint -q "$controller"; then mount -o remount,rw,bind "$controller" || true; fi
done
mount -o remount,rw,bind /sys || true
mount --make-rshared /

# The kernel of the lab has br_netfilter built in. On a real Debian it is a module that nothing loads.
for name in iptables ip6tables; do
    echo 0 >"/proc/sys/net/bridge/bridge-nf-call-$name"
done

settings=/run/lab-kubernetes
mkdir -p $settings
# name and value, as kubelet wants them (--protect-kernel-defaults)
while read -r name value; do
    echo "$value" >"$settings/$(basename "$name")"
    mount --bind "$settings/$(basename "$name")" "/proc/sys/$name"
done <<'EOF'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF
