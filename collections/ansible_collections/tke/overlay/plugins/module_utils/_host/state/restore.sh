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
# For the metrics: the part that is being restored, the parts that were repaired, and those in which something failed;
# and what was seen of the links.
# shellcheck disable=SC2034 # metrics.sh reads them
object='' repaired='' failures='' device_line='' bridge_line='' no_room=0

report() {
    changes="$changes${changes:+; }$*"
    case "$repaired " in *" $object "*) ;; *) repaired="$repaired $object" ;; esac
}

report_error() {
    failed=1
    failures="$failures $object"
    echo "${warning}tke-overlay: $*" >&2
}

# Run a command; report what it prints as an error.
try() {
    "$@" 2>"$work/errors" && [ ! -s "$work/errors" ] && return
    report_error "$(head -n 3 "$work/errors" | tr '\n' ' ')"
    return 1
}

mkdir -p "$run"
# The first run after a boot restores everything: that is no repair.
booted=''
# shellcheck disable=SC2034 # metrics.sh reads it
if [ ! -e "$run/rules.listing" ]; then booted=yes; fi
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

# Make the directory of this run's files, and check that it has the room for them: the programs below would otherwise
# print half of a listing, and what is missing from it would look like the work of another program.
make_work() {
    for place; do
        work=$(mktemp -d "$place/work.XXXXXX" 2>&1) || continue
        read_sizes
        room=$((size * 3 + 65536))
        reason=$(head -c "$room" /dev/zero 2>&1 >"$work/room") && rm "$work/room" && return
        rm -rf "$work"
        work="$reason (needed: $room bytes)"
    done
    return 1
}

# Set the size of the saved state, and for the metrics, the time of this run, the time at which the plan was saved, and
# the time at which all chains were last listed.
read_sizes() {
    size=0 now=0 applied='' checked=0
    while read -r time bytes name; do
        # shellcheck disable=SC2034 # metrics.sh reads them
        case $name in
            "$work") now=$time ;;
            "$here/summary") applied=$time ;;
            "$run/metrics.firewall") checked=$time ;;
            *) size=$((size + bytes)) ;;
        esac
    done <<EOF
$(stat -c '%Y %s %n' "$work" "$here"/*.batch "$here/rules.nft" "$here/summary" "$run/metrics.firewall" 2>/dev/null)
EOF
}

rm -rf "$run"/work.* # of a run that was killed
if ! make_work "$run"; then
    report_error "no room for the files of this script in $run: $work"
    # The network must not wait until there is room.
    # shellcheck disable=SC2034 # metrics.sh reads it
    no_room=1
    make_work "${TKE_OVERLAY_SPARE:-/dev/shm}" || exit 1
fi
beside=''
trap 'rm -rf "$work" ${beside:+"$beside"}' EXIT
trap 'exit 1' HUP INT TERM

# --- damaged files ---

# A truncated batch must not remove the entries that it no longer has. $damaged lists the files beside this script that
# are not as they were written; the parts that need one of them do nothing.
damaged=''
if [ -s "$here/checksums" ]; then
    grep -v -e / -e '  summary$' -e '  fleet$' -e '  restore$' -e '  probe\.' "$here/checksums" >"$work/checksums"
    damaged=$(cd "$here" && sha256sum -c "$work/checksums" 2>/dev/null | sed -n 's/: FAILED.*//p' | tr '\n' ' ')
fi
if [ -n "$damaged" ]; then
    report_error "the saved state is damaged: $here has lost or other content of: $damaged; run tke.overlay.site"
fi

# Whether none of these files is damaged.
intact() {
    for name; do
        case " $damaged" in *" $name "*) return 1 ;; esac
    done
}

if intact settings; then
    # shellcheck source=/dev/null
    . "$here/settings"
    # shellcheck disable=SC2154 # set by that file
    : "$device $alias $vni $port $local $mac $mtu $address $cidrs $bridge $node_cidr $gateway"
fi

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
    # shellcheck disable=SC2034 # metrics.sh reads it
    device_line=$line
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
    compare_addresses "$device" "$address"
}

