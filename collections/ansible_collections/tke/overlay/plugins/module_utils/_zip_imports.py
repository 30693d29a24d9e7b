# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importing from the ZIP archive in which Ansible sends a module to a host, without compiling each file twice.

Python's ``zipimporter`` compiles a file to find its name, and again to run it
(https://github.com/python/cpython/issues/141276). That is a quarter of the CPU time that a module needs on a host which
it does not change. Every module that runs on a host therefore calls :func:`compile_once` before all other imports.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import os.path
from zipimport import zipimporter

_compiling_get_filename = zipimporter.get_filename
_archive = getattr(__spec__.loader, "archive", None)


def compile_once() -> None:
    """Let imports from the archive of this module compile each file once; without an archive, change nothing."""
    if _archive is not None:
        zipimporter.get_filename = _get_filename  # type: ignore[method-assign,assignment]


def _get_filename(importer: zipimporter, fullname: str) -> str:
    """Return the name of a file of this archive, which has no compiled files; of other archives, as Python does."""
    if importer.archive != _archive:
        return _compiling_get_filename(importer, fullname)
    suffix = "/__init__.py" if importer.is_package(fullname) else ".py"
    return os.path.join(importer.archive, importer.prefix + fullname.rpartition(".")[2] + suffix)
