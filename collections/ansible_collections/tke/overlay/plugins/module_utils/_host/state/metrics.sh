#!/bin/sh
# Written by tke.overlay; changes are lost with its next run.
#
# Writes the metrics of a node for node_exporter: those that the file metrics beside this script lists, with the values
# of this run. The restore script reads this file at its end, in a process of its own, and this file uses its variables
# and functions.

# shellcheck disable=SC2154 # the restore script sets them
: "$here $run $work $failed $damaged $repaired $failures $device $bridge $device_line $bridge_line $no_room $cidrs $booted"
: "$now $applied $checked $conntrack"
# Set by the file settings. metrics_file is a name in metrics_dir; objects are the values of the label of that name;
# cni_file is a path, cni_plugins are names, cni_dirs and runtimes are paths between colons, wireguard_devices are names.
: "$metrics_dir $metrics_file $objects $cni_file $cni_plugins $cni_dirs $runtimes ${wireguard_devices:=}"

directory=${TKE_OVERLAY_ROOT:-}$metrics_dir # a test sets that root

# Keep a value of this run, which is a number, for the file metrics. Some names are those that nft prints.
set_value() {
    case "${2:-}" in '' | *[!0-9]*) return ;; esac
    case "$1" in *[!a-z0-9_]*) return ;; esac
    eval "value_$1=\$2"
}

# The file metrics calls these two, so that no program must fill in its text: lines as they are, and a series with its
# value. A series without a value is left out.
text=''
add_lines() {
    text="$text$1
"
}

add_series() {
    if [ -n "$2" ]; then add_lines "$1 $2"; fi
}

# --- counters since the boot ---

write_errors=0 write_failed=0
for each in $objects; do eval "repairs_$each=0 drift_$each=0"; done

# Read the counters, but no line that this script does not write.
read_counters() {
    [ -e "$run/metrics.counters" ] || return
    while read -r name value; do
        case "$value" in '' | *[!0-9]*) continue ;; esac
        case "$name" in
            write_errors | write_failed) eval "$name=$value" ;;
            repairs_*) case " $objects " in *" ${name#repairs_} "*) eval "$name=$value" ;; esac ;;
        esac
    done <"$run/metrics.counters"
}

save_counters() {
    {
        echo "write_errors $write_errors"
        echo "write_failed $write_failed"
        for each in $objects; do eval "echo repairs_$each \$repairs_$each"; done
    } >"$run/metrics.counters.new" && mv -fT "$run/metrics.counters.new" "$run/metrics.counters"
}

count_results() {
    counted=$repaired
    if [ -n "$booted" ]; then counted=''; fi
    for each in $counted; do eval "repairs_$each=\$((repairs_$each + 1))"; done
    for each in $failures; do eval "drift_$each=\$((drift_$each + 1))"; done
    if [ -n "$counted" ]; then save_counters; fi
    for each in $objects; do
        eval "set_value repairs_$each \$repairs_$each; set_value drift_$each \$drift_$each"
    done
}

# --- what was seen ---

# Set the value of a finding: 1 if the command succeeds.
find_obstacle() {
    finding=$1
    shift
    if "$@"; then set_value "finding_$finding" 1; else set_value "finding_$finding" 0; fi
}

# Whether a sysctl exists and is 0.
is_off() {
    [ -e "/proc/sys/$1" ] && read -r found <"/proc/sys/$1" && [ "$found" = 0 ]
}

is_forwarding_off() {
    is_off net/ipv4/ip_forward || is_off "net/ipv4/conf/$device/forwarding" || is_off "net/ipv4/conf/$bridge/forwarding"
}

is_bridge_netfilter_off() {
    [ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || is_off net/bridge/bridge-nf-call-iptables
}

# Whether the kernel has no room for further connections.
is_conntrack_full() {
    # shellcheck disable=SC2086 # two words: connections, and room for them
    set -- $conntrack
    [ "${2:-0}" -gt 0 ] && [ $(($1 * 50)) -ge $(($2 * 49)) ]
}

# Whether this host runs Pods and a plugin is in none of the directories.
is_plugin_missing() {
    exists_one "$runtimes" '' || return
    for plugin in $cni_plugins; do
        exists_one "$cni_dirs" "/$plugin" || return 0
    done
    return 1
}

# Whether one of the paths between colons, with this end, exists.
exists_one() {
    paths=$1:
    while [ -n "$paths" ]; do
        if [ -e "${TKE_OVERLAY_ROOT:-}${paths%%:*}$2" ]; then return; fi
        paths=${paths#*:}
    done
    return 1
}

# Whether a table of another program drops the forwarded packets that it does not name, and names neither the bridge nor
# a container CIDR: one that has a chain with the policy drop, or is firewalld's. overlay_info finds other rules, too.
is_firewall_closed() {
    chains=$(nft list chains 2>/dev/null)
    case "$chains" in *'hook forward '*'policy drop;'* | *'table inet firewalld'*) ;; *) return 1 ;; esac
    set -- -e "$bridge"
    for cidr in $cidrs; do set -- "$@" -e "$cidr"; done
    echo "$chains" | sed -n "$closed_tables" >"$work/closed"
    while read -r family table; do
        listing=$(nft list table "$family" "$table" 2>/dev/null)
        if echo "$listing" | grep -q '^[[:blank:]]flags .*dormant'; then continue; fi # the kernel passes over it
        echo "$listing" | grep -q -w -F "$@" || return 0
    done <"$work/closed"
    return 1
}

