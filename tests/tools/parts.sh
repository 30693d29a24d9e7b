#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# parts.sh MAKE PART...: makes one PART after the other, each under a heading, and stops at the first that fails.
# Nothing is printed after the last one, so that a test runner's own summary ends the output.
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
