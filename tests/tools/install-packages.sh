#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# install-packages.sh LIST...: install the Debian packages that the LISTs name (one per line, `#` starts a comment;
# a LIST that does not exist counts as empty). Does not call apt when no package is missing.
set -eu

wanted=$(for list in "$@"; do
    [ ! -e "$list" ] || sed 's/#.*//' "$list"
done | tr -s '[:space:]' '\n' | sed '/^$/d' | sort -u)

missing=
for package in $wanted; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "These Debian packages are missing, and only root can install them:$missing" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "Installing Debian packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of names, none of which has a space
if ! { apt-get update -q && apt-get install -q --yes --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