# Commands of sed that print family and name of each table with a closed chain.
closed_tables='/^table inet firewalld /{s/^table inet firewalld .*/inet firewalld/p;d;}
s/^table \(inet\|ip\|bridge\) \([^ ]*\) .*/\1 \2/
t name
/hook forward .*policy drop;/{x;p;x;}
d
:name
h'

find_obstacles() {
    find_obstacle damaged_files [ -n "$damaged" ]
    find_obstacle no_room [ "$no_room" = 1 ]
    find_obstacle conntrack is_conntrack_full
    if [ -z "$bridge" ]; then return; fi # a host without Pods
    find_obstacle forwarding is_forwarding_off
    find_obstacle bridge_netfilter is_bridge_netfilter_off
    case " $failures " in *' bridge '*) set_value finding_port 1 ;; *) set_value finding_port 0 ;; esac
    find_obstacle cni_file [ ! -e "${TKE_OVERLAY_ROOT:-}$cni_file" ]
    find_obstacle plugins is_plugin_missing
    find_firewall
}

# List the chains of all programs every five minutes only: kube-proxy alone can have thousands. While a firewall is
# closed, look at each run.
find_firewall() {
    last=0
    if [ -e "$run/metrics.firewall" ]; then read -r last <"$run/metrics.firewall"; fi
    # A clock that was corrected can be behind the last time.
    if [ "$last" = 1 ] || [ $((now - checked)) -ge 300 ] || [ "$checked" -gt "$now" ]; then
        if is_firewall_closed; then last=1; else last=0; fi
        echo "$last" >"$run/metrics.firewall"
    fi
    set_value finding_firewall "$last"
}

# Set the packets that the rules have dropped, by the names of their counters, which nft lists first.
read_dropped() {
    [ -e "$work/counted" ] || return
    while read -r word name _rest; do
        case $word in
            counter) reason=$name ;;
            packets) set_value "dropped_$reason" "$name" ;;
            set | chain) break ;;
        esac
    done <"$work/counted"
}

# Set state and MTU of a link, from its line in the listing of ip; list it again if its object, $1, was repaired, or was
# not compared because the saved state is damaged. $4 is the end of the words in the text, if it is another one than the
# object.
read_link() {
    line=$3
    case "$repaired " in *" $1 "*) line='' ;; esac
    if [ -z "$line" ]; then line=$(ip -o link show dev "$2" 2>/dev/null); fi
    line=${line:- mtu 0}
    case $line in *[\<,]UP[,\>]*) set_value "up_${4:-$1}" 1 ;; *) set_value "up_${4:-$1}" 0 ;; esac
    line=${line#* mtu }
    set_value "mtu_${4:-$1}" "${line%% *}"
}

read_links() {
    read_link link "$device" "$device_line"
    # The CNI plugin creates the bridge with the first Pod.
    if [ -n "$bridge_line" ]; then read_link bridge "$bridge" "${bridge_line#missing}"; fi
    for wireguard in $wireguard_devices; do
        line=''
        if [ -s "$work/$wireguard.link" ]; then read -r line <"$work/$wireguard.link"; fi
        read_link wireguard "$wireguard" "$line" "${wireguard#tke-}"
    done
}

# --- writing ---

# Replace the file in one step. Its directory can belong to another user, who must not know the name of the new file
# before it exists (noclobber), nor be able to write it. The file system can hang, as NFS does without its server: so
# this is a process of its own, which timeout kills together with itself. A process that cannot be killed stays.
replace_file() {
    if [ "$write_failed" = 1 ] && is_writer_left; then
        echo 'a former process still hangs in that directory'
        return 1
    fi
    read -r name </proc/sys/kernel/random/uuid
    # shellcheck disable=SC2016 # the inner shell expands them
    timeout -s KILL 5 sh -c 'umask 022
        set -C
        for left in "${2%.*}".*; do # of writers that were killed
            if [ -e "$left" ]; then rm -f "$left"; fi
        done
        printf %s "$1" >"$2" && mv -fT "$2" "$3" && exit
        rm -f "$2"
        exit 1' sh "$text" "$directory/.$metrics_file.$name" "$directory/$metrics_file" \
        </dev/null 2>&1 8>"$run/metrics.lock" 9>&-
    code=$?
    if [ "$code" -gt 128 ]; then echo 'the directory did not answer for 5 s'; fi
    return "$code"
}

# Whether a process has the file open as a writer has it.
is_writer_left() {
    for each in /proc/[0-9]*/fd/8; do
        # shellcheck disable=SC3013 # dash, bash and busybox have it
        if [ "$each" -ef "$run/metrics.lock" ]; then return; fi
    done
    return 1
}

read_counters
count_results
set_value now "$now"
set_value applied "$applied"
find_obstacles
read_dropped
read_links
set_value failed "$failed"
set_value write_errors "$write_errors"
# shellcheck source=/dev/null
. "$here/metrics"
if replace_file >"$work/metrics.errors" 2>/dev/null; then
    # The next failure is reported again.
    if [ "$write_failed" = 1 ]; then write_failed=0 && save_counters; fi
else
    write_errors=$((write_errors + 1))
    if [ "$write_failed" = 0 ]; then
        echo "${warning}tke-overlay: the metrics cannot be written to $metrics_dir (overlay_metrics_dir):" \
            "$(tail -n 1 "$work/metrics.errors")" >&2
    fi
    write_failed=1
    save_counters
fi
