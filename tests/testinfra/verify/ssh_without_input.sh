#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# An SSH that never takes the module: Ansible gives up before it has read why the host is not reached. On a busy
# controller the same happens by chance.
exec ssh "$@" <&-
