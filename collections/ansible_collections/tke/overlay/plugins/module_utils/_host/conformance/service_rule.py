# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule like one of kube-proxy: a Service address whose only endpoint is a Pod of this host, for the Pods of a test.

Services need kube-proxy, and the endpoint that answers is chosen by chance. With a rule of its own, the test asks in
every cluster what fails first without bridge netfilter: a Service whose endpoint is a Pod of the same node.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import deletion_of, load_table
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import PORT

TABLE = "ip tke_overlay_conformance"
"""Removed by the script ``pods``, too."""


def service_address(service_cidr: str) -> str:
    """Return the address that the rule translates: the last one of the Service range before its end."""
    return str(ipaddress.IPv4Network(service_cidr)[-2])


def load_rule(address: str, clients: t.Sequence[str], endpoint: str, run: Run) -> None:
    """Translate the address to the endpoint, for these Pods only, before kube-proxy does.

    :raises KernelError: nft rejected it.
    """
    load_table(
        TABLE,
        f"""{deletion_of(TABLE)}table {TABLE} {{
    chain prerouting {{
        type nat hook prerouting priority -101; policy accept;
        ip saddr {{ {", ".join(clients)} }} ip daddr {address} tcp dport {PORT} dnat to {endpoint}:{PORT}
    }}
    chain postrouting {{
        type nat hook postrouting priority 99; policy accept;
        ip saddr {endpoint} ip daddr {endpoint} masquerade
    }}
}}
""",
        run,
    )
