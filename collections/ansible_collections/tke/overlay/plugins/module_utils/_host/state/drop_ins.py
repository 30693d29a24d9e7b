# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-in files that make network managers ignore the links of the overlay and of Pods, the name of the route
protocol, and what a boot clears; and the sysctls of a node.

Bridge netfilter (``br_netfilter``): a Pod asks a Service, and kube-proxy translates the destination to a Pod of the
same host. The answer goes from one port of the Pod bridge to another. Only with bridge netfilter does it pass the
address translation, which gives it the source that the first Pod waits for.
"""

from __future__ import annotations

import os
import string
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL, ROUTE_PROTOCOL_NAME
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import FileSpecs, Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    LINK_FILE,
    MODULES_FILE,
    NETWORK_FILE,
    NETWORK_MANAGER,
    NETWORK_MANAGER_FILE,
    NETWORKD,
    NETWORKD_FILE,
    PROTOCOL_FILE,
    RESERVED,
    SERVICE,
    SYSCTL_FILE,
    TMPFILES_FILE,
    WIREGUARD_UNIT_FILE,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.programs import (
    NETWORKD_CONF,
    NETWORKMANAGER_CONF,
    TKE_OVERLAY_LINK,
    TKE_OVERLAY_NETWORK,
    TKE_OVERLAY_WIREGUARD_SERVICE,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts, systemctl

MODULE = "br_netfilter"

NEIGHBORS = 1024
"""The neighbours that a kernel holds by default (``gc_thresh3``, Documentation/networking/ip-sysctl.rst)."""

BRIDGE_SYSCTLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
"""The sysctls of bridge netfilter; they exist only while the module is loaded, or if it is built in."""

NO_BRIDGE_NETFILTER = (
    "the kernel of this host has no module br_netfilter, or may not load it, so Pods do not reach a Service whose Pod "
    "is on this host: "
    "install the modules of the running kernel (or remove the line of modprobe.d that forbids this one), so that "
    "'modprobe br_netfilter' succeeds, and run tke.overlay.site"
)

POD_LINKS = f"veth{'[0-9a-f]' * 8}"
"""A pattern of networkd for the host's ends of the Pods' links, as CNI's bridge plugin names them."""

POD_LINKS_OF_NETWORK_MANAGER = f"veth{'?' * 8}"
"""The same for NetworkManager, whose patterns have no sets of characters."""


def drop_ins(device: str, bridge: str, sysctls: Texts, host: HostFacts, wireguard: t.Sequence[str] = ()) -> FileSpecs:
    """Return the drop-ins by path; ``None``: the file must not exist.

    They must exist before the device does, and also on a host without a network manager: one that is installed or
    enabled later would take the addresses of the Pod bridge, and the Pods' links off it.

    :param bridge: the Pod bridge; empty: this host has no Pods.
    :param wireguard: the names of all devices that can exist with WireGuard links.
    """
    links = [*wireguard, *([bridge] if bridge else [])]

    def text(template: str) -> str:
        names = "".join(f" {name}" for name in [*links, *([POD_LINKS] if bridge else [])])
        matching = [*links, *([POD_LINKS_OF_NETWORK_MANAGER] if bridge else [])]
        matches = "".join(f";interface-name:{name}" for name in matching)
        return string.Template(template).substitute(device=device, names=names, matches=matches, service=SERVICE)

    # Up to kernel 5.7, the VXLAN device computes wrong full checksums behind NAT with random-fully, and TCP stalls for
    # 63 s.
    offload = "TransmitChecksumOffload=no\n" if host.kernel < (5, 8) else ""
    return {
        SYSCTL_FILE: WRITTEN_BY + "".join(f"{key} = {value}\n" for key, value in sysctls.items() if not is_size(key)),
        MODULES_FILE: f"{WRITTEN_BY}{MODULE}\n" if bridge else None,
        LINK_FILE: text(TKE_OVERLAY_LINK) + offload,
        NETWORK_FILE: text(TKE_OVERLAY_NETWORK),
        NETWORKD_FILE: text(NETWORKD_CONF),
        NETWORK_MANAGER_FILE: text(NETWORKMANAGER_CONF),
        # Only for people: the collection passes the number, and reads listings in which it is not printed.
        PROTOCOL_FILE: f"{WRITTEN_BY}{ROUTE_PROTOCOL} {ROUTE_PROTOCOL_NAME}\n",
        # A loss of power leaves the addresses of Pods reserved that do not exist any more. At a boot there is no Pod.
        TMPFILES_FILE: f"{WRITTEN_BY}R! {RESERVED}\n",
        **({WIREGUARD_UNIT_FILE: text(TKE_OVERLAY_WIREGUARD_SERVICE)} if wireguard and host.systemd else {}),
    }


