#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# lock.sh PYTHON IN OUT: resolves IN in a virtual environment of its own and writes every package, pinned, to OUT.
set -eu

python=$1 wanted=$2 locked=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -qq --disable-pip-version-check -r "$wanted"
# REUSE-IgnoreStart: the licence of what is written, not of this file
{
    printf '%s\n' \
        '# SPDX-License-Identifier: GPL-3.0-or-later' \
        '# Copyright: (c) 2026, tke.overlay contributors' \
        '#' \
        "# Written by \`make lock\` from $wanted, where the reasons are. Do not edit."
    "$scratch/venv/bin/pip" freeze
} >"$scratch/locked"
# REUSE-IgnoreEnd
"$scratch/venv/bin/pip" check
cp "$scratch/locked" "$locked"
