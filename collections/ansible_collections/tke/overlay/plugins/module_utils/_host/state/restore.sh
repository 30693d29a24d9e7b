#!/bin/sh
# Written by tke.overlay; changes are lost with its next run.
#
# Makes the kernel hold what the files beside this one say, and tells what was otherwise; silent when nothing was.
# Run by tke-overlay.service at boot and by tke-overlay.timer now and then; harmless at any time.

set -u
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}
run=${TKE_OVERLAY_RUN:-/run/tke-overlay}
notice='' warning=''
if [ -n "${JOURNAL_STREAM:-}" ]; then notice='<5>' warning='<4>'; fi
told='' failed=0

tell() { told="$told${told:+; }$*"; }

complain() {
    failed=1
    echo "${warning}tke-overlay: $*" >&2
}

# Runs a command; what it says against it is one complaint.
try() {
    "$@" 2>"$work/errors" && [ ! -s "$work/errors" ] && return
    complain "$(head -n 3 "$work/errors" | tr '\n' ' ')"
    return 1
}

mkdir -p "$run"
# Ansible takes the same lock.
exec 9>"$run/lock"
if ! flock -w 60 9; then
    complain "somebody has held $run/lock for 60 s"
    exit 1
fi
# A change that waits for its confirmation is left alone, until its time is over: then it should be gone.
if [ -e "$run/pending/deadline" ]; then
    read -r now _idle </proc/uptime
    read -r deadline <"$run/pending/deadline"
    if [ "${now%.*}" -lt "${deadline:-0}" ]; then exit 0; fi
    exec 9>&-
    exec /bin/sh "$run/pending/roll-back" 'it was not confirmed, and its timer was lost'
fi

# A loss of power came between a confirmation and the places of its files. They all are here, this script among them.
finish_confirmation() {
    set -- "$here/.confirmed"/*
    if [ -e "$1" ]; then mv -f "$@" "$here/" || return; fi
    rmdir "$here/.confirmed"
}

if [ -d "$here/.confirmed" ]; then
    if ! finish_confirmation; then
        complain "the saved state in $here/.confirmed cannot take its place"
        exit 1
    fi
    echo "${notice}tke-overlay: took over what was confirmed right before a loss of power"
    exec /bin/sh "$0"
fi

work=$(mktemp -d "$run/work.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # come from there
: "$device $alias $vni $port $local $mac $mtu $address $cidrs"

# --- the device ---

# What is wrong with the device: $anew says why it must be made, $wrong what must be changed, by the lines of $work/set.
look_at_link() {
    anew='' wrong=''
    : >"$work/set"
    if ! ip -o -d link show dev "$device" >"$work/link" 2>/dev/null; then
        anew='it was missing'
        return
    fi
    read -r line <"$work/link"
    case "$line " in *" vxlan "*) ;; *)
        complain "$device is no VXLAN link: somebody else has made it"
        return 1 ;;
    esac
    for words in "id $vni" "dstport $port"; do
        case "$line " in *" $words "*) ;; *) anew="it had not $words" ;; esac
    done
    case "${line#* vxlan } " in *" remote "* | *" group "*) anew='it had a default destination' ;; esac
    case "$line " in *" alias $alias "*) ;; *)
        if [ -n "$anew" ]; then
            complain "$device is a VXLAN link that somebody else has made: $anew"
            return 1
        fi ;;
    esac
    # Each only where it is wrong: to set the MAC, even to what it is, costs all neighbours.
    has "local $local" "type vxlan local $local"
    has nolearning 'type vxlan nolearning'
    has "link/ether $mac" "address $mac"
    has "mtu $mtu" "mtu $mtu"
    has "alias $alias" "alias $alias"
    case $line in *[\<,]UP[,\>]*) ;; *) amend 'it was down' "link set $device up" ;; esac
    look_at_addresses
}

has() {
    case "$line " in *" $1 "*) ;; *) amend "it had not $1" "link set $device $2" ;; esac
}

amend() {
    wrong="$wrong${wrong:+, }$1"
    echo "$2" >>"$work/set"
}

look_at_addresses() {
    there=''
    ip -o address show dev "$device" >"$work/addresses"
    while read -r _number _device _family found _rest; do
        case $found in fe80:*) continue ;; esac
        if [ "$found" = "$address" ]; then there=yes; else amend "it had $found" "address del $found dev $device"; fi
    done <"$work/addresses"
    if [ -z "$there" ]; then amend "it had not $address" "address replace $address dev $device"; fi
}

put_link() {
    look_at_link || return
    if [ -n "$anew" ]; then
        if [ "$anew" != 'it was missing' ]; then try ip link del dev "$device"; fi
        # While the port is being changed a second link of ours has the other one, which may be the one wanted here.
        case "$(ip -o link show dev tke-alt 2>/dev/null) " in *" alias $alias "*) ip link del dev tke-alt ;; esac
        try ip -batch "$here/link.batch"
        tell "device $device: $anew"
    elif [ -n "$wrong" ]; then
        try ip -force -batch "$work/set"
        tell "device $device: $wrong"
    fi
}

# --- its tables ---

# What the kernel holds of a table and is ours, in the words of its batch.
listed() {
    case $1 in
        route)
            {
                ip -4 route show table main proto 84 | grep -F -e " dev $device "
                # Blackholes have no device; those of our protocol elsewhere are another task's.
                for cidr in $cidrs; do ip -4 route show table main root "$cidr" proto 84 type blackhole; done
            } 2>/dev/null | sed -e 's/ *$//' -e 's/.*/route replace & proto 84/' ;;
        neighbor)
            ip -4 neigh show dev "$device" nud permanent 2>/dev/null |
                sed "s/ *PERMANENT *\$//; s/.*/neigh replace & dev $device nud permanent/" ;;
        fdb)
            bridge fdb show dev "$device" 2>/dev/null |
                sed -n "s/^\([^ ]*\) \(dst .*self permanent\) *\$/fdb replace \1 dev $device \2/p" ;;
    esac
}

