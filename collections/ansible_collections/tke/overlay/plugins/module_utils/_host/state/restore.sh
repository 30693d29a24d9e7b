#!/bin/sh
# Written by tke.overlay; changes are lost with its next run.
#
# Restores the kernel's link, tables, rules and sysctls from the files beside this script, and reports what it changed.
# It prints nothing when nothing differs. tke-overlay.service runs it at boot, tke-overlay.timer at a regular interval;
# it can run at any time.

set -u
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}
run=${TKE_OVERLAY_RUN:-/run/tke-overlay}
notice='' warning=''
if [ -n "${JOURNAL_STREAM:-}" ]; then notice='<5>' warning='<4>'; fi
changes='' failed=0

report() { changes="$changes${changes:+; }$*"; }

report_error() {
    failed=1
    echo "${warning}tke-overlay: $*" >&2
}

# Run a command; report what it prints as an error.
try() {
    "$@" 2>"$work/errors" && [ ! -s "$work/errors" ] && return
    report_error "$(head -n 3 "$work/errors" | tr '\n' ' ')"
    return 1
}

mkdir -p "$run"
# Ansible takes the same lock.
exec 9>"$run/lock"
if ! flock -w 60 9; then
    report_error "another process has held $run/lock for 60 s"
    exit 1
fi
# Do not touch a pending change before its deadline. After the deadline, it should have been rolled back: do that now.
if [ -e "$run/pending/deadline" ]; then
    read -r now _idle </proc/uptime
    read -r deadline <"$run/pending/deadline"
    if [ "${now%.*}" -lt "${deadline:-0}" ]; then exit 0; fi
    exec 9>&-
    exec /bin/sh "$run/pending/roll-back" 'it was not confirmed, and its timer was lost'
fi

