# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the container runtime of this host can start Pods with the CNI file of this collection. Nothing is changed.

A runtime uses the first file of its directory, in the order of names, and finds the plugins that the file names in
directories of its own configuration. Whether a host has Pods at all is seen from its files: a host that was only
just made a node has neither kubelet nor plugins, and that is no fault.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address, pod_range
from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE, NETWORK, conflist
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import NOTE, PodFinding, PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_summary

BIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where runtimes look for plugins whose configuration names no directory."""

RUNTIME_FILES = (
    "/etc/containerd/config.toml",
    "/etc/containerd/conf.d",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "/etc/crio/crio.conf",
    "/etc/crio/crio.conf.d",
)
"""Configuration of container runtimes: files, and directories of files."""

KUBERNETES = ("/var/lib/kubelet", "/var/lib/rancher", "/run/crio/crio.sock", f"/var/lib/cni/networks/{NETWORK}")
"""One of these exists on a host that runs Pods, or is about to."""

RESERVED = f"/var/lib/cni/networks/{NETWORK}"
"""The directory of host-local: a file for each address that is reserved, named after the address."""

_SUFFIXES = (".conf", ".conflist", ".json")
_SETTING = r"^[ \t]*(?:{})[ \t]*=[ \t]*(\[[^\]]*\]|\"[^\"]*\"|'[^']*')"


def check_cni(network: PodNetwork) -> list[PodFinding]:
    """Return what keeps the runtime of this host from starting Pods of the overlay."""
    return [*_own_file(), *_winners(network), *_other_directory(), *_plugins(network), *_full(network)]


def reserved_addresses() -> list[str]:
    """Return the addresses that host-local has reserved for Pods, also for Pods that do not run any more."""
    return [name for name in names_in(RESERVED) if is_ipv4_address(name)]


def names_in(directory: str) -> list[str]:
    """Return the names in a directory in their order; none if it does not exist."""
    try:
        return sorted(os.listdir(files.ROOT + directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _own_file() -> t.Iterator[PodFinding]:
    if saved_summary() and not os.path.exists(files.ROOT + CNI_FILE):
        yield PodFinding(
            "cni_file", f"{CNI_FILE} is missing: no Pod can start", "To write it: ansible-playbook tke.overlay.site"
        )


def _winners(network: PodNetwork) -> t.Iterator[PodFinding]:
    """Yield the file that the runtime uses instead of the collection's."""
    directory, own = os.path.split(CNI_FILE)
    before = [name for name in names_in(directory) if name.endswith(_SUFFIXES) and name < own]
    foreign = [name for name in before if not _leads_to_overlay(f"{directory}/{name}", network)]
    if foreign and foreign[0] == before[0]:
        named = some_of([f"{directory}/{name}" for name in foreign], 3)
        moves = " && ".join(f"mv {directory}/{name} {directory}/{name}.off" for name in foreign[:3])
        verb = "sorts" if len(foreign) == 1 else "sort"
        text = (
            f"{named} {verb} before {own}: the container runtime uses the first file by name, so new Pods are not in "
            f"the overlay"
        )
        if all(is_flannels(f"{directory}/{name}") for name in foreign):
            remedy = "To remove what flannel has left: ansible-playbook tke.overlay.site -e overlay_remove_flannel=true"
            yield PodFinding("flannel", text, remedy)
        else:
            remedy = f"If no other program needs it: {moves}; then restart the Pods of this host"
            yield PodFinding("foreign_cni", text, remedy)


def is_flannels(path: str) -> bool:
    """Return whether a CNI file names the plugin of flannel."""
    try:
        document = json.loads(files.read_foreign(path))
        return any(plugin.get("type") == "flannel" for plugin in document.get("plugins", [document]))
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _leads_to_overlay(path: str, network: PodNetwork) -> bool:
    """Whether a foreign file puts Pods into the overlay all the same: Multus, or a copy with further plugins."""
    try:
        document = json.loads(files.read_foreign(path))
        plugins = document.get("plugins", [document])
        for plugin in plugins:
            if str(plugin.get("type", "")).startswith("multus"):
                return True
            subnets = re.findall(r'"subnet": "([^"]*)"', json.dumps(plugin))
            if plugin.get("bridge") == network.bridge and network.node_cidr in subnets:
                return True
    except (OSError, ValueError, AttributeError):
        return False  # a file that cannot be read has precedence, too
    return False