compare() {
    listed "$1" | sort >"$work/$1.is"
    : >"$work/$1.put"
    : >"$work/$1.drop"
    if [ ! -s "$work/$1.is" ]; then # as after a boot
        cp "$here/$1.batch" "$work/$1.put"
        return
    fi
    cmp -s "$work/$1.is" "$here/$1.batch" && return
    comm -13 "$work/$1.is" "$here/$1.batch" >"$work/$1.put"
    comm -23 "$work/$1.is" "$here/$1.batch" | sed \
        -e 's/^route replace/route del/' \
        -e 's/^neigh replace \([^ ]*\) .*/neigh del \1 dev '"$device/" \
        -e 's/^fdb replace \(.*\) permanent$/fdb del \1/' >"$work/$1.drop"
}

# Few entries by their names, many by their number.
tell_lines() {
    [ -s "$3" ] || return
    many=$(wc -l <"$3")
    if [ "$many" -le 2 ]; then
        while read -r _table _verb key rest; do
            if [ "$key" = blackhole ]; then key="$key ${rest%% *}"; fi
            tell "$1 $key: $2"
        done <"$3"
    else
        tell "$1: $many $2"
    fi
}

# `replace` would overwrite the route of somebody else to the same place: left to a human.
spare_foreign_routes() {
    ip -4 route show table main | sed 's/$/ /' | grep -v -F -e " dev $device " -e ' metric ' |
        sed -e 's/^[a-z]* \([0-9]\)/\1/' -e 's/ .*/ /' -e 's/^/route replace /' >"$work/foreign"
    [ -s "$work/foreign" ] && grep -F -f "$work/foreign" "$work/route.put" >"$work/taken" || return
    complain "a route that is not ours stands in the place of: $(head -n 3 "$work/taken" | tr '\n' ';')"
    grep -v -F -f "$work/foreign" "$work/route.put" >"$work/route.free"
    mv "$work/route.free" "$work/route.put"
}

batch() {
    [ -s "$2" ] || return
    "$1" -force -batch "$2" 2>"$work/errors" && return
    # `ip neigh` ends a batch at its first failure, -force or not. What is done already does no harm again.
    case $2 in *neighbor*)
        while read -r line; do
            # shellcheck disable=SC2086 # a line is words
            ip $line 2>>"$work/errors"
        done <"$2" ;;
    esac
    complain "$(head -n 3 "$work/errors" | tr '\n' ' ')"
}

# Routes go first and come last: none ever points to an entry that is not there.
put_tables() {
    for table in route fdb neighbor; do compare "$table"; done
    if [ -s "$work/route.put" ]; then spare_foreign_routes; fi
    for table in route fdb neighbor; do
        tell_lines "$table" missing "$work/$table.put"
        tell_lines "$table" surplus "$work/$table.drop"
    done
    batch ip "$work/route.drop"
    batch bridge "$work/fdb.drop"
    batch ip "$work/neighbor.drop"
    batch ip "$work/neighbor.put"
    batch bridge "$work/fdb.put"
    batch ip "$work/route.put"
}

# The way to the load balancer, where api_endpoint has made one: a route of ours on a device that is not.
put_way() {
    [ -s "$here/endpoint.batch" ] || return
    read -r line <"$here/endpoint.batch"
    spec=${line#route replace }
    subnet=${spec%% *}
    ip -4 route show table main exact "$subnet" proto 84 2>/dev/null | sed 's/ *$//' >"$work/way"
    if echo "${spec% proto 84}" | cmp -s - "$work/way"; then return; fi
    if [ ! -s "$work/way" ] && ip -4 route show table main exact "$subnet" | grep -q -v -F ' metric '; then
        complain "a route that is not ours stands in the place of: $line"
        return
    fi
    # shellcheck disable=SC2086 # a line is words
    try ip $line && tell "route $subnet: it was missing"
}

# --- rules and sysctls ---

# As long as nft lists what it listed right after the load, nothing has changed.
put_rules() {
    nft -s list table inet tke_overlay >"$work/rules" 2>/dev/null
    cmp -s "$work/rules" "$run/rules.listing" && cmp -s "$here/rules.nft" "$run/rules.nft" && return
    try nft -f "$here/rules.nft" || return
    nft -s list table inet tke_overlay >"$work/again" 2>/dev/null
    if [ ! -s "$work/rules" ]; then tell 'rules: missing'
    elif ! cmp -s "$work/rules" "$work/again"; then tell 'rules: changed'
    fi
    mv "$work/again" "$run/rules.listing"
    cp "$here/rules.nft" "$run/rules.nft"
}

put_sysctls() {
    while read -r key value; do
        found=''
        if [ -e "/proc/sys/$key" ]; then read -r found <"/proc/sys/$key"; fi
        if [ "$found" = "$value" ]; then continue; fi
        if echo "$value" 2>/dev/null >"/proc/sys/$key"; then
            tell "sysctl $key: $found"
        else
            complain "sysctl $key cannot be set"
        fi
    done <"$here/sysctl"
}

# The rules before the device: nothing is let in that they would have stopped.
put_rules
put_link
put_sysctls
put_tables
put_way

if [ -n "$told" ]; then echo "${notice}tke-overlay: put back: $told"; fi
exit "$failed"
