#!/bin/sh
# Written by tke.overlay; here only while a change waits for its confirmation.
#
# Saves the change whose token is given: what the kernel holds now is what the host comes back with from here on.
# Exit code 3: this change does not wait (any more).

set -u
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}

[ -e "$here/settings" ] || exit 3
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # come from there
: "$root $run $token"

exec 9>"$run/lock"
flock -w 20 9 || exit 1
# Undone meanwhile, or just being undone.
if [ ! -e "$here/deadline" ] || [ "${1:-}" != "$token" ]; then exit 3; fi

give_up() {
    echo "tke-overlay: $*" >&2
    exec 9>&-
    /bin/sh "$here/undo" "it could not be saved: $*" >&2
    exit 1
}

# Every file as a whole or not at all: all lie beside their places, safe on the disk, before the first takes its own.
# What goes to one directory goes together, as every process costs time.
lay_beside() {
    set --
    for list in directories last; do
        while read -r directory; do set -- "$@" "$root$directory/.tke-overlay"; done <"$here/$list"
    done
    [ "$#" -gt 0 ] || return 0
    # A loss of power may have left something there.
    rm -rf "$@" && mkdir -p "$@" || return
    for beside; do
        directory=${beside#"$root"}
        cp "$here/new${directory%/*}"/* "$beside/" || return
        set -- "$@" "$beside"/*
        shift
    done
    sync "$@"
}

# The files of the saved state only make sense together. From the moment when they all have the other name they count:
# should the power fail before each is in its place, the script of the saved state goes on with it.
place() {
    while read -r directory; do
        beside=$root$directory/.tke-overlay
        case $directory in */tke-overlay)
            mv "$beside" "$root$directory/.confirmed" || return
            beside=$root$directory/.confirmed ;;
        esac
        mv -f "$beside"/* "$root$directory/" && rmdir "$beside" || return
    done <"$1"
}

# What is told to be saved is not lost with the power: the new names, too, are on the disk.
keep_names() {
    set --
    for list in directories last; do
        while read -r directory; do set -- "$@" "$root$directory"; done <"$here/$list"
    done
    if [ "$#" -gt 0 ]; then sync "$@"; fi
}

lay_beside 2>"$here/errors" || give_up "$(cat "$here/errors")"
place "$here/directories" 2>"$here/errors" || give_up "$(cat "$here/errors")"
while read -r path; do rm -f "$root$path"; done <"$here/gone"
while read -r command; do
    # shellcheck disable=SC2086 # a line is words
    $command </dev/null 2>"$here/errors" || give_up "$command: $(cat "$here/errors")"
done <"$here/units"
# With the CNI configuration, a kubelet takes the network for ready.
place "$here/last" 2>"$here/errors" || give_up "$(cat "$here/errors")"
keep_names 2>"$here/errors" || give_up "$(cat "$here/errors")"

while read -r path; do rm -f "$root$path"; done <"$here/passing"
if [ -d "$root/run/systemd/system" ]; then systemctl --quiet stop tke-overlay-undo.timer 2>/dev/null; fi
rm -f "$run/rolled-back"
# At once, so that nobody finds half of it.
mv "$here" "$run/confirmed.$$" && rm -rf "$run/confirmed.$$"