require() {
    case "$line " in *" $1 "*) ;; *) correct "missing $1" "link set $device $2" ;; esac
}

correct() {
    differs="$differs${differs:+, }$1"
    echo "$2" >>"$work/set"
}

# Compare the addresses of a device, $1, with its only one, $2.
compare_addresses() {
    found_address=''
    ip -o address show dev "$1" >"$work/addresses"
    while read -r _number _device _family found _rest; do
        case $found in fe80:*) continue ;; esac
        if [ "$found" = "$2" ]; then
            found_address=yes
        else
            correct "surplus $found" "address del $found dev $1"
        fi
    done <"$work/addresses"
    if [ -z "$found_address" ]; then correct "missing $2" "address replace $2 dev $1"; fi
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

# --- WireGuard ---

# The file `wireguard` has a line for each device, and one for each peer:
#   DEVICE generation N listen-port PORT fwmark off mtu MTU address CIDR public-key KEY state up
#   DEVICE peer KEY allowed-ips CIDR [endpoint ADDRESS:PORT] [persistent-keepalive SECONDS]
restore_wireguard() {
    [ -s "$here/wireguard" ] || return 0
    if ! command -v wg >/dev/null; then
        report_error 'this host has no wg any more: install wireguard-tools'
        return 1
    fi
    grep -v ' peer ' "$here/wireguard" >"$work/devices"
    while read -r wireguard _ generation _ wg_port _ _ _ wg_mtu _ wg_address _ public_key _; do
        restore_wireguard_device
    done <"$work/devices"
}

restore_wireguard_device() {
    created=''
    rm -f "$work/peers.conf"
    ip -o -d link show dev "$wireguard" >"$work/link" 2>/dev/null
    read -r line <"$work/link" || line=''
    case "$line " in
        ' ') create_wireguard 'missing' || return ;;
        *' wireguard '* | *' tun '*) ;;
        *)
            report_error "$wireguard is not a WireGuard device: another program has created it"
            return 1 ;;
    esac
    echo "$line" >"$work/$wireguard.link" # metrics.sh reads it
    list_wireguard
    if [ ! -s "$work/$wireguard.wg" ]; then # wireguard-go hangs, or the device is one of another program
        ip link del dev "$wireguard" 2>/dev/null
        create_wireguard 'without an answer' || return
        list_wireguard
    fi
    compare_wireguard
    compare_wireguard_peers
    case $line in *[\<,]UP[,\>]*) ;; *) correct 'down' "link set $wireguard up" ;; esac
    if [ -s "$work/set" ]; then try ip -batch "$work/set"; fi
    if [ -n "$created" ] && [ -s "$work/peers.conf" ]; then try wg addconf "$wireguard" "$work/peers.conf"; fi
    if [ -n "$created$differs" ]; then report "device $wireguard: ${created:-$differs}"; fi
}

# A kernel without WireGuard leaves it to wireguard-go, in a unit if the host has that.
create_wireguard() {
    if ! ip link add dev "$wireguard" type wireguard 2>"$work/kernel"; then
        if [ -e "${here%/*}/systemd/system/tke-overlay-wireguard@.service" ]; then
            systemctl restart "tke-overlay-wireguard@$wireguard.service" 2>"$work/errors"
        else
            wireguard-go "$wireguard" >/dev/null 2>"$work/errors" 9>&-
        fi || {
            report_error "$wireguard cannot be created: $(head -n 3 "$work/kernel" "$work/errors" | tr '\n' ' ')"
            return 1
        }
    fi
    try ip link set dev "$wireguard" addrgenmode none && try ip link set dev "$wireguard" alias tke.overlay
    created=$1
    line=''
}

# List the device without its private key, and without preshared keys.
list_wireguard() {
    timeout 30 wg show "$wireguard" dump 2>/dev/null |
        sed -e '1s/^[^\t]*/-/' -e '2,$s/^\([^\t]*\)\t[^(\t][^\t]*/\1\thidden/' >"$work/$wireguard.wg"
}

