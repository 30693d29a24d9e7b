#!/bin/sh
# Written by tke.overlay; changes are lost with its next run.
#
# Loads the nftables rules of the load balancer again if the kernel does not hold them as they were loaded, and reports
# that. It prints nothing when nothing differs. tke-overlay-keepalived.service runs it when it starts or reloads,
# tke-overlay-clb.timer at a regular interval; it can run at any time.

set -u
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}
run=${TKE_OVERLAY_CLB_RUN:-/run/tke-overlay-clb}
notice='' warning=''
if [ -n "${JOURNAL_STREAM:-}" ]; then notice='<5>' warning='<4>'; fi

fail() {
    echo "${warning}tke-overlay-clb: $*" >&2
    exit 1
}

# Print the table, without the values of its counters.
list_rules() {
    nft -s list table inet tke_overlay_clb 2>/dev/null | sed 's/packets [0-9]* bytes [0-9]*/packets 0 bytes 0/'
}

mkdir -p "$run" || fail "$run cannot be created"
exec 9>"$run/lock"
flock -w 60 9 || fail "another process has held $run/lock for 60 s"

list_rules >"$run/rules.present"
if [ -s "$run/rules.present" ] && cmp -s "$run/rules.present" "$run/rules.listing" &&
    cmp -s "$here/rules.nft" "$run/rules.nft"; then
    exit 0
fi
# A damaged file must not replace rules that are loaded.
if grep -q '  rules\.nft$' "$here/checksums" 2>/dev/null &&
    ! (cd "$here" && grep '  rules\.nft$' checksums | sha256sum --status -c -); then
    fail "$here/rules.nft is damaged and was not loaded: run tke.overlay.site"
fi
errors=$(nft -f "$here/rules.nft" 2>&1) || fail "the rules cannot be loaded: $(echo "$errors" | head -n 3 | tr '\n' ' ')"
list_rules >"$run/rules.loaded"
[ -s "$run/rules.loaded" ] || fail "$here/rules.nft was loaded, and the kernel has no table inet tke_overlay_clb"
if [ ! -s "$run/rules.present" ]; then echo "${notice}tke-overlay-clb: restored: rules: missing"
elif cmp -s "$here/rules.nft" "$run/rules.nft"; then echo "${notice}tke-overlay-clb: restored: rules: changed"
fi
cp "$here/rules.nft" "$run/rules.nft" || fail "$run cannot be written"
mv "$run/rules.loaded" "$run/rules.listing"