def _other_directory() -> t.Iterator[PodFinding]:
    directory = os.path.dirname(CNI_FILE)
    read = _runtime_settings("conf_dir|network_dir")
    if read and directory not in read:
        yield PodFinding(
            "foreign_cni",
            f"the container runtime reads the CNI files of {some_of(read, 3)}, and not those of {directory}: "
            f"new Pods are not in the overlay",
            f"Set conf_dir (containerd) or network_dir (CRI-O) to {directory} and restart the runtime",
        )


def _plugins(network: PodNetwork) -> t.Iterator[PodFinding]:
    """Yield one finding for all plugins that are in no directory of the runtime."""
    configured = _runtime_settings("bin_dirs?|plugin_dirs")
    directories = list(network.bin_dirs or configured or BIN_DIRS)
    needed = _plugins_of(_own_text(network))
    missing = [name for name in needed if not any(_is_program(f"{each}/{name}") for each in directories)]
    if not missing:
        return
    elsewhere = [each for each in BIN_DIRS if all(_is_program(f"{each}/{name}") for name in missing)]
    one = len(missing) == 1
    text = (
        f"the CNI plugin{'' if one else 's'} {', '.join(missing)}, which {CNI_FILE} names, "
        f"{'is' if one else 'are'} not in {some_of(directories, 4)}: no Pod can start"
    )
    if elsewhere:
        remedy = f"Let the container runtime look in {elsewhere[0]}, or copy from there to {directories[0]}"
    else:
        remedy = f"Install in {directories[0]} (Debian: apt-get install containernetworking-plugins)"
    remedy += "; if the runtime looks elsewhere, set overlay_cni_bin_dirs"
    if runs_pods(network) or any(names_in(each) for each in directories):
        yield PodFinding("plugins", text, remedy)
    else:
        yield PodFinding("plugins", f"{text} before they are installed", remedy, NOTE)


def runs_pods(network: PodNetwork) -> bool:
    """Whether this host runs Pods, or is about to."""
    return any(os.path.exists(files.ROOT + path) for path in KUBERNETES) or os.path.isdir(
        f"/sys/class/net/{network.bridge}"
    )


def _own_text(network: PodNetwork) -> str:
    """Return the CNI file, or before the first run has saved it, what it will be."""
    try:
        return files.read_foreign(CNI_FILE)
    except OSError:
        return conflist(network.node_cidr, network.bridge, 1400)


def _plugins_of(text: str) -> list[str]:
    """Return the programs that a CNI file names, also those that assign addresses."""
    try:
        plugins = json.loads(text)["plugins"]
        named = [kind for each in plugins for kind in (each["type"], each.get("ipam", {}).get("type"))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # not JSON: the file was edited, which is drift
    return list(dict.fromkeys(str(name) for name in named if name))


def _is_program(path: str) -> bool:
    return os.path.isfile(files.ROOT + path) and os.access(files.ROOT + path, os.X_OK)


def _runtime_settings(keys: str) -> list[str]:
    """Return the values of settings in the configuration of the runtimes, in their order, each once."""
    paths = [
        f"{path}/{name}" if name else path
        for path in RUNTIME_FILES
        for name in ([""] if path.endswith((".toml", ".conf")) else names_in(path))
    ]
    pattern, found = re.compile(_SETTING.format(keys), re.MULTILINE), []
    for path in paths:
        try:
            text = files.read_foreign(path)
        except OSError:
            continue
        for value in pattern.findall(text):
            found += [one or other for one, other in re.findall(r"\"([^\"]+)\"|'([^']+)'", value)]
    return list(dict.fromkeys(value.rstrip("/") for value in found))


def _full(network: PodNetwork) -> t.Iterator[PodFinding]:
    first, last = map(ipaddress.IPv4Address, pod_range(network.node_cidr))
    reserved = [address for address in map(ipaddress.IPv4Address, reserved_addresses()) if first <= address <= last]
    if len(reserved) > int(last) - int(first):
        yield PodFinding(
            "addresses",
            f"all {len(reserved)} Pod addresses of {network.node_cidr} are reserved: no further Pod can start",
            f"If fewer Pods run here, delete the files in {RESERVED} whose container does not exist any more",
        )
