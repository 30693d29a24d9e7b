# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-in files that make network managers ignore the devices, and name the route protocol; the sysctls of a node."""

from __future__ import annotations

import string
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL, ROUTE_PROTOCOL_NAME
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    LINK_FILE,
    NETWORK_FILE,
    NETWORK_MANAGER,
    NETWORK_MANAGER_FILE,
    NETWORKD,
    NETWORKD_FILE,
    PROTOCOL_FILE,
    SYSCTL_FILE,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.programs import (
    NETWORKD_CONF,
    NETWORKMANAGER_CONF,
    TKE_OVERLAY_LINK,
    TKE_OVERLAY_NETWORK,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts, systemctl


def drop_ins(device: str, bridge: str, sysctls: Texts, host: HostFacts) -> dict[str, str | None]:
    """Return the drop-ins by path, ``None`` for those of network managers that the host does not have.

    They must exist before the device does.
    """

    def text(template: str) -> str:
        return string.Template(template).substitute(device=device, bridge=bridge)

    networkd, network_manager = host.units.get(NETWORKD), host.units.get(NETWORK_MANAGER)
    # Up to kernel 5.7, the VXLAN device computes wrong full checksums behind NAT with random-fully, and TCP stalls for
    # 63 s.
    offload = "TransmitChecksumOffload=no\n" if host.kernel < (5, 8) else ""
    return {
        SYSCTL_FILE: WRITTEN_BY + "".join(f"{key} = {value}\n" for key, value in sysctls.items()),
        LINK_FILE: text(TKE_OVERLAY_LINK) + offload,
        NETWORK_FILE: text(TKE_OVERLAY_NETWORK) if networkd else None,
        NETWORKD_FILE: text(NETWORKD_CONF) if networkd else None,
        NETWORK_MANAGER_FILE: text(NETWORKMANAGER_CONF) if network_manager else None,
        # Only for people: the collection passes the number, and reads listings in which it is not printed.
        PROTOCOL_FILE: f"{WRITTEN_BY}{ROUTE_PROTOCOL} {ROUTE_PROTOCOL_NAME}\n",
    }


def wanted_sysctls(device: str, peers: int, host: HostFacts, found: t.Callable[[t.Iterable[str]], Texts]) -> Texts:
    """Return the desired sysctls: forwarding, loose reverse-path filtering, and larger neighbour tables on old kernels.

    :param peers: the number of peers.
    :param found: reads sysctls.
    """
    sysctls = {
        "net.ipv4.ip_forward": "1",
        # With the strict filter of some distributions, an answer on another path than the request is dropped.
        # systemd 245 and later sets the sysctl for every new device: hence a file late in order, and the script.
        f"net/ipv4/conf/{device}/rp_filter": "2",
    }
    if host.kernel < (5, 0):
        # Before 5.0, permanent neighbours count. The limits are only raised; a network namespace does not have them.
        room = 1024
        while room < 2 * peers:
            room *= 2
        keys = {f"net.ipv4.neigh.default.gc_thresh{number}": room * number // 3 for number in (1, 2, 3)}
        sysctls.update({key: str(max(int(value), keys[key])) for key, value in found(keys).items()})
    return sysctls


def reload_managers(written: t.Iterable[str], host: HostFacts, run: Run) -> None:
    """Make active network managers read their drop-ins, before the device exists.

    No connection is interrupted by that. networkd reads networkd.conf.d only at its start, which is also when it
    would remove foreign routes.

    :param written: the paths of the files that were written or removed.
    :raises KernelError: NetworkManager failed to reload.
    """
    names = set(written)
    if NETWORK_FILE in names and "active" in host.units.get(NETWORKD, ""):
        run(("networkctl", "reload"), None)  # systemd before 244 does not support it
    if NETWORK_MANAGER_FILE in names and "active" in host.units.get(NETWORK_MANAGER, ""):
        systemctl(run, "reload", NETWORK_MANAGER)


def reload_commands(written: t.Iterable[str], host: HostFacts) -> t.Iterator[t.Sequence[str]]:
    """Return the commands that make managers read drop-ins again after these were moved from ``/run`` to ``/etc``.

    NetworkManager reads all files below ``/run`` before those in ``/etc``, whatever their names: until the move, a
    file in ``/etc`` that sets unmanaged-devices replaces the setting of the drop-in. networkd sorts by name only.
    """
    if NETWORK_MANAGER_FILE in set(written) and "active" in host.units.get(NETWORK_MANAGER, ""):
        yield ("systemctl", "reload", NETWORK_MANAGER)
