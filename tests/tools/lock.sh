#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# lock.sh PYTHON IN OUT: resolve IN in a temporary virtual environment and write every package, pinned, to OUT.
set -eu

python=$1 wanted=$2 locked=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -qq --disable-pip-version-check -r "$wanted"
# REUSE-IgnoreStart: the licence of the written file, not of this one
{
    printf '%s\n' \
        '# SPDX-License-Identifier: GPL-3.0-or-later' \
        '# Copyright: (c) 2026, tke.overlay contributors' \
        '#' \
        "# Written by \`make lock\` from $wanted, which gives the reasons. Do not edit."
    "$scratch/venv/bin/pip" freeze
} >"$scratch/locked"
# REUSE-IgnoreEnd
"$scratch/venv/bin/pip" check
cp "$scratch/locked" "$locked"
