#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
#
# release.sh VERSION: makes a release of the tree as it is committed. The fragments become the changelog, galaxy.yml gets
# the version, and the artifact is built. Nothing is committed or pushed: the last lines say what is left to do. What the
# release leaves on a host is kept by hand, because that takes a lab; tests/package asks for it.
set -eu

refuse() {
    echo "No release: $1" >&2
    exit 1
}

version=${1:-}
printf '%s\n' "$version" | grep -Eqx '(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)' ||
    refuse "'$version' is no version such as 1.1.0: make release VERSION=1.1.0"

cd "$(dirname "$0")/../.."
collection=collections/ansible_collections/tke/overlay
dirt=$(git status --porcelain)
[ -z "$dirt" ] || refuse "the tree has changes that are not committed:
$dirt"

now=$(sed -n 's/^version: //p' "$collection/galaxy.yml")
newest=$(printf '%s\n' "$now" "$version" | sort -V | tail -n 1)
[ "$newest" = "$version" ] || refuse "$version is older than $now, the version of galaxy.yml"
! grep -Eq "^  $version:" "$collection/changelogs/changelog.yaml" || refuse "$version was released already"
[ -n "$(find "$collection/changelogs/fragments" -name '*.yml' -print -quit)" ] ||
    refuse "there is no changelog fragment, so nothing has changed"

# A failure half-way leaves the tree as it was.
trap 'git checkout --quiet -- . && git clean --quiet --force -- "$collection"' EXIT
sed -i "s/^version: .*/version: $version/" "$collection/galaxy.yml"
sed -Ei "s/(tke-overlay-)[0-9]+\.[0-9]+\.[0-9]+(\.tar\.gz)/\1$version\2/" "$collection/docs/quick-start.md"
# What no release has had yet is new in this one.
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
Keep what it leaves on a host and in the ledger, for the tests of all later releases, from a fresh lab:

    export TKE_LAB=release && tests/lab/lab up
    tests/lab/lab run ansible-playbook -i inventories/lab/hosts.yml tke.overlay.site
    tests/lab/lab run tests/tools/snapshot-state.sh && tests/lab/lab down && unset TKE_LAB
    .venv/bin/pytest -q tests/package tests/kernel/test_upgrade.py

Then:

    git add --all && git commit --message 'Release $version' && git tag --annotate --message '$version' $version

and publish the commit, the tag and .cache/artifact/tke-overlay-$version.tar.gz.
END
