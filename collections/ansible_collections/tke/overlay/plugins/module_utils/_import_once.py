# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a module on a host compile each file that it imports once, and not twice.

Ansible sends a module and its module_utils as a zip archive without compiled files.
Python's importer of such archives compiles a file to find out its path, throws the
result away, and compiles the file again to import it: that is a quarter of the time
of a module that has nothing to change. The importer here finds out the path
without that; it uses documented methods of :mod:`zipimport` only.

A module imports this file first, for its effect on all later imports.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import os
import sys
import zipimport


class ZipImporter(zipimport.zipimporter):
    """Imports modules from an archive of source files."""

    def get_filename(self, fullname: str) -> str:
        """Return the path of a module."""
        path = os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2])
        return os.path.join(path, "__init__.py") if self.is_package(fullname) else f"{path}.py"


def install() -> None:
    """Use this importer for all archives from now on."""
    sys.path_hooks.insert(0, ZipImporter)
    archives = [path for path, importer in sys.path_importer_cache.items() if hasattr(importer, "archive")]
    for path in archives:
        del sys.path_importer_cache[path]


_loader: object = __spec__.loader
if isinstance(_loader, zipimport.zipimporter):  # on the controller, and in tests, it is not
    install()