def wanted_sysctls(
    device: str, bridge: str, peers: int, host: HostFacts, found: t.Callable[[t.Iterable[str]], Texts]
) -> Texts:
    """Return the desired sysctls: forwarding, loose reverse-path filtering, bridge netfilter if the kernel has it, and
    a larger table of neighbours if it could be too small for the peers.

    A host without Pods forwards nothing for the overlay, so its forwarding and its bridges stay as they are.

    :param bridge: the Pod bridge; empty: this host has no Pods.
    :param peers: the number of peers.
    :param found: reads sysctls.
    """
    sysctls = {
        **({"net.ipv4.ip_forward": "1"} if bridge else {}),
        loose_filter_of(device): "2",
        # ip_forward sets it for all links at the time of the change. The kernel looks at the link by which a packet
        # comes, and a link that is created later gets the value of conf.default.
        **({forwarding_of(link): "1" for link in (device, bridge)} if bridge else {}),
    }
    if bridge and host.bridge_netfilter:
        sysctls.update(dict.fromkeys(BRIDGE_SYSCTLS, "1"))
    if peers > NEIGHBORS // 2 or host.kernel < (5, 0):
        # Peers in the same network are neighbours of the underlay; before 5.0, the permanent ones of the device count
        # as well. A network namespace does not have these limits.
        room = NEIGHBORS
        while room < 2 * peers:
            room *= 2
        keys = {f"{_SIZES}{number}": room * number // 3 for number in (1, 2, 3)}
        sysctls.update({key: str(keys[key]) for key in found(keys)})
    return sysctls


_SIZES = "net.ipv4.neigh.default.gc_thresh"


def is_size(key: str) -> bool:
    """Return whether a larger value of this sysctl is right, too.

    The script raises it at boot, so it is in no file of sysctl.d, where it would override what an administrator sets.
    """
    return key.replace("/", ".").startswith(_SIZES)


def differing_sysctls(found: Texts, wanted: Texts) -> Texts:
    """Return the wanted values of the sysctls that are missing or differ. A size is only raised, never lowered."""
    return {
        key: value
        for key, value in wanted.items()
        if found.get(key) != value and not (is_size(key) and int(found.get(key) or 0) >= int(value))
    }


def wireguard_sysctls(names: t.Iterable[str], pods: bool) -> Texts:
    """Return the sysctls of WireGuard devices.

    :param pods: whether the host has Pods; without them it forwards nothing for the overlay.
    """
    sysctls = {}
    for name in names:
        sysctls[loose_filter_of(name)] = "2"
        if pods:
            sysctls[forwarding_of(name)] = "1"
    return sysctls


def loose_filter_of(link: str) -> str:
    """Return the sysctl of the reverse-path filter of a link.

    With the strict filter of some distributions, an answer on another path than the request is dropped. systemd 245 and
    later sets the sysctl for every new device: hence a file late in order, and the script.
    """
    return f"net/ipv4/conf/{link}/rp_filter"


def forwarding_of(link: str) -> str:
    """Return the sysctl that lets the kernel forward what comes by a link."""
    return f"net/ipv4/conf/{link}/forwarding"


def without_missing(link: str, sysctls: Texts) -> Texts:
    """Return the sysctls without those of a link, if this host does not have the link."""
    prefix = f"net/ipv4/conf/{link}/"
    if os.path.isdir(os.path.join(files.PROC_SYS, prefix)):
        return sysctls
    return {key: value for key, value in sysctls.items() if not key.startswith(prefix)}


def load_bridge_netfilter(wanted: t.Container[str], run: Run) -> None:
    """Load the kernel module if sysctls of it are wanted and do not exist.

    :raises KernelError: the module cannot be loaded.
    """
    if BRIDGE_SYSCTLS[0] in wanted and not files.read_sysctls(BRIDGE_SYSCTLS[:1]):
        code, _out, errors = run(("modprobe", MODULE), None)
        if code != 0:
            raise KernelError(
                f"the kernel module {MODULE} cannot be loaded, without which Pods do not reach a Service whose Pod is "
                f"on this host: {error_text(code, errors)}"
            )


def reload_managers(written: t.Iterable[str], host: HostFacts, run: Run) -> None:
    """Make active network managers read their drop-ins, before the device exists.

    systemd itself reads the unit of WireGuard devices. No connection is interrupted by that. networkd reads
    networkd.conf.d only at its start, which is also when it would remove foreign routes.

    :param written: the paths of the files that were written or removed.
    :raises KernelError: NetworkManager or systemd failed to reload.
    """
    names = set(written)
    if WIREGUARD_UNIT_FILE in names and host.systemd:
        systemctl(run, "daemon-reload")
    if NETWORK_FILE in names and "active" in host.units.get(NETWORKD, ""):
        run(("networkctl", "reload"), None)  # systemd before 244 does not support it
    if NETWORK_MANAGER_FILE in names and "active" in host.units.get(NETWORK_MANAGER, ""):
        systemctl(run, "reload", NETWORK_MANAGER)


def reload_commands(written: t.Iterable[str], host: HostFacts) -> t.Iterator[t.Sequence[str]]:
    """Return the commands that make managers read drop-ins again after these were moved from ``/run`` to ``/etc``.

    systemd reads the unit of WireGuard devices in its new place; on a new node, when the other units are enabled.
    NetworkManager reads all files below ``/run`` before those in ``/etc``, whatever their names: until the move, a
    file in ``/etc`` that sets unmanaged-devices replaces the setting of the drop-in. networkd sorts by name only.
    """
    names = set(written)
    if WIREGUARD_UNIT_FILE in names and host.loaded:
        yield ("systemctl", "daemon-reload")
    if NETWORK_MANAGER_FILE in names and "active" in host.units.get(NETWORK_MANAGER, ""):
        yield ("systemctl", "reload", NETWORK_MANAGER)
