#!/bin/sh
# Written by tke.overlay; exists only while the Pods of a conformance test run.
#
# Starts and removes these Pods:
#   pods netns POD            makes the network namespace of a Pod
#   pods add POD NUMBER       runs a plugin of the CNI configuration and prints its result
#   pods remove               removes all of them, and what CNI plugins leave behind
# The module runs "remove" at the end, and before the next test; tke-overlay-conformance.timer runs "remove expired" at
# the deadline. It is harmless at any time. Every call holds the lock, so a plugin whose module was killed ends first.

set -u
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}

exec 8>"$here.lock"
flock -w 90 8 || { echo "another process has held $here.lock for 90 s" >&2; exit 1; }

# Prints a file of one line, or nothing.
line_of() {
    if [ -e "$1" ]; then IFS= read -r line <"$1" && printf '%s' "$line"; fi
}

# plugin ADD|DEL POD NUMBER
plugin() {
    timeout -k 5 30 env \
        CNI_COMMAND="$1" CNI_IFNAME=eth0 CNI_PATH="$(line_of "$here/cni-path")" \
        CNI_CONTAINERID="$(line_of "$here/pod/$2/id")" CNI_NETNS="$(line_of "$here/pod/$2/path")" \
        CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=tke-overlay;K8S_POD_NAME=conformance-$2" \
        "$(line_of "$here/pod/$2/$3.plugin")" <"$here/pod/$2/$3.$1"
}

case $1 in
    netns | add)
        if [ ! -e "$here/pod/$2/id" ]; then
            echo "the Pods of this test were removed: by its deadline, or by another test" >&2
            exit 1
        fi
        ;;
esac
case $1 in
    netns)
        name=$(line_of "$here/pod/$2/netns")
        ip netns add "$name" && ip -n "$name" link set lo up
        exit
        ;;
    add)
        echo "$3" >"$here/pod/$2/begun"
        plugin ADD "$2" "$3" 8>&-
        exit
        ;;
esac

# --- remove ---

faults=''

# Runs the plugins of a Pod in reverse, from the last one that was begun.
delete_pod() {
    name=$(line_of "$here/pod/$1/netns")
    tries=0
    while pids=$(ip netns pids "$name" 2>/dev/null) && [ -n "$pids" ] && [ "$tries" -lt 100 ]; do
        # shellcheck disable=SC2086 # a list of numbers
        kill -KILL $pids 2>/dev/null
        tries=$((tries + 1))
        sleep 0.05
    done
    number=$(line_of "$here/pod/$1/begun")
    while [ -n "$number" ] && [ "$number" -ge 0 ]; do
        if ! fault=$(plugin DEL "$1" "$number" 8>&- 2>&1); then
            faults="$faults$(line_of "$here/pod/$1/$number.plugin") DEL: $fault
"
        fi
        number=$((number - 1))
    done
    if [ -e "/run/netns/$name" ]; then
        fault=$(ip netns del "$name" 2>&1) || faults="$faults$fault
"
    fi
}

