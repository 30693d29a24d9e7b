# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the modules on a host compile each file that they import once.

Ansible sends a module and its module_utils as a zip archive without compiled files, so
Python compiles them in every run, and even twice: its importer of such archives
compiles a file to find out its path, throws the result away, and compiles the file
again to import it. That is more than half of the time of a module that has nothing to
change. The importer here does neither: it finds out the path without that, and keeps
the compiled code in :data:`CACHE` until the next boot. It uses documented methods of
:mod:`zipimport` only.

Code in the cache belongs to the source whose hash it carries, which also depends on the
version of Python. A host without the directory of the cache, which is one without the
overlay, gets none.

A module imports this file first, for its effect on all later imports.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.abc
import importlib.util
import marshal
import os
import stat
import sys
import types
import typing as t
import zipimport

CACHE = "/run/tke-overlay/compiled"
"""The compiled files of all modules that ran on this host: marshalled, name of a Python module -> (hash of its source,
its marshalled code)."""

_Entries = t.Dict[str, t.Tuple[bytes, bytes]]


class CodeCache:
    """Compiled code in a file, which only the user of this process can have written.

    It is read at the first use, and written at the end of the process if something was added. A file that cannot be
    read or written is as good as none.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._entries: _Entries | None = None
        self._added: _Entries = {}

    def compile(self, name: str, source: bytes, path: str) -> types.CodeType:
        """Return the code of a Python module.

        :raises SyntaxError: the source is no Python.
        """
        if self._entries is None:
            self._entries = self._read()
        digest = importlib.util.source_hash(source)
        known, code = self._entries.get(name, (b"", b""))
        if known == digest:
            return t.cast(types.CodeType, marshal.loads(code))
        compiled = compile(source, path, "exec", dont_inherit=True)
        if not self._added:
            atexit.register(self._write)
        self._added[name] = (digest, marshal.dumps(compiled))
        return compiled

    def remove(self) -> None:
        """Remove the file; this process does not write it again."""
        path, self._path = self._path, ""
        with contextlib.suppress(OSError):  # it does not exist
            os.unlink(path)

    def _read(self) -> _Entries:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return {}
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                return {}
            with open(descriptor, "rb", closefd=False) as file:
                entries = marshal.loads(file.read())
        except (OSError, EOFError, ValueError, TypeError):
            return {}
        finally:
            os.close(descriptor)
        return entries if isinstance(entries, dict) else {}

    def _write(self) -> None:
        if not self._path:
            return
        beside = f"{self._path}.new"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(marshal.dumps({**(self._entries or {}), **self._added}))
            os.replace(beside, self._path)
        except OSError:  # there may be no room, or the file of a process that was killed: the next one writes it
            with contextlib.suppress(OSError):
                os.unlink(beside)


class ZipImporter(zipimport.zipimporter, importlib.abc.InspectLoader):
    """Imports modules from an archive of source files.

    Before Python 3.10, an importer of archives runs what :meth:`get_code` returns only as an ``InspectLoader``.
    """

    cache = CodeCache(CACHE)

    def get_filename(self, fullname: str) -> str:
        """Return the path of a module."""
        path = os.path.join(self.archive, self.prefix + fullname.rpartition(".")[2])
        return os.path.join(path, "__init__.py") if self.is_package(fullname) else f"{path}.py"

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the code of a module."""
        path = self.get_filename(fullname)
        return self.cache.compile(fullname, self.get_data(path), path)


def install() -> None:
    """Use this importer for all archives from now on, and do not look for garbage: the process ends soon."""
    gc.disable()
    sys.path_hooks.insert(0, ZipImporter)
    archives = [path for path, importer in sys.path_importer_cache.items() if hasattr(importer, "archive")]
    for path in archives:
        del sys.path_importer_cache[path]


_loader: object = __spec__.loader
if isinstance(_loader, zipimport.zipimporter):  # on the controller, and in tests, it is not
    install()
