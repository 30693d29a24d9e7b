#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors

# Build packages from the installed files of the packages that the arguments name, and a local mirror that contains them.
# The package lists of apt are removed, as on a new host. Hosts of the lab cannot reach another mirror.
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
    dpkg-query --listfiles "$package" | while read -r path; do  # skips documentation, which the lab's tree does not have
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