# Move the files of a confirmed change to their place, after a loss of power interrupted that. They are complete, and
# this script can be one of them.
finish_confirmation() {
    set -- "$here/.confirmed"/*
    if [ -e "$1" ]; then mv -f "$@" "$here/" || return; fi
    rmdir "$here/.confirmed"
}

if [ -d "$here/.confirmed" ]; then
    if ! finish_confirmation; then
        report_error "the saved state in $here/.confirmed cannot be moved to its place"
        exit 1
    fi
    echo "${notice}tke-overlay: completed a confirmation that a loss of power had interrupted"
    exec /bin/sh "$0"
fi

work=$(mktemp -d "$run/work.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # set by that file
: "$device $alias $vni $port $local $mac $mtu $address $cidrs"

# --- link ---

# Compare the link with the settings. $recreate is the reason to create it again; $differs lists the differences that
# the lines of $work/set correct.
compare_link() {
    recreate='' differs=''
    : >"$work/set"
    if ! ip -o -d link show dev "$device" >"$work/link" 2>/dev/null; then
        recreate='missing'
        return
    fi
    read -r line <"$work/link"
    case "$line " in *" vxlan "*) ;; *)
        report_error "$device is not a VXLAN link: another program has created it"
        return 1 ;;
    esac
    for words in "id $vni" "dstport $port"; do
        case "$line " in *" $words "*) ;; *) recreate="missing $words" ;; esac
    done
    case "${line#* vxlan } " in *" remote "* | *" group "*) recreate='surplus default destination' ;; esac
    case "$line " in *" alias $alias "*) ;; *)
        if [ -n "$recreate" ]; then
            report_error "$device is a VXLAN link that another program has created: $recreate"
            return 1
        fi ;;
    esac
    # Set an attribute only if it differs: setting the MAC, even to the same value, removes all neighbour entries.
    require "local $local" "type vxlan local $local"
    require nolearning 'type vxlan nolearning'
    require "link/ether $mac" "address $mac"
    require "mtu $mtu" "mtu $mtu"
    require "alias $alias" "alias $alias"
    case $line in *[\<,]UP[,\>]*) ;; *) correct 'down' "link set $device up" ;; esac
    compare_addresses
}

require() {
    case "$line " in *" $1 "*) ;; *) correct "missing $1" "link set $device $2" ;; esac
}

correct() {
    differs="$differs${differs:+, }$1"
    echo "$2" >>"$work/set"
}

compare_addresses() {
    found_address=''
    ip -o address show dev "$device" >"$work/addresses"
    while read -r _number _device _family found _rest; do
        case $found in fe80:*) continue ;; esac
        if [ "$found" = "$address" ]; then
            found_address=yes
        else
            correct "surplus $found" "address del $found dev $device"
        fi
    done <"$work/addresses"
    if [ -z "$found_address" ]; then correct "missing $address" "address replace $address dev $device"; fi
}

restore_link() {
    compare_link || return
    if [ -n "$recreate" ]; then
        if [ "$recreate" != 'missing' ]; then try ip link del dev "$device"; fi
        # During a change of the port, the alternate link has the other port, which can be the one required here.
        case "$(ip -o link show dev tke-alt 2>/dev/null) " in *" alias $alias "*) ip link del dev tke-alt ;; esac
        try ip -batch "$here/link.batch"
        report "device $device: $recreate"
    elif [ -n "$differs" ]; then
        try ip -force -batch "$work/set"
        report "device $device: $differs"
    fi
}

# --- tables ---

# Print the managed entries of a table, as lines of its batch.
list_entries() {
    case $1 in
        route)
            {
                ip -4 route show table main proto 144 | grep -F -e " dev $device "
                # Blackhole routes have no device; those outside the container CIDRs belong to another task.
                for cidr in $cidrs; do ip -4 route show table main root "$cidr" proto 144 type blackhole; done
            } 2>/dev/null | sed -e 's/ *$//' -e 's/.*/route replace & proto 144/' ;;
        neighbor)
            ip -4 neigh show dev "$device" nud permanent 2>/dev/null |
                sed "s/ *PERMANENT *\$//; s/.*/neigh replace & dev $device nud permanent/" ;;
        fdb)
            bridge fdb show dev "$device" 2>/dev/null |
                sed -n "s/^\([^ ]*\) \(dst .*self permanent\) *\$/fdb replace \1 dev $device \2/p" ;;
    esac
}

compare_table() {
    list_entries "$1" | sort >"$work/$1.actual"
    : >"$work/$1.put"
    : >"$work/$1.drop"
    if [ ! -s "$work/$1.actual" ]; then # as after a boot
        cp "$here/$1.batch" "$work/$1.put"
        return
    fi
    cmp -s "$work/$1.actual" "$here/$1.batch" && return
    comm -13 "$work/$1.actual" "$here/$1.batch" >"$work/$1.put"
    comm -23 "$work/$1.actual" "$here/$1.batch" | sed \
        -e 's/^route replace/route del/' \
        -e 's/^neigh replace \([^ ]*\) .*/neigh del \1 dev '"$device/" \
        -e 's/^fdb replace \(.*\) permanent$/fdb del \1/' >"$work/$1.drop"
}

# Report the lines of a batch: up to two by their keys, more of them by their number.
report_entries() {
    [ -s "$3" ] || return
    count=$(wc -l <"$3")
    if [ "$count" -le 2 ]; then
        while read -r _table _verb key rest; do
            if [ "$key" = blackhole ]; then key="$key ${rest%% *}"; fi
            report "$1 $key: $2"
        done <"$3"
    else
        report "$1: $count $2"
    fi
}