# Leases that their plugin has not released: the first line of the file is the container, with a carriage return.
release_leases() {
    leases=$(line_of "$here/before/leases")
    [ -n "$leases" ] || return
    owner=''
    for file in "$leases"/*.*.*.*; do
        IFS= read -r owner 2>/dev/null <"$file"
        for pod in "$here"/pod/*; do
            id=$(line_of "$pod/id")
            case $owner in "$id" | "$id"?) rm -f "$file" ;; esac
        done
    done
    if [ -e "$here/before/no-leases" ] && ! ls "$leases"/*.*.*.* >/dev/null 2>&1; then
        rm -f "$leases"/last_reserved_ip.* "$leases/lock"
        rmdir "$leases" 2>/dev/null
        if [ -e "$here/before/no-networks" ]; then rmdir "${leases%/*}" 2>/dev/null; fi
    fi
}

# The plugin portmap leaves its chains when the last host port is gone. They are removed if they were made since.
remove_chains() {
    family=$1 program=$2
    [ -e "$here/before/no-chains-$family" ] || return
    if ! nft list table "$family" nat >/dev/null 2>&1 && ! grep -qs '^nat$' "/proc/net/${program%tables}_tables_names"; then
        return
    fi
    rules=$("$program" -w 5 -t nat -S 2>/dev/null) || return
    case $rules in *'-N CNI-DN-'*) return ;; *'-N CNI-HOSTPORT-'*) ;; *) return ;; esac
    chains=$(printf '%s\n' "$rules" | sed -n 's/^-N \(CNI-HOSTPORT-[A-Z]*\)$/\1/p')
    {
        echo '*nat'
        printf '%s\n' "$rules" | sed -n '/ -j CNI-HOSTPORT-[A-Z]*$/s/^-A \([A-Z]*\) /-D \1 /p'
        printf '%s\n' "$chains" | sed 's/^/-F /'
        printf '%s\n' "$chains" | sed 's/^/-X /'
        echo COMMIT
    } | "$program-restore" -w 5 --noflush 2>/dev/null
}

# The base chains that iptables adds to a table that was there before; they go if they were made since and have no rule.
remove_base_chains() {
    for name in $(line_of "$here/before/no-base-chains-$1"); do
        listing=$(nft list chain "$1" nat "$name" 2>/dev/null) || continue
        if ! has_rules "$listing"; then nft delete chain "$1" nat "$name" 2>/dev/null; fi
    done
}

# Whether a listing of a chain or table has more than its head.
has_rules() {
    printf '%s\n' "$1" | grep -Eqv '^(#.*|table .*|[[:space:]]*(chain .*|type .*|})?)$'
}

# Deletes a table that was made since and has no rule; with $3, one that has no such rule.
remove_table() {
    [ -e "$here/before/no-table-$1-$2" ] || return
    listing=$(nft list table "$1" "$2" 2>/dev/null) || return
    if [ -n "${3:-}" ]; then
        case $listing in *"$3"*) return ;; esac
    elif has_rules "$listing"; then
        return
    fi
    nft delete table "$1" "$2" 2>/dev/null
}

if [ -d "$here/pod" ]; then
    for pod in "$here"/pod/*; do
        if [ -e "$pod/id" ]; then delete_pod "${pod##*/}"; fi
    done
fi
printf 'table ip tke_overlay_conformance\ndelete table ip tke_overlay_conformance\n' | nft -f - 2>/dev/null
release_leases
if command -v iptables-restore >/dev/null 2>&1; then
    remove_chains ip iptables
    remove_chains ip6 ip6tables
fi
remove_base_chains ip
remove_base_chains ip6
remove_table ip nat
remove_table ip6 nat
remove_table ip cni_hostport 'dnat '
remove_table ip6 cni_hostport 'dnat '
remove_table inet cni_hostport 'dnat '
localnet=$(line_of "$here/before/route-localnet")
if [ -n "$localnet" ] && [ -e "$localnet" ] && ! nft list ruleset 2>/dev/null | grep -q 'CNI-DN-\|cni_hostport'; then
    echo 0 >"$localnet"
fi
bridge=$(line_of "$here/before/no-bridge")
if [ -n "$bridge" ] && ports=$(ip link show master "$bridge" 2>/dev/null) && [ -z "$ports" ]; then
    ip link del "$bridge"
fi
if [ -n "$faults" ]; then
    printf '%s' "$faults" >&2
    exit 1
fi
supervisor=$(line_of "$here/supervisor")
rm -rf "$here"
if [ "${2:-}" = expired ]; then
    exit 0
elif [ -n "$supervisor" ]; then
    # Without systemd, a process group that waits for the deadline.
    kill -s KILL -- "-$supervisor" 2>/dev/null
else
    systemctl --quiet stop tke-overlay-conformance.timer 2>/dev/null
fi
exit 0
