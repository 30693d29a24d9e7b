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
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE, conflist, plugins_of
from ansible_collections.tke.overlay.plugins.module_utils._host.node.kubelet import read_max_pods
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import (
    NOTE,
    WARNING,
    PodFinding,
    PodNetwork,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import (
    BIN_DIRS,
    OPTIONAL,
    CniPlugins,
    find_plugin,
    names_in,
    plugin_directories,
    read_plugins,
    runtime_settings,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import RESERVED
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_summary

KUBERNETES = ("/var/lib/kubelet", "/var/lib/rancher", "/run/crio/crio.sock", RESERVED)
"""One of these exists on a host that runs Pods, or is about to."""

_SUFFIXES = (".conf", ".conflist", ".json")


def check_cni(network: PodNetwork, run: Run) -> list[PodFinding]:
    """Return what keeps the runtime of this host from starting Pods of the overlay."""
    return [
        *_own_file(),
        *_winners(network),
        *_other_directory(),
        *_plugins(network),
        *_other_plugins(network, run),
        *_full(network),
        *_max_pods(network),
    ]


def reserved_addresses() -> list[str]:
    """Return the addresses that host-local has reserved for Pods, also for Pods that do not run any more."""
    return [name for name in names_in(RESERVED) if is_ipv4_address(name)]


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
    except (OSError, ValueError, AttributeError, TypeError):
        return False  # a file that cannot be read has precedence, too
    return False


def _other_directory() -> t.Iterator[PodFinding]:
    directory = os.path.dirname(CNI_FILE)
    read = runtime_settings("conf_dir|network_dir")
    if read and directory not in read:
        yield PodFinding(
            "foreign_cni",
            f"the container runtime reads the CNI files of {some_of(read, 3)}, and not those of {directory}: "
            f"new Pods are not in the overlay",
            f"Set conf_dir (containerd) or network_dir (CRI-O) to {directory} and restart the runtime",
        )


def _plugins(network: PodNetwork) -> t.Iterator[PodFinding]:
    """Yield one finding for all plugins that are in no directory of the runtime."""
    directories = plugin_directories(network.bin_dirs)
    missing = [name for name in plugins_of(_own_text(network)) if find_plugin(name, directories) is None]
    if not missing:
        return
    elsewhere = [each for each in BIN_DIRS if all(find_plugin(name, [each]) for name in missing)]
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
    optional = set(missing) <= set(OPTIONAL)
    if optional:
        remedy += f". To do without {'it' if one else 'them'}: ansible-playbook tke.overlay.site"
    if runs_pods(network) or any(names_in(each) for each in directories):
        yield PodFinding("cni_file" if optional else "plugins", text, remedy)
    else:
        yield PodFinding("plugins", f"{text} before they are installed", remedy, NOTE)


def _unused(plugins: CniPlugins, named: t.Collection[str]) -> list[str]:
    """Return how the CNI file differs from what the plugins offer."""
    present = json.loads(files.read_foreign(CNI_FILE)).get("cniVersion")
    differences = [f"has no {name}" for name in plugins.optional if name not in named]
    if present != plugins.version:
        differences.append(f"has version {present}, and they support {plugins.version}")
    return differences


def _other_plugins(network: PodNetwork, run: Run) -> t.Iterator[PodFinding]:
    """Yield what the plugins of the host offer and the CNI file does not use, and a missing plugin for host ports."""
    plugins = read_plugins(network.bin_dirs, run)
    named = plugins_of(_own_text(network))
    if not named or not plugins.installed:
        return
    differences = _unused(plugins, named) if os.path.exists(files.ROOT + CNI_FILE) else []
    if differences:
        yield PodFinding(
            "cni_file",
            f"the CNI plugins of this host have changed: {CNI_FILE} {' and '.join(differences)}",
            "To write it again: ansible-playbook tke.overlay.site",
            NOTE,
        )
    if "portmap" not in (*plugins.optional, *named):
        directory = plugin_directories(network.bin_dirs)[0]
        yield PodFinding(
            "plugins",
            f"the CNI plugin portmap is not in {some_of(plugin_directories(network.bin_dirs), 4)}: "
            f"no Pod gets a host port",
            f"If Pods need one, install it in {directory} and run ansible-playbook tke.overlay.site",
            NOTE,
        )


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


def _full(network: PodNetwork) -> t.Iterator[PodFinding]:
    first, last = map(ipaddress.IPv4Address, pod_range(network.node_cidr))
    reserved = [address for address in map(ipaddress.IPv4Address, reserved_addresses()) if first <= address <= last]
    if len(reserved) > int(last) - int(first):
        yield PodFinding(
            "addresses",
            f"all {len(reserved)} Pod addresses of {network.node_cidr} are reserved: no further Pod can start",
            f"If fewer Pods run here, delete the files in {RESERVED} whose container does not exist any more",
        )


def _max_pods(network: PodNetwork) -> t.Iterator[PodFinding]:
    """Yield a warning if kubelet accepts more Pods than there are addresses. Pods of the host network need none."""
    limit = read_max_pods()
    first, last = map(ipaddress.IPv4Address, pod_range(network.node_cidr))
    usable = int(last) - int(first) + 1
    if limit is not None and limit.number > usable:
        yield PodFinding(
            "max_pods",
            f"kubelet accepts {limit.number} Pods ({limit.origin}), and {network.node_cidr} has {usable} addresses for "
            f"Pods: Pods that the scheduler places here beyond that do not start",
            f"Set maxPods to {usable} or less, and restart kubelet",
            WARNING,
        )
