#!/bin/sh
# Written by tke.overlay; exists only while a change is pending.
#
# Saves the pending change whose token is given: from then on the host starts with what the kernel holds now.
# Exit code 3: this change is not pending (any more).

set -u
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=${0%/*}

[ -e "$here/settings" ] || exit 3
# shellcheck source=/dev/null
. "$here/settings"
# shellcheck disable=SC2154 # set by the file
: "$root $run $token"

exec 9>"$run/lock"
flock -w 20 9 || exit 1
# Rolled back in the meantime, or being rolled back now.
if [ ! -e "$here/deadline" ] || [ "${1:-}" != "$token" ]; then exit 3; fi

give_up() {
    echo "tke-overlay: $*" >&2
    exec 9>&-
    /bin/sh "$here/roll-back" "it could not be saved: $*" >&2
    exit 1
}

# Placing is not done in a subshell, which would outlive this script. So its errors go to a file, which can be empty if
# there is no room for it.
give_up_placing() {
    fault=$(cat "$here/errors")
    give_up "${fault:-$(df "$here" 2>&1 | tail -n 1)}"
}

# Each file is placed completely or not at all: all files lie in the directories of their places, safe on the disk,
# before the first one is moved. Files of one directory are handled together, because each process takes time.
copy_beside() {
    set --
    for list in directories last; do
        while read -r directory; do set -- "$@" "$root$directory/.tke-overlay"; done <"$here/$list"
    done
    [ "$#" -gt 0 ] || return 0
    # An earlier loss of power may have left files there.
    rm -rf "$@" && mkdir -p "$@" || return
    for beside; do
        directory=${beside#"$root"}
        cp "$here/new${directory%/*}"/* "$beside/" || return
        set -- "$@" "$beside"/*
        shift
    done
    sync "$@"
}

# The files of the saved state are valid only together. They are valid from the moment when their directory is renamed:
# if the power fails before each file is in its place, the restore script moves the others.
place() {
    while read -r directory; do
        beside=$root$directory/.tke-overlay
        case $directory in */tke-overlay)
            mv "$beside" "$root$directory/.confirmed" || return
            beside=$root$directory/.confirmed ;;
        esac
        mv -f "$beside"/* "$root$directory/" || return
        set -- "$@" "$beside"
    done <"$1"
    shift
    if [ "$#" -gt 0 ]; then rmdir "$@"; fi
}

# Remove the files that a list names.
remove_listed() {
    while read -r path; do set -- "$@" "$root$path"; done <"$1"
    shift
    if [ "$#" -gt 0 ]; then rm -f "$@"; fi
}

# What is reported as saved survives a loss of power: the new names are on the disk as well.
sync_names() {
    set --
    for list in directories last; do
        while read -r directory; do set -- "$@" "$root$directory"; done <"$here/$list"
    done
    if [ "$#" -gt 0 ]; then sync "$@"; fi
}

fault=$(copy_beside 2>&1) || give_up "$fault"
place "$here/directories" 2>"$here/errors" || give_up_placing
remove_listed "$here/removed"
while read -r command; do
    # shellcheck disable=SC2086 # a line is a list of words
    fault=$($command </dev/null 2>&1) || give_up "$command: $fault"
done <"$here/commands"
# Once the CNI configuration exists, a kubelet regards the network as ready.
place "$here/last" 2>"$here/errors" || give_up_placing
fault=$(sync_names 2>&1) || give_up "$fault"

remove_listed "$here/temporary"
if [ -d "$root/run/systemd/system" ]; then systemctl --quiet stop tke-overlay-rollback.timer 2>/dev/null; fi
rm -f "$run/rolled-back"
# Renamed first, so that no program finds half of it. The other ones are of a confirmation that was killed right then.
rm -rf "$run"/confirmed.*
mv "$here" "$run/confirmed.$$" && rm -rf "$run/confirmed.$$"
