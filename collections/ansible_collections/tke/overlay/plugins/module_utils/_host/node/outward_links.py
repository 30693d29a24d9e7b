# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links by which packets of Pods leave the cluster, and by which the answers come back.

The kernel forwards an answer only if forwarding is on for the link by which it comes.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts, read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import Row
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import forwarding_of
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ENDPOINT_BATCH

_DEVICE = re.compile(r"\bdev (\S+)")


DEFAULT_ROUTES = ("ip", "-4", "route", "show", "default")
"""The listing that :func:`outward_links` runs."""


def outward_links(local: str, links: t.Sequence[Row], run: Run) -> list[str]:
    """Return the links with the underlay address, of the IPv4 default routes, and of the route to the load balancer.

    :param local: the underlay address.
    :param links: all links of the host.
    """
    # As text: iproute2 before 5.5 prints a route with several gateways not as JSON.
    _code, default, _errors = run(DEFAULT_ROUTES, None)
    holders = [str(row["ifname"]) for row in links if local in (info["local"] for info in row.get("addr_info", []))]
    named = [
        *holders,
        *_DEVICE.findall(default),
        *_DEVICE.findall(read_files([ENDPOINT_BATCH]).get(ENDPOINT_BATCH, "")),
    ]
    present = {str(row.get("ifname")) for row in links}
    return [name for name in dict.fromkeys(named) if name in present]


def outward_sysctls(names: t.Iterable[str]) -> Texts:
    """Return the sysctls that let the kernel forward what comes by these links."""
    return {forwarding_of(name): "1" for name in names}
