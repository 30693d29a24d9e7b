#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# release.sh VERSION: prepare a release of the committed tree. It writes the changelog from the fragments, sets the
# version in galaxy.yml and builds the artifact. It does not commit or push: the last lines print the next steps. One of
# them records the state that the release leaves on a host, which requires a lab; tests/package checks that it is there.
set -eu

fail() {
    echo "No release was made: $1" >&2
    exit 1
}

version=${1:-}
printf '%s\n' "$version" | grep -Eqx '(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)' ||
    fail "VERSION '$version' does not have the form 1.1.0: make release VERSION=1.1.0"

cd "$(dirname "$0")/../.."
collection=collections/ansible_collections/tke/overlay
changes=$(git status --porcelain)
[ -z "$changes" ] || fail "the tree has changes that are not committed; commit or stash them:
$changes"

now=$(sed -n 's/^version: //p' "$collection/galaxy.yml")
newest=$(printf '%s\n' "$now" "$version" | sort -V | tail -n 1)
[ "$newest" = "$version" ] || fail "VERSION $version is older than $now, the version in galaxy.yml"
! grep -Eq "^  $version:" "$collection/changelogs/changelog.yaml" || fail "VERSION $version is in changelog.yaml, so it was released before"
[ -n "$(find "$collection/changelogs/fragments" -name '*.yml' -print -quit)" ] ||
    fail "changelogs/fragments has no fragment, so nothing has changed; write one"

# Restores the tree if a step fails.
trap 'git checkout --quiet -- . && git clean --quiet --force -- "$collection"' EXIT
sed -i "s/^version: .*/version: $version/" "$collection/galaxy.yml"
sed -Ei "s/(tke-overlay-)[0-9]+\.[0-9]+\.[0-9]+(\.tar\.gz)/\1$version\2/" "$collection/docs/quick-start.md"
# Sets version_added of everything that no release contains yet.
grep -rhoE '^ *version_added: [0-9.]+$' "$collection/plugins" "$collection/roles" | sed 's/.*: //' | sort -u |
    while read -r added; do
        grep -Eq "^  $added:" "$collection/changelogs/changelog.yaml" ||
            grep -rlE "version_added: $added$" "$collection/plugins" "$collection/roles" |
            xargs sed -i "s/version_added: $added$/version_added: $version/"
    done
(cd "$collection" && antsibull-changelog lint && antsibull-changelog release)
python tests/tools/artifact.py .cache/artifact
trap - EXIT

cat <<END

$version is built from the tree. Read $collection/CHANGELOG.md.
Record the state that it leaves on a host and in the ledger, for the tests of later releases, in a new lab:

    export TKE_LAB=release && tests/lab/lab up
    tests/lab/lab run ansible-playbook -i inventories/lab/hosts.yml tke.overlay.site
    tests/lab/lab run tests/tools/snapshot-state.sh && tests/lab/lab down && unset TKE_LAB
    .venv/bin/pytest -q tests/package tests/kernel/test_upgrade.py

Then:

    git add --all && git commit --message 'Release $version' && git tag --annotate --message '$version' $version

and publish the commit, the tag and .cache/artifact/tke-overlay-$version.tar.gz.
END
