# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI plugins of this host: where the container runtime finds them, and what they offer. Nothing is changed."""

from __future__ import annotations

import glob
import json
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Job, Run, listed_together

BIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where runtimes look for plugins whose configuration names no directory."""

CONTAINERD_FILES = (
    "/etc/containerd/config.toml",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
)
"""Configuration of containerd: its own, k3s and RKE2. ``imports`` in a file names others, which override it."""

DEFAULT_IMPORTS = "/etc/containerd/conf.d/*.toml"
"""What containerd reads without a file of its own, from 2.2 on."""

CRIO_FILE, CRIO_DIRECTORY = "/etc/crio/crio.conf", "/etc/crio/crio.conf.d"
"""Configuration of CRI-O, and the directory of the files that override it, whatever their names are."""

REQUIRED = ("bridge", "host-local")
"""Without these plugins no Pod can start."""

OPTIONAL = ("portmap", "bandwidth")
"""Plugins that are used where they are installed: host ports of Pods, and limits of their bandwidth."""

VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
"""The versions of the CNI specification that the CNI file can have. 0.4.0 is understood by all plugins since 2019."""

HIGHEST = "1.0.0"
"""The highest ``cniVersion``. Runtimes that know ``cniVersions`` can use a higher version."""

_SETTING = r"^[ \t]*(?:{})[ \t]*=[ \t]*(\[[^\]]*\]|\"[^\"]*\"|'[^']*')"


class CniPlugins(t.NamedTuple):
    """What the CNI plugins of a host offer.

    The default suits every release of the plugins, for a host on which they are not installed yet.
    """

    optional: t.Sequence[str] = ("portmap",)
    versions: t.Sequence[str] = VERSIONS[:1]  # all plugins support each of them
    installed: bool = False

    @property
    def version(self) -> str:
        """The version of the CNI file."""
        return max([each for each in self.versions if each <= HIGHEST] or self.versions)


NOT_INSTALLED = CniPlugins()


def read_plugins(bin_dirs: t.Sequence[str], run: Run) -> CniPlugins:
    """Return what the plugins of this host offer; each of them is asked for the versions that it supports.

    :param bin_dirs: where the container runtime looks; empty: find out.
    """
    paths = _installed(bin_dirs)
    if not paths:
        return NOT_INSTALLED
    run = listed_together([], run, version_jobs(bin_dirs))
    supported = [_versions(path, run) for path in paths.values()]
    versions = [each for each in VERSIONS if all(each in one for one in supported)]
    return CniPlugins([name for name in OPTIONAL if name in paths], versions or VERSIONS[:1], installed=True)


def version_jobs(bin_dirs: t.Sequence[str]) -> list[Job]:
    """Return the programs that :func:`read_plugins` runs, for :func:`listed_together`."""
    return [_version_job(path) for path in _installed(bin_dirs).values() if _identity(path) not in _ANSWERS]


def _installed(bin_dirs: t.Sequence[str]) -> dict[str, str]:
    """Return name -> path of the plugins that this host has; empty if a required one is missing."""
    directories = plugin_directories(bin_dirs)
    found = {name: find_plugin(name, directories) for name in (*REQUIRED, *OPTIONAL)}
    paths = {name: path for name, path in found.items() if path is not None}
    return paths if set(REQUIRED) <= set(paths) else {}


def plugin_directories(bin_dirs: t.Sequence[str]) -> list[str]:
    """Return the directories in which the container runtime looks for plugins, in its order."""
    return list(bin_dirs or runtime_settings("bin_dirs?|plugin_dirs") or BIN_DIRS)


def find_plugin(name: str, directories: t.Iterable[str]) -> str | None:
    """Return the path of the plugin that the runtime starts."""
    paths = (f"{each}/{name}" for each in directories)
    return next((path for path in paths if _is_program(path)), None)


def runtime_settings(keys: str) -> list[str]:
    """Return the values of settings in the configuration of the runtimes, in their order, each once.

    Of each runtime, the last file that has one of the settings counts.

    :param keys: a regular expression for the names of the settings.
    """
    found: list[str] = []
    for paths in [*map(_containerd_files, CONTAINERD_FILES), _crio_files()]:
        given = (_values(keys, _text(path)) for path in reversed(paths))
        found += next(filter(None, given), [])
    return list(dict.fromkeys(value.rstrip("/") for value in found))


def _containerd_files(path: str) -> list[str]:
    """Return a configuration file of containerd and those that it imports; a later one overrides the earlier ones."""
    if path == CONTAINERD_FILES[0] and not os.path.exists(files.ROOT + path):
        patterns = [DEFAULT_IMPORTS]
    else:
        patterns = _values("imports", _text(path))
    found = [path]
    for pattern in patterns:
        absolute = os.path.join(os.path.dirname(path), pattern)
        found += [each[len(files.ROOT) :] for each in sorted(glob.glob(glob.escape(files.ROOT) + absolute))]
    return found


def _crio_files() -> list[str]:
    return [CRIO_FILE, *(f"{CRIO_DIRECTORY}/{name}" for name in names_in(CRIO_DIRECTORY))]


def _values(keys: str, text: str) -> list[str]:
    """Return the values of settings in the text of a file: one text or a list of them."""
    settings = re.findall(_SETTING.format(keys), text, re.MULTILINE)
    return [one or other for each in settings for one, other in re.findall(r"\"([^\"]+)\"|'([^']+)'", each)]


def _text(path: str) -> str:
    try:
        return files.read_foreign(path)
    except OSError:
        return ""


def names_in(directory: str) -> list[str]:
    """Return the names in a directory in their order; none if it does not exist."""
    try:
        return sorted(os.listdir(files.ROOT + directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_program(path: str) -> bool:
    return os.path.isfile(files.ROOT + path) and os.access(files.ROOT + path, os.X_OK)


def _version_job(path: str) -> Job:
    return ("env", "CNI_COMMAND=VERSION", files.ROOT + path), json.dumps({"cniVersion": VERSIONS[0]})


_ANSWERS: dict[tuple[str, ...], list[str]] = {}
"""What the plugins have answered: a process asks each once, because it takes several milliseconds of a CPU."""


def _versions(path: str, run: Run) -> list[str]:
    """Return the versions that a plugin supports; none if it does not answer as a plugin does."""
    identity = _identity(path)
    if identity not in _ANSWERS:
        code, out, _errors = run(*_version_job(path))
        try:
            supported = [str(each) for each in json.loads(out)["supportedVersions"]]
        except (ValueError, KeyError, TypeError):
            return []
        if code != 0:
            return []
        _ANSWERS[identity] = supported
    return _ANSWERS[identity]


def _identity(path: str) -> tuple[str, ...]:
    """Return what differs if a plugin is another program than before."""
    try:
        status = os.stat(files.ROOT + path)
    except OSError:  # it is being upgraded
        return (path,)
    return (files.ROOT + path, *(str(each) for each in (status.st_ino, status.st_size, status.st_mtime_ns)))