compare_wireguard() {
    differs=''
    : >"$work/set"
    key_file=$here/wireguard-$generation.key
    read -r _ found_key found_port found_mark <"$work/$wireguard.wg"
    if [ "$found_key" != "$public_key" ]; then
        if [ "$(wg pubkey 2>/dev/null <"$key_file")" != "$public_key" ]; then
            report_error "$key_file is not the private key of $public_key: put it back, or run tke.overlay.reset and tke.overlay.site"
        elif try wg set "$wireguard" private-key "$key_file"; then
            differs='private key'
        fi
    fi
    # wireguard-go binds its socket again each time.
    if [ "$found_port" != "$wg_port" ] && try wg set "$wireguard" listen-port "$wg_port"; then
        differs="$differs${differs:+, }port was $found_port"
    fi
    if [ "$found_mark" != off ] && try wg set "$wireguard" fwmark 0; then
        differs="$differs${differs:+, }fwmark was $found_mark"
    fi
    compare_addresses "$wireguard" "$wg_address"
    case "$line " in *" mtu $wg_mtu "*) ;; *) correct "missing mtu $wg_mtu" "link set $wireguard mtu $wg_mtu" ;; esac
}

# Print the peers of the device as the file has them. A peer roams: while its last handshake is younger than 180 s, or if
# the plan has no endpoint of it, the actual one is right.
list_wireguard_peers() {
    awk -v device="$wireguard" -v now="$(date +%s)" '
        NR == FNR { if ($1 == device && $6 == "endpoint") planned[$3] = $7; next }
        FNR > 1 {
            endpoint = ($1 in planned && now - $5 >= 180) ? $3 : planned[$1]
            print device " peer " $1 " allowed-ips " $4 (endpoint == "" ? "" : " endpoint " endpoint) \
                ($8 == "off" ? "" : " persistent-keepalive " $8) ($2 == "(none)" ? "" : " preshared-key " $2)
        }' "$here/wireguard" "$work/$wireguard.wg" | sort
}

compare_wireguard_peers() {
    list_wireguard_peers >"$work/peers.actual"
    grep "^$wireguard peer " "$here/wireguard" >"$work/peers"
    cmp -s "$work/peers.actual" "$work/peers" && return
    comm -13 "$work/peers.actual" "$work/peers" >"$work/peers.put"
    cut -d ' ' -f 3 "$work/peers" | sort >"$work/peers.keys"
    cut -d ' ' -f 3 "$work/peers.actual" | sort | comm -23 - "$work/peers.keys" >"$work/peers.drop"
    if [ -s "$work/peers.drop" ]; then
        sed 's/.*/peer & remove/' "$work/peers.drop" >"$work/peers.words"
        try xargs -n 900 -a "$work/peers.words" wg set "$wireguard"
        differs="$differs${differs:+, }surplus peers: $(wc -l <"$work/peers.drop")"
    fi
    if [ ! -s "$work/peers.put" ]; then return; fi
    differs="$differs${differs:+, }missing or other peers: $(wc -l <"$work/peers.put")"
    # A preshared key of zeros is none.
    sed -e '/ persistent-keepalive /!s/$/ persistent-keepalive off/' \
        -e 's/^[^ ]* peer \([^ ]*\) allowed-ips /[Peer]\nPublicKey = \1\nAllowedIPs = /' \
        -e 's/ endpoint /\nEndpoint = /' -e 's/ persistent-keepalive /\nPersistentKeepalive = /' \
        -e 's/$/\nPresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=/' "$work/peers.put" >"$work/peers.conf"
    if [ -z "$created" ]; then
        try wg addconf "$wireguard" "$work/peers.conf"
    else
        # A new device dials all of its peers, which may still send by the session of the former one.
        sed 's/^PersistentKeepalive = off$/PersistentKeepalive = 25/' "$work/peers.conf" >"$work/peers.dialled"
        try wg addconf "$wireguard" "$work/peers.dialled"
    fi
}

