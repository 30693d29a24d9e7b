#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# Makes a fresh host of the lab a bare one: systemd, an SSH server, python3 and iproute2. Of what goes, the packages named
# in the arguments lie in a mirror of its own, /var/local/mirror, as the files of the host itself.
set -eu
# Without a password of root, sudo goes only on request.
export DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 SUDO_FORCE_REMOVE=yes
mirror=/var/local/mirror
mkdir -p $mirror

for package; do
    tree=$(mktemp -d)
    mkdir "$tree/DEBIAN"
    dpkg-query --status "$package" | sed '/^Status:/d; /^Conffiles:/d; / [0-9a-f]\{32\}\( obsolete\)\?$/d' > "$tree/DEBIAN/control"
    for script in preinst postinst prerm postrm; do
        for info in /var/lib/dpkg/info/"$package".$script /var/lib/dpkg/info/"$package":*."$script"; do
            [ ! -e "$info" ] || cp -p "$info" "$tree/DEBIAN/$script"
        done
    done
    dpkg-query --listfiles "$package" | while read -r path; do  # without documentation, which the lab's tree lacks
        [ ! -f "$path" ] || cp -a --parents "$path" "$tree"
    done
    dpkg-deb --build -Znone "$tree" "$mirror/$package.deb" > /dev/null
    rm -rf "$tree"
done

cd $mirror
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"
done > Packages
echo "deb [trusted=yes] file:$mirror ./" > /etc/apt/sources.list.d/mirror.list

# Whatever the lab adds to a bare system (its list comes on the standard input), and what that has brought along.
xargs apt-get -qq -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--no-triggers -y --autoremove purge > /var/local/purge.log 2>&1
rm -rf /var/lib/apt/lists/*