# `replace` would overwrite a foreign route to the same destination: keep it, and report an error.
keep_foreign_routes() {
    ip -4 route show table main | sed 's/$/ /' | grep -v -F -e " dev $device " -e ' metric ' |
        sed -e 's/^[a-z]* \([0-9]\)/\1/' -e 's/ .*/ /' -e 's/^/route replace /' >"$work/foreign"
    [ -s "$work/foreign" ] && grep -F -f "$work/foreign" "$work/route.put" >"$work/taken" || return
    report_error "a foreign route has the destination of: $(head -n 3 "$work/taken" | tr '\n' ';')"
    grep -v -F -f "$work/foreign" "$work/route.put" >"$work/route.free"
    mv "$work/route.free" "$work/route.put"
}

run_batch() {
    [ -s "$2" ] || return
    "$1" -force -batch "$2" 2>"$work/errors" && return
    # `ip neigh` ends a batch at its first failure, even with -force. The lines can run twice.
    case $2 in *neighbor*)
        while read -r line; do
            # shellcheck disable=SC2086 # a line is several words
            ip $line 2>>"$work/errors"
        done <"$2" ;;
    esac
    report_error "$(head -n 3 "$work/errors" | tr '\n' ' ')"
}

# Remove routes first and add them last, so that a route never points to an entry that does not exist.
restore_tables() {
    for table in route fdb neighbor; do compare_table "$table"; done
    if [ -s "$work/route.put" ]; then keep_foreign_routes; fi
    for table in route fdb neighbor; do
        report_entries "$table" missing "$work/$table.put"
        report_entries "$table" surplus "$work/$table.drop"
    done
    run_batch ip "$work/route.drop"
    run_batch bridge "$work/fdb.drop"
    run_batch ip "$work/neighbor.drop"
    run_batch ip "$work/neighbor.put"
    run_batch bridge "$work/fdb.put"
    run_batch ip "$work/route.put"
}

# Restore the route to the load balancer, if api_endpoint has created one: a managed route on another device.
restore_endpoint_route() {
    [ -s "$here/endpoint.batch" ] || return
    read -r line <"$here/endpoint.batch"
    spec=${line#route replace }
    subnet=${spec%% *}
    ip -4 route show table main exact "$subnet" proto 144 2>/dev/null | sed 's/ *$//' >"$work/endpoint"
    if echo "${spec% proto 144}" | cmp -s - "$work/endpoint"; then return; fi
    if [ ! -s "$work/endpoint" ] && ip -4 route show table main exact "$subnet" | grep -q -v -F ' metric '; then
        report_error "a foreign route has the destination of: $line"
        return
    fi
    # shellcheck disable=SC2086 # a line is several words
    try ip $line && report "route $subnet: missing"
}

# --- rules and sysctls ---

# The rules are unchanged as long as nft lists what it listed right after they were loaded.
restore_rules() {
    nft -s list table inet tke_overlay >"$work/rules" 2>/dev/null
    cmp -s "$work/rules" "$run/rules.listing" && cmp -s "$here/rules.nft" "$run/rules.nft" && return
    try nft -f "$here/rules.nft" || return
    nft -s list table inet tke_overlay >"$work/loaded" 2>/dev/null
    if [ ! -s "$work/rules" ]; then report 'rules: missing'
    elif ! cmp -s "$work/rules" "$work/loaded"; then report 'rules: changed'
    fi
    mv "$work/loaded" "$run/rules.listing"
    cp "$here/rules.nft" "$run/rules.nft"
}

restore_sysctls() {
    while read -r key value; do
        found=''
        if [ -e "/proc/sys/$key" ]; then read -r found <"/proc/sys/$key"; fi
        if [ "$found" = "$value" ]; then continue; fi
        if echo "$value" 2>/dev/null >"/proc/sys/$key"; then
            report "sysctl $key: was $found"
        else
            report_error "sysctl $key cannot be set"
        fi
    done <"$here/sysctl"
}

# The rules come before the link, so that no packet that they drop arrives through it.
restore_rules
restore_link
restore_sysctls
restore_tables
restore_endpoint_route

if [ -n "$changes" ]; then echo "${notice}tke-overlay: restored: $changes"; fi
exit "$failed"