# --- tables ---

# Print the managed entries of a table, as lines of its batch.
list_entries() {
    case $1 in
        route)
            {
                ip -4 route show table main proto 144 | grep -F -e " dev $device "
                # Blackhole routes have no device, and those of direct links and WireGuard have another one; those
                # outside the container CIDRs belong to another task.
                for cidr in $cidrs; do
                    if [ -z "${pod_mtu:-}" ]; then # VXLAN connects all nodes
                        ip -4 route show table main root "$cidr" proto 144 type blackhole
                    else
                        ip -4 route show table main root "$cidr" proto 144 | grep -v -F -e " dev $device "
                    fi
                done
            } 2>/dev/null | without_flags | sed 's/.*/route replace & proto 144/' ;;
        neighbor)
            ip -4 neigh show dev "$device" nud permanent 2>/dev/null |
                sed "s/ *PERMANENT *\$//; s/.*/neigh replace & dev $device nud permanent/" ;;
        fdb)
            bridge fdb show dev "$device" 2>/dev/null |
                sed -n "s/^\([^ ]*\) \(dst .*self permanent\) *\$/fdb replace \1 dev $device \2/p" ;;
    esac
}

# Remove from listed routes what the kernel adds while a link has no carrier.
without_flags() {
    sed -e 's/ dead / /' -e 's/ linkdown / /' -e 's/ *$//'
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
    ip -4 route show table main proto 144 | sed 's/ *$/ /' >"$work/managed"
    ip -4 route show table main | sed -e 's/ proto [^ ]*//' -e 's/ *$/ /' |
        grep -v -F -e " dev $device " -e ' metric ' | grep -v -x -F -f "$work/managed" |
        sed -e 's/^[a-z]* \([0-9]\)/\1/' -e 's/ .*/ /' -e 's/^/route replace /' >"$work/foreign"
    [ -s "$work/foreign" ] && grep -F -f "$work/foreign" "$work/route.put" >"$work/taken" || return
    report_error "a foreign route has the destination of: $(head -n 3 "$work/taken" | tr '\n' ';')"
    grep -v -F -f "$work/foreign" "$work/route.put" >"$work/route.free"
    mv "$work/route.free" "$work/route.put"
}

