#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# Reduce a new host of the lab to systemd, an SSH server, python3 and iproute2. The arguments are the packages that the
# lab installs in addition; their dependencies are removed, too.
set -eu
# Without a password of root, sudo can be removed only with SUDO_FORCE_REMOVE.
export DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 SUDO_FORCE_REMOVE=yes
apt-get -qq -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--no-triggers -y --autoremove purge "$@" \
    < /dev/null > /var/local/purge.log 2>&1
