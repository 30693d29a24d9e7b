#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# Makes a fresh host of the lab a bare one: systemd, an SSH server, python3 and iproute2. The packages that the lab adds to
# these are the arguments; what they have brought along goes, too.
set -eu
# Without a password of root, sudo goes only on request.
export DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 SUDO_FORCE_REMOVE=yes
apt-get -qq -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--no-triggers -y --autoremove purge "$@" \
    < /dev/null > /var/local/purge.log 2>&1
