#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# parts.sh MAKE PART...: run one PART after the other, each below a heading, and stop at the first that fails.
# In a PART such as `a+b+c`, b and then c run beside a, with the processor time that a leaves. Their output follows that
# of a. Prints nothing after the last PART, so that the summary of a test runner ends the output.
set -euo pipefail
set -m # each job is a process group of its own, which ends as a whole

make=$1
shift
output=$(mktemp)
jobs=()
end() {
    for job in "${jobs[@]}"; do kill -- "-$job" || true; done 2>/dev/null
    wait 2>/dev/null
    rm -f "$output"
}
trap end EXIT
trap 'exit 130' INT TERM

run() {
    set +m # within the group of the job
    local name
    for name; do
        "$make" --no-print-directory "$name" </dev/null || {
            status=$?
            printf '\n=== FAILED: %s, after %d s\n' "$name" $((SECONDS - begin)) >&2
            return "$status"
        }
    done
}

beside() {
    renice -n 19 "$BASHPID" >/dev/null
    local name
    for name; do
        printf '\n=== %s\n' "$name"
        run "$name"
    done
}

spent=
for part; do
    IFS=+ read -ra names <<<"$part"
    printf '\n=== %s%s%s\n' "${names[0]}" "${names[1]:+ (beside it: ${names[*]:1})}" "${spent:+ (so far:$spent)}"
    begin=$SECONDS status=0
    run "${names[0]}" &
    jobs=("$!")
    if [ ${#names[@]} -gt 1 ]; then
        beside "${names[@]:1}" >"$output" 2>&1 &
        jobs+=("$!")
    fi
    wait -n "${jobs[@]}" || status=$? # whichever ends first
    for job in "${jobs[@]}"; do
        [ "$status" != 0 ] || wait "$job" || status=$?
    done
    cat "$output"
    [ "$status" = 0 ] || exit "$status"
    : >"$output"
    jobs=()
    spent="$spent ${names[*]} $((SECONDS - begin)) s"
done
