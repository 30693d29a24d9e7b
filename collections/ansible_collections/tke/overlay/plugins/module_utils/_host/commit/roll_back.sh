#!/bin/sh
# Written by tke.overlay; here only while a change waits for its confirmation.
#
# Brings back what was there before the change, and says why. Run by tke-overlay-undo.timer when the time is over,
# and at once when something went wrong; harmless at any time before the confirmation.

set -u
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}

reason=${1:-asked for by hand}
warning=''
if [ -n "${JOURNAL_STREAM:-}" ]; then warning='<4>'; fi

# One at a time.
exec 8<"$0"
flock 8
[ -e "$here/settings" ] || exit 0
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # come from there
: "$root $run $token $base $device $maker $patience"

exec 9>"$run/lock"
if ! flock -w "$patience" 9; then
    # Whoever made the change hangs in the middle of it.
    kill -KILL "$maker" 2>/dev/null
    flock -w 10 9
fi
# Confirmed meanwhile.
[ -e "$here/settings" ] || exit 0
# The script of the saved state may look again.
rm -f "$here/deadline"

# --- files: only those that a confirmation has got as far as, and drop-ins ---

systemd() {
    if [ -d "$root/run/systemd/system" ]; then systemctl --quiet "$@"; fi
}

# Puts a file back; false if it is as it was.
back() {
    if [ -e "$here/old$1" ]; then
        if cmp -s "$here/old$1" "$root$1"; then return 1; fi
        cp "$here/old$1" "$root$1.new" && mv -f "$root$1.new" "$root$1"
    else
        if [ ! -e "$root$1" ]; then return 1; fi
        rm -f "$root$1"
    fi
}

units=''
while read -r path; do
    case $path in
        */tke-overlay.service | */tke-overlay.timer)
            if [ ! -e "$here/old$path" ] && [ -e "$root$path" ]; then
                systemd disable --now "${path##*/}" </dev/null
            fi
            if back "$path"; then units=yes; fi ;;
        *) back "$path" ;;
    esac
done <"$here/files"
cat "$here/directories" "$here/last" >"$here/all"
while read -r directory; do rm -rf "$root$directory/.tke-overlay" "$root$directory/.confirmed"; done <"$here/all"
while read -r path; do rm -f "$root$path"; done <"$here/passing"
if [ -n "$units" ]; then
    systemd daemon-reload
    if [ -e "$root/etc/systemd/system/tke-overlay.timer" ]; then systemd restart tke-overlay.timer; fi
fi
rmdir "$root/etc/tke-overlay" 2>/dev/null

# --- kernel ---

lines() {
    while read -r line; do
        # shellcheck disable=SC2086 # a line is words
        $line </dev/null 2>/dev/null
    done <"$1"
}

left() {
    if [ -n "$base" ]; then
        TKE_OVERLAY_RUN="$run" /bin/sh "$base/restore" 2>&1
    else
        ip -o link show dev "$device" 2>/dev/null
        nft -t list table inet tke_overlay 2>/dev/null
    fi
}

one_line() { tr '\n' ' ' | sed 's/ *$//'; }

lines "$here/surplus"
if [ -z "$base" ]; then rm -f "$run/rules.nft" "$run/rules.listing"; fi
while read -r key value; do echo "$value" >"/proc/sys/$key"; done <"$here/sysctls"
# The script takes the lock itself.
exec 9>&-
if [ -n "$base" ]; then left; fi
lines "$here/again"
# Looked at once more: now there is nothing to tell.
left=$(left | one_line)

printf '%s\n' "$token" "${left:-whole}" "$(echo "$reason" | one_line)" >"$run/rolled-back"
systemd stop tke-overlay-undo.timer 2>/dev/null
rm -rf "$here"
echo "${warning}tke-overlay: rolled a change back: $reason"
if [ -n "$left" ]; then
    echo "${warning}tke-overlay: not as before: $left" >&2
    exit 1
fi
