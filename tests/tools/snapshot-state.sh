#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# Record the state that this release leaves on a host and in the ledger, for tests/kernel/test_upgrade.py of later
# releases. Run it once per release, in a new lab after a run of the site playbook: `make release` prints the commands.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
version=$(sed -n 's/^version: *//p' "$here/collections/ansible_collections/tke/overlay/galaxy.yml")
place=$here/tests/fixtures/state-$version
rm -rf "$place"
mkdir -p "$place"
"$here/tests/lab/lab" exec cloud1 -- tar -C /etc -c tke-overlay | tar -x -C "$place"
cp "${TKE_LAB_STATE:?run it with tests/lab/lab run}/overlay-ledger.json" "$place/"
echo "written to tests/fixtures/state-$version"
