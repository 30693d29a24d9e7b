#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# lanes.sh MAKE "TARGET..." "TARGET...": run the targets of each lane one after the other, and the lanes at the same time.
# The first lane has priority over the others. The output of a target follows its end, below a heading. The first target
# that fails ends all lanes.
set -euo pipefail
set -m # each lane is a process group of its own, which ends as a whole

make=$1
shift
outputs=$(mktemp -d)
jobs=()
end() {
    set +m # without a message about each lane
    for job in "${jobs[@]}"; do kill -- "-$job" || true; done 2>/dev/null
    wait 2>/dev/null
    rm -rf "$outputs"
}
trap end EXIT
trap 'exit 130' INT TERM

lane() { # NUMBER TARGET...
    set +m # within the group of the lane
    local output=$outputs/$1 target begin status=0 priority=()
    [ "$1" = 0 ] || priority=(nice -n 5)
    shift
    for target; do
        begin=$SECONDS
        "${priority[@]}" "$make" --no-print-directory "$target" </dev/null >"$output" 2>&1 || status=$?
        {
            flock 9
            printf '\n=== %s%s, %d s\n' "$([ "$status" = 0 ] || echo 'FAILED: ')" "$target" $((SECONDS - begin))
            cat "$output"
        } 9>"$outputs/lock"
        [ "$status" = 0 ] || return "$status"
    done
}

number=0
for targets; do
    # shellcheck disable=SC2086 # a list of names, none of which has a space
    lane "$number" $targets &
    jobs+=("$!")
    number=$((number + 1))
done
for _lane in "${jobs[@]}"; do
    wait -n || exit # whichever ends first
done
