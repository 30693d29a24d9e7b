# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many Pods kubelet accepts on this host, from its command line and its configuration files. Nothing is changed.

A flag takes precedence over a file. The files are those of kubeadm, of distributions, and of k3s and RKE2, in which
kubelet is a part of another program.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import names_in

PROC = "/proc"
"""The directory of the processes; a test sets another one."""

DEFAULT = 110
"""The default of kubelet, k3s and RKE2."""

CONFIG_FILE = "/var/lib/kubelet/config.yaml"

FLAG_FILES = ("/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet")
"""Files with flags for kubelet; the last takes precedence."""

RANCHER = ("/etc/rancher/k3s/config.yaml", "/etc/rancher/rke2/config.yaml")
"""Configuration of k3s and RKE2, in which ``kubelet-arg`` has the flags. A directory ``config.yaml.d`` adds files."""

_FLAG = re.compile(r"^[^#\n]*\bmax-pods[=\s]+[\"']?(\d+)", re.MULTILINE)
_KEY = re.compile(r"^(?:[^#\n]*[{,])?\s*\"?maxPods\"?\s*:\s*(\d+)", re.MULTILINE)
"""On a line of its own, or in an object of JSON on one line."""


class MaxPods(t.NamedTuple):
    """How many Pods kubelet accepts, and where that is set."""

    number: int
    origin: str


def read_max_pods() -> MaxPods | None:
    """Return the limit; ``None`` on a host without kubelet."""
    arguments = _arguments()
    if arguments is None and not any(os.path.exists(files.ROOT + path) for path in (CONFIG_FILE, *RANCHER)):
        return None
    running = "\n".join(arguments or ())
    flagged = _FLAG.findall(running)
    if flagged:
        return MaxPods(int(flagged[-1]), "flag --max-pods")
    for path in reversed([*FLAG_FILES, *_with_additions(RANCHER)]):
        found = _FLAG.findall(_text(path))
        if found:
            return MaxPods(int(found[-1]), path)
    named = re.findall(r"^--config(?:=|\n)(\S+)", running, re.MULTILINE)
    directories = re.findall(r"^--config-dir(?:=|\n)(\S+)", running, re.MULTILINE)
    additions = [f"{directory}/{name}" for directory in directories for name in names_in(directory)]
    for path in reversed([*(named or [CONFIG_FILE]), *(path for path in additions if path.endswith(".conf"))]):
        found = _KEY.findall(_text(path))
        if found:
            return MaxPods(int(found[-1]), path)
    return MaxPods(DEFAULT, "its default")


def _with_additions(paths: t.Iterable[str]) -> t.Iterator[str]:
    for path in paths:
        yield path
        yield from (f"{path}.d/{name}" for name in names_in(f"{path}.d"))


def _text(path: str) -> str:
    try:
        return files.read_foreign(path)
    except OSError:
        return ""


def _arguments() -> list[str] | None:
    """Return the command line of the running kubelet; ``None`` without one."""
    for pid in os.listdir(PROC):
        try:
            with open(f"{PROC}/{pid}/cmdline", "rb") as stream:
                words = stream.read().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == "kubelet":
            return words[1:]
    return None
