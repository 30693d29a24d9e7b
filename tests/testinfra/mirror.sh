#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# Makes packages again of those that are named in the arguments and installed on this host of the lab, and a mirror of them,
# which apt has not looked at yet. No host of the lab reaches another one.
set -eu
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
        if [ -d "$path" ]; then mkdir -p "$tree$path"; elif [ -f "$path" ]; then cp -a --parents "$path" "$tree"; fi
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
rm -rf /var/lib/apt/lists/*
