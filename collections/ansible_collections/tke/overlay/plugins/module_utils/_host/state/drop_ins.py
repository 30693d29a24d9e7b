# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that keep network managers off the overlay's devices, and the sysctls that Pods need."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    LINK_FILE,
    NETWORK_FILE,
    NETWORK_MANAGER,
    NETWORK_MANAGER_FILE,
    NETWORKD,
    NETWORKD_FILE,
    SYSCTL_FILE,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts, systemctl


def drop_ins(device: str, bridge: str, sysctls: Texts, host: HostFacts) -> dict[str, str | None]:
    """Files that keep others off our device, by path; ``None`` for those of managers that are not here.

    They have to be there before the device is.
    """
    # Up to 5.7, a full checksum by the VXLAN device goes wrong behind NAT with random-fully, and TCP stalls for 63 s.
    cure = "TransmitChecksumOffload=no\n" if host.kernel < (5, 8) else ""
    return {
        SYSCTL_FILE: WRITTEN_BY + "".join(f"{key} = {value}\n" for key, value in sysctls.items()),
        LINK_FILE: (
            f"{WRITTEN_BY}# systemd 242 and later would give the device a MAC of its own (flannel #1155).\n"
            f"[Match]\nOriginalName={device}\n\n[Link]\nMACAddressPolicy=none\n{cure}"
        ),
        NETWORK_FILE: (
            f"{WRITTEN_BY}[Match]\nName={device} {bridge}\n\n[Link]\nUnmanaged=yes\n"
            if host.units.get(NETWORKD)
            else None
        ),
        NETWORKD_FILE: (
            f"{WRITTEN_BY}# systemd-networkd would remove all routes and rules it did not make itself.\n"
            "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
            if host.units.get(NETWORKD)
            else None
        ),
        NETWORK_MANAGER_FILE: (
            f"{WRITTEN_BY}# [device] alone would not let go of a device that is there already, and without it\n"
            "# another file that sets unmanaged-devices anew would undo this one.\n"
            f"[keyfile]\nunmanaged-devices+=interface-name:{device};interface-name:{bridge}\n\n"
            f"[device-tke-overlay]\nmatch-device=interface-name:{device};interface-name:{bridge}\nmanaged=0\n"
            if host.units.get(NETWORK_MANAGER)
            else None
        ),
    }


def wanted_sysctls(device: str, peers: int, host: HostFacts, found: t.Callable[[t.Iterable[str]], Texts]) -> Texts:
    """Forwarding; loose reverse-path filtering; on old kernels, room for the neighbours.

    :param found: reads sysctls.
    """
    sysctls = {
        "net.ipv4.ip_forward": "1",
        # Strict as some distributions have it, a Pod that answers by another way than it was asked is not heard.
        # systemd 245 and later sets it anew for every device that appears: hence the late file, and the script.
        f"net/ipv4/conf/{device}/rp_filter": "2",
    }
    if host.kernel < (5, 0):
        # Permanent neighbours count until 5.0; only ever raised, and absent in a network namespace.
        room = 1024
        while room < 2 * peers:
            room *= 2
        keys = {f"net.ipv4.neigh.default.gc_thresh{number}": room * number // 3 for number in (1, 2, 3)}
        sysctls.update({key: str(max(int(value), keys[key])) for key, value in found(keys).items()})
    return sysctls


def reload_managers(written: t.Iterable[str], host: HostFacts, run: Run) -> None:
    """Lets network managers that are at work read their drop-ins, before there is a device to manage.

    Neither drops a connection for that. What networkd.conf.d says is read when networkd starts, which is also
    when it would remove foreign routes.
    """
    names = set(written)
    if NETWORK_FILE in names and "active" in host.units.get(NETWORKD, ""):
        run(("networkctl", "reload"), None)  # not before systemd 244
    if NETWORK_MANAGER_FILE in names and "active" in host.units.get(NETWORK_MANAGER, ""):
        systemctl(run, "reload", NETWORK_MANAGER)


def reload_commands(written: t.Iterable[str], host: HostFacts) -> t.Iterator[t.Sequence[str]]:
    """What has managers read a drop-in again once it is in ``/etc`` and no longer below ``/run``.

    NetworkManager reads all files below ``/run`` before any in ``/etc``, whatever their names: until then, one
    in ``/etc`` that sets unmanaged-devices anew has undone ours. networkd goes by the names alone.
    """
    if NETWORK_MANAGER_FILE in set(written) and "active" in host.units.get(NETWORK_MANAGER, ""):
        yield ("systemctl", "reload", NETWORK_MANAGER)
