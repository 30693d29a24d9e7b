#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# The program etcd of the test's image. kubeadm 1.36 passes two flags of etcd 3.6 under the names that they have there;
# the etcd 3.5 of Debian 13 has other names for them.

for flag; do
    shift
    case $flag in
        --feature-gates=InitialCorruptCheck=*) flag=--experimental-initial-corrupt-check=${flag##*=} ;;
        --watch-progress-notify-interval=*) flag=--experimental-${flag#--} ;;
    esac
    set -- "$@" "$flag"
done
exec /usr/local/lib/etcd "$@"