run_batch() {
    [ -s "$2" ] || return
    object=${2##*/} object=${object%%.*}
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
    if [ -s "$work/route.put" ]; then
        object=route
        keep_foreign_routes
    fi
    for table in route fdb neighbor; do
        object=$table
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
    ip -4 route show table main exact "$subnet" proto 144 2>/dev/null | without_flags >"$work/endpoint"
    if echo "${spec% proto 144}" | cmp -s - "$work/endpoint"; then return; fi
    if [ ! -s "$work/endpoint" ] && ip -4 route show table main exact "$subnet" | grep -q -v -F ' metric '; then
        report_error "a foreign route has the destination of: $line"
        return
    fi
    # shellcheck disable=SC2086 # a line is several words
    try ip $line && report "route $subnet: missing"
}

# --- rules and sysctls ---

# List the rules without the values of the counters, and compare with their record. The metrics need the values: listing
# them once more would take as long as this listing, because nft reads all sets for it.
list_rules() {
    if [ -n "${metrics_dir:-}" ]; then
        nft list table inet tke_overlay >"$work/counted" 2>/dev/null
        # As -s prints it: no values, or zeros in nft 0.9.
        sed -e '/^[[:blank:]]*packets [0-9]* bytes [0-9]*$/d' \
            -e 's/^\([[:blank:]]*packets\) [0-9]* bytes [0-9]*\([[:blank:]]*}\)$/\1 0 bytes 0\2/' \
            "$work/counted" >"$work/rules"
        cmp -s "$work/rules" "$run/rules.listing" && return
    fi
    nft -s list table inet tke_overlay >"$work/rules" 2>/dev/null
    cmp -s "$work/rules" "$run/rules.listing"
}

# The rules are unchanged as long as nft lists what it listed right after they were loaded.
restore_rules() {
    list_rules && cmp -s "$here/rules.nft" "$run/rules.nft" && return
    try nft -f "$here/rules.nft" || return
    nft -s list table inet tke_overlay >"$work/loaded" 2>/dev/null
    if [ ! -s "$work/rules" ]; then report 'rules: missing'
    elif ! cmp -s "$work/rules" "$work/loaded"; then report 'rules: changed'
    fi
    try cp "$work/loaded" "$run/rules.listing"
    try cp "$here/rules.nft" "$run/rules.nft"
}

# Without this module, bridged packets do not pass the address translation of Services.
load_bridge_netfilter() {
    if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then return; fi
    grep -q '^net/bridge/' "$here/sysctl" || return
    object=modules
    if modprobe br_netfilter 2>/dev/null; then report 'module br_netfilter: missing'; fi
    object=sysctls
}

# Print the links by which packets of Pods leave the cluster: those with the underlay address, of the default routes, and
# of the route to the load balancer.
list_outward_links() {
    ip -o address show to "$local" | sed 's/^[0-9]*: \([^ ]*\) .*/\1/'
    {
        ip -4 route show default
        if [ -e "$here/endpoint.batch" ]; then cat "$here/endpoint.batch"; fi
    } | tr ' ' '\n' | sed -n '/^dev$/{n;p;}'
}

# Print all sysctls, those of the file and those of the links that the host has now; for the metrics also the number of
# connections that the kernel tracks, and for how many it has room.
list_sysctls() {
    # Reading a file of /proc needs a program: `read` reads byte by byte, and such a file is empty after the first.
    set -- "$here/sysctl"
    if [ -n "${metrics_dir:-}" ] && [ -e "$conntrack_max" ]; then
        set -- "$@" "${conntrack_max%max}count" "$conntrack_max"
    fi
    cat "$@"
    if [ -z "$bridge" ]; then return; fi # a host without Pods forwards nothing for the overlay
    list_outward_links | sort -u | sed 's,.*,net/ipv4/conf/&/forwarding 1,'
}

conntrack='' conntrack_max=/proc/sys/net/netfilter/nf_conntrack_max

restore_sysctls() {
    load_bridge_netfilter
    list_sysctls >"$work/sysctl"
    while read -r key value; do
        # The Pod bridge does not exist before the first Pod; a link of the list can have vanished.
        case $key in "net/ipv4/conf/$device/"*) ;; net/ipv4/conf/*)
            if [ ! -e "/proc/sys/$key" ]; then continue; fi ;;
        [0-9]*)
            conntrack="$conntrack $key"
            continue ;;
        esac
        found=''
        if [ -e "/proc/sys/$key" ]; then read -r found <"/proc/sys/$key"; fi
        case $key in net/ipv4/neigh/default/*) # a size: the administrator may have set a larger one
            if [ "${found:-0}" -ge "$value" ]; then continue; fi ;;
        esac
        if [ "$found" = "$value" ]; then continue; fi
        if echo "$value" 2>/dev/null >"/proc/sys/$key"; then
            report "sysctl $key: was $found"
        else
            report_error "sysctl $key cannot be set"
        fi
    done <"$work/sysctl"
}

# --- Pod bridge ---

# CNI's bridge plugin creates the bridge with the first Pod, with all of this, and nothing else restores it: network
# managers and people take it away.
restore_bridge() {
    if [ -z "$bridge" ]; then return; fi # a host without Pods
    differs=''
    if ! ip -o -d link show dev "$bridge" >"$work/link" 2>/dev/null; then
        compare_ports
        if [ "$ports" = 0 ]; then return; fi # there was no Pod yet
        bridge_line=missing differs=missing
        try ip link add dev "$bridge" type bridge || return
        ip -o -d link show dev "$bridge" >"$work/link"
    fi
    read -r line <"$work/link"
    # shellcheck disable=SC2034 # metrics.sh reads it
    bridge_line=$line
    case "$line " in *" bridge "*) ;; *)
        report_error "$bridge is not a bridge: another program has created it"
        return 1 ;;
    esac
    : >"$work/set"
    case $line in *[\<,]UP[,\>]*) ;; *) correct 'down' "link set $bridge up" ;; esac
    if ! ip -o -4 address show dev "$bridge" | grep -q -F " $gateway "; then
        correct "missing $gateway" "address replace $gateway brd + dev $bridge"
    fi
    # The route comes with state and address, but it can be missing alone.
    if [ -z "$differs" ] && [ -z "$(ip -4 route show table main exact "$node_cidr" dev "$bridge")" ]; then
        correct "missing route $node_cidr" \
            "route replace $node_cidr dev $bridge src ${gateway%/*} proto kernel scope link"
    fi
    compare_ports
    if [ -z "$differs" ]; then return; fi
    try ip -force -batch "$work/set"
    report "bridge $bridge: $differs"
}

# Put the links of Pods back that are off the bridge, and turn hairpin mode on again.
compare_ports() {
    ports=0 hairpins=0
    ip -o -d link show type veth >"$work/veths"
    while read -r _number name line; do
        port=${name%%@*}
        case "$port $line" in
            veth*" master $bridge "*' hairpin off '*) hairpins=$((hairpins + 1)) without=$port ;;
            veth*' master '*) continue ;;
            veth*)
                is_pods "$port" "$name" "$line" || continue
                ports=$((ports + 1)) stray=$port
                echo "link set $port master $bridge up" >>"$work/set" ;;
            *) continue ;;
        esac
        echo "link set $port type bridge_slave hairpin on" >>"$work/set"
    done <"$work/veths"
    if [ "$ports" -gt 0 ]; then differs="$differs${differs:+, }missing ports: $ports, such as $stray"; fi
    if [ "$hairpins" -gt 0 ]; then differs="$differs${differs:+, }hairpin mode off: $hairpins ports, such as $without"; fi
}

# Succeed if a veth without a bridge belongs to the Pod bridge: its other end is in a named namespace, where it has an
# address of the node CIDR with that prefix length; and no route leads to a Pod through it, as with CNI's plugin ptp.
is_pods() {
    case "$2 $3" in *@if*' link-netns '*) ;; *) return 1 ;; esac
    peer=${2##*@if}
    netns=${3##* link-netns }
    ip -n "${netns%%[ \\]*}" -o -4 address show to "$node_cidr" 2>/dev/null |
        grep -q "^${peer%:}: .* inet [^ ]*/${gateway#*/} " || return
    [ -z "$(ip -4 route show table main root "$node_cidr" dev "$1" 2>/dev/null)" ]
}

# --- names of the API endpoint ---

# Put back the block in /etc/hosts, if api_endpoint has written one and another program, such as cloud-init at boot, has
# removed or changed it. endpoint.hosts has the path of the file in its first line, then the block.
restore_hosts() {
    [ -s "$here/endpoint.hosts" ] || return
    if ! grep -q '  endpoint\.hosts$' "$here/endpoint.checksums" 2>/dev/null ||
        ! (cd "$here" && grep '  endpoint\.hosts$' endpoint.checksums | sha256sum --status -c -); then
        report_error "the saved state is damaged: $here/endpoint.hosts; run tke.overlay.site"
        return
    fi
    { read -r hosts && cat >"$work/block"; } <"$here/endpoint.hosts"
    hosts=$(readlink -f "$hosts") || return
    if [ -e "$hosts" ]; then cp "$hosts" "$work/hosts" || return; else : >"$work/hosts"; fi
    # As in etc_hosts.py: the block is the lines between the markers, which must be a pair.
    begin=$(grep -n '^# BEGIN tke\.overlay' "$work/hosts" | cut -d : -f 1)
    end=$(grep -n '^# END tke\.overlay[[:space:]]*$' "$work/hosts" | cut -d : -f 1)
    case "$begin/$end" in
        /)
            cp "$work/hosts" "$work/above"
            : >"$work/below"
            # A last line without its end must not become one with the block.
            if [ -n "$(tail -c 1 "$work/above")" ]; then echo >>"$work/above"; fi
            found='missing' ;;
        [0-9]*/[0-9]*)
            if [ "$(echo "$begin$end" | wc -l)" -gt 1 ] || [ "$begin" -gt "$end" ]; then
                report_error "$hosts has markers of the block of tke.overlay that are no pair: remove these lines"
                return
            fi
            sed -n "$begin,${end}p" "$work/hosts" | cmp -s - "$work/block" && return
            head -n "$((begin - 1))" "$work/hosts" >"$work/above"
            tail -n "+$((end + 1))" "$work/hosts" >"$work/below"
            found='changed' ;;
        *)
            report_error "$hosts has markers of the block of tke.overlay that are no pair: remove these lines"
            return ;;
    esac
    keep_foreign_names || return
    cat "$work/above" "$work/block" "$work/below" >"$work/hosts.new" && write_hosts && report "$hosts: block $found"
}

