#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# parts.sh MAKE PART...: run one PART after the other, each below a heading, and stop at the first that fails.
# Prints nothing after the last one, so that the summary of a test runner ends the output.
set -euo pipefail

make=$1
shift

spent=
for part; do
    printf '\n=== %s%s\n' "$part" "${spent:+ (so far:$spent)}"
    begin=$SECONDS
    "$make" --no-print-directory "$part" </dev/null || {
        status=$?
        printf '\n=== FAILED: %s, after %d s\n' "$part" $((SECONDS - begin)) >&2
        exit "$status"
    }
    spent="$spent $part $((SECONDS - begin)) s"
done
