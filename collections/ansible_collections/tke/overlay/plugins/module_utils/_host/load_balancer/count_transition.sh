#!/bin/sh
# Written by tke.overlay; changes are lost with its next run.
#
# Counts the changes of the VRRP state of a VIP: keepalived runs this script after each, with the words INSTANCE,
# the name of the instance, its new state and its priority. Each adds one byte to a file, which needs no lock.

set -u
run=${TKE_OVERLAY_CLB_RUN:-/run/tke-overlay-clb}
case "${2:-}" in tke_apiserver | tke_services) printf . >>"$run/${2#tke_}.transitions" ;; esac
