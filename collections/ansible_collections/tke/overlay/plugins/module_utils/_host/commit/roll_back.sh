#!/bin/sh
# Written by tke.overlay; exists only while a change is pending.
#
# Restores what was there before the change, and prints the reason. tke-overlay-rollback.timer runs it at the deadline,
# and the module at once if something failed; harmless at any time before the confirmation.

set -u
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}

reason=${1:-it was run by hand}
warning=''
if [ -n "${JOURNAL_STREAM:-}" ]; then warning='<4>'; fi

# One rollback at a time.
exec 8<"$0"
flock 8
[ -e "$here/settings" ] || exit 0
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # set by the file
: "$root $run $token $base $device $module_pid $lock_seconds"

exec 9>"$run/lock"
if ! flock -w "$lock_seconds" 9; then
    # The module that makes the change hangs.
    kill -KILL "$module_pid" 2>/dev/null
    flock -w 10 9
fi
# Confirmed in the meantime.
[ -e "$here/settings" ] || exit 0
# The restore script may change the kernel again.
rm -f "$here/deadline"

# --- files: those that an interrupted confirmation has placed, and drop-ins ---

systemd() {
    if [ -d "$root/run/systemd/system" ]; then systemctl --quiet "$@"; fi
}

# Restores a file; false if it has not changed. What fails is added to $unrestored.
unrestored=''
restore_file() {
    if [ -e "$here/old$1" ]; then
        if cmp -s "$here/old$1" "$root$1"; then return 1; fi
        if fault=$(cp "$here/old$1" "$root$1.new" 2>&1 && mv -f "$root$1.new" "$root$1" 2>&1); then return 0; fi
        rm -f "$root$1.new"
    else
        if [ ! -e "$root$1" ]; then return 1; fi
        if fault=$(rm -f "$root$1" 2>&1); then return 0; fi
    fi
    unrestored="$unrestored$1: $fault "
    return 1
}

units=''
while read -r path; do
    case $path in
        */tke-overlay.service | */tke-overlay.timer)
            if [ ! -e "$here/old$path" ] && [ -e "$root$path" ]; then
                systemd disable --now "${path##*/}" </dev/null
            fi
            if restore_file "$path"; then units=yes; fi ;;
        */tke-overlay-wireguard@.service)
            units=yes
            restore_file "$path" ;;
        *) restore_file "$path" ;;
    esac
done <"$here/files"
cat "$here/directories" "$here/last" |
    while read -r directory; do rm -rf "$root$directory/.tke-overlay" "$root$directory/.confirmed"; done
while read -r path; do rm -f "$root$path"; done <"$here/temporary"
if [ -n "$units" ]; then
    systemd daemon-reload
    if [ -e "$root/etc/systemd/system/tke-overlay.timer" ]; then systemd restart tke-overlay.timer; fi
fi
rmdir "$root/etc/tke-overlay" 2>/dev/null
# Where the change has left no room, the restore script and the record need some.
rm -rf "$here/new" "$here/old"

# --- kernel ---

run_lines() {
    while read -r line; do
        # shellcheck disable=SC2086 # a line is a list of words
        $line </dev/null 2>/dev/null
    done <"$1"
}

# A command of these lists.
# shellcheck disable=SC2317,SC2329 # called by its name in a line
set_sysctl() { echo "$2" >"/proc/sys/$1"; }

# Restores the kernel's tables and prints what differed; on a host that was no node, prints what exists.
restore_kernel() {
    if [ -n "$base" ]; then
        TKE_OVERLAY_RUN="$run" /bin/sh "$base/restore" 2>&1
    else
        ip -o link show dev "$device" 2>/dev/null
        nft -t list table inet tke_overlay 2>/dev/null
    fi
}

one_line() { tr '\n' ' ' | sed 's/ *$//'; }

run_lines "$here/removals"
if [ -z "$base" ]; then rm -f "$run/rules.nft" "$run/rules.listing"; fi
while read -r key value; do echo "$value" >"/proc/sys/$key"; done <"$here/sysctls"
run_lines "$here/additions"
# The restore script takes the lock itself.
exec 9>&-
if [ -n "$base" ]; then restore_kernel; fi
run_lines "$here/afterwards"
# A second run finds no difference if everything is as before. That it has to work elsewhere is none.
left=$unrestored$(restore_kernel | grep -v 'no room for the files of this script' | one_line)

printf '%s\n' "$token" "${left:-complete}" "$(echo "$reason" | one_line)" >"$run/rolled-back"
systemd stop tke-overlay-rollback.timer 2>/dev/null
rm -rf "$here"
echo "${warning}tke-overlay: rolled a change back: $reason"
if [ -n "$left" ]; then
    echo "${warning}tke-overlay: not as before: $left" >&2
    exit 1
fi
