# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alternate link ``tke-alt``: it receives on the tunnel's other UDP port while the fleet changes the port.

The alternate link has the VNI, MAC, MTU and address of the tunnel's link. The host
never sends through it, so it needs no routes and no table entries. Without an address,
the kernel would drop what arrives by it, because the route back leads by another device,
even with a loose reverse-path filter.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import sysctl_path, write_sysctl
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    ALIAS,
    ALTERNATE_LINK,
    LinkChange,
    LinkSpec,
    Row,
    compare_link,
    find_link,
    spec_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import forwarding_of


def alternate_link_of(link: LinkSpec, port: int | None) -> LinkSpec | None:
    """Return the link that receives on ``port`` beside the tunnel's own link, or ``None`` without a port."""
    return None if port is None else link._replace(name=ALTERNATE_LINK, port=port)


def with_alternate_link(change: LinkChange, alternate: LinkSpec | None, links: t.Sequence[Row]) -> LinkChange:
    """Return the change of the tunnel's link, extended by the change of the alternate link.

    The present alternate link is deleted first, because the tunnel's link may need its port.

    :param alternate: the alternate link that the host must have; ``None``: the host must have none.
    :param links: all links of the host.
    """
    row = find_link(ALTERNATE_LINK, links)
    managed = row is not None and row.get("ifalias") == ALIAS
    wanted = compare_link(alternate, links) if alternate is not None else None
    if not (wanted if alternate is not None else managed):
        return change
    deletion = [f"link del {ALTERNATE_LINK}"] if managed else []
    creation = [] if alternate is None else compare_link(alternate, []).lines
    data = row["linkinfo"].get("info_data", {}) if row is not None and managed else {}
    return LinkChange(
        {**change.before, "alternate port": str(data.get("port", "none"))},
        {**change.after, "alternate port": "none" if alternate is None else str(alternate.port)},
        [*deletion, *change.lines, *creation],
        change.recreated,
    )


def commands_to_restore(links: t.Sequence[Row], pods: bool) -> list[str]:
    """Return the commands of a rollback that create the alternate link as it is now, if there is one.

    Other hosts may send to its port already. The restore script, which does not know it, takes its port away where the
    tunnel's link gets that port back.
    """
    row = find_link(ALTERNATE_LINK, links)
    if row is None or row.get("ifalias") != ALIAS:
        return []
    spec = spec_of(row)
    sysctls = {
        f"net/ipv4/conf/{ALTERNATE_LINK}/rp_filter": "2",
        **({forwarding_of(ALTERNATE_LINK): "1"} if pods else {}),
    }
    return [
        *(f"ip {line}" for line in compare_link(spec, []).lines),
        *(f"set_sysctl {sysctl_path(key)} {value}" for key, value in sysctls.items()),
    ]


def relax_reverse_path_filter(alternate: LinkSpec | None, pods: bool) -> None:
    """Make the kernel accept and forward packets from the alternate link; their answers leave by the tunnel's link.

    :param pods: whether this host has Pods; without them nothing is forwarded.
    :raises KernelError: the sysctl cannot be set.
    """
    if alternate is not None:
        write_sysctl(f"net/ipv4/conf/{ALTERNATE_LINK}/rp_filter", "2")
        if pods:
            write_sysctl(forwarding_of(ALTERNATE_LINK), "1")