# The block does not override a foreign line that gives one of its names another address: report an error instead.
keep_foreign_names() {
    cat "$work/above" "$work/below" | sed 's/#.*//' | tr 'A-Z\t' 'a-z ' >"$work/foreign.names"
    grep -v '^#' "$work/block" >"$work/names"
    while read -r expected name; do
        grep -F -e " $name" "$work/foreign.names" | while read -r other names; do
            case " $names " in *" $name "*) if [ "$other" != "$expected" ]; then echo "$name $other"; fi ;; esac
        done
    done <"$work/names" >"$work/conflicts"
    [ -s "$work/conflicts" ] || return 0
    report_error "a foreign line of $hosts has another address of: $(tr '\n' ';' <"$work/conflicts")"
    return 1
}

# Replace the file in one step, with the mode, owner and attributes of the present one. A mounted file cannot be
# replaced, and is written in place.
write_hosts() {
    rm -f "${hosts%/*}"/.hosts.tke-overlay.* # of a run that was killed
    beside=$(mktemp "${hosts%/*}/.hosts.tke-overlay.XXXXXX" 2>"$work/errors") || beside=''
    if [ -n "$beside" ]; then
        if [ -e "$hosts" ]; then cp --preserve=all "$hosts" "$beside" 2>"$work/errors"; else chmod 644 "$beside"; fi &&
            cat "$work/hosts.new" >"$beside" && sync "$beside" && unchanged_hosts &&
            mv -f "$beside" "$hosts" 2>"$work/errors" && return
        rm -f "$beside"
    fi
    if unchanged_hosts && [ -e "$hosts" ] && cat "$work/hosts.new" 2>"$work/errors" >"$hosts"; then return; fi
    report_error "$hosts cannot be changed: $(head -n 1 "$work/errors")"
    return 1
}

# Another program that changes the file at this moment wins; the next run looks again.
unchanged_hosts() {
    [ ! -e "$hosts" ] || cmp -s "$hosts" "$work/hosts"
}

# The names come first: they need nothing of the rest. The rules come before the link, so that no packet that they drop
# arrives through it.
object=hosts
restore_hosts
object=''
intact settings || exit 1
object=rules
if intact rules.nft; then restore_rules; fi
object='link'
if intact link.batch; then restore_link; fi
# Rules and routes keep packets from leaving in clear while there is no WireGuard.
object=wireguard
if intact wireguard; then restore_wireguard; fi
object=sysctls
if intact sysctl; then restore_sysctls; fi
object=bridge
restore_bridge
if intact route.batch fdb.batch neighbor.batch; then restore_tables; fi
object=endpoint_route
restore_endpoint_route

if [ -n "$changes" ]; then echo "${notice}tke-overlay: restored: $changes"; fi
# In a process of its own, because nothing that goes wrong there concerns the network.
if [ -n "${metrics_dir:-}" ] && intact metrics metrics.sh; then
    # shellcheck source=/dev/null
    (. "$here/metrics.sh")
fi
exit "$failed"
