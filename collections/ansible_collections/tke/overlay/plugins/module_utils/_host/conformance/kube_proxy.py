# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find Services in the rules of kube-proxy, in iptables and in nftables mode."""

from __future__ import annotations

import re
import shutil
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import PROGRAM_PATH
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

MAX_SERVICES = 3
"""Services that are asked, besides that of the API server."""

KUBERNETES_CHAIN = "KUBE-SVC-NPX46M4PTMTKRN6Y"
"""The chain of the Service default/kubernetes, port https: kube-proxy derives the name from these by a hash."""

_NFTABLES = re.compile(r"(\d+\.\d+\.\d+\.\d+) \. tcp \. (\d+) : goto ([^\s,]+)")
_NFT_CHAIN = re.compile(r"ip daddr (\d+\.\d+\.\d+\.\d+) .*?tcp dport (\d+) .*?(?:jump|goto) (KUBE-SVC-\w+)")
_IPTABLES = re.compile(r"-d (\d+\.\d+\.\d+\.\d+)/32 .*?-p tcp .*?--dport (\d+) .*?-j (KUBE-SVC-\w+)")

ServiceAddress = t.Tuple[str, int]


class KubeProxy(t.NamedTuple):
    """What kube-proxy has on this host. Without Services, ``missing`` says why."""

    kubernetes: ServiceAddress | None
    services: t.Sequence[ServiceAddress]
    missing: str = ""


def find_services(run: Run) -> KubeProxy:
    """Return the Services with TCP ports and endpoints that the rules of kube-proxy name."""
    found = _NFTABLES.findall(run(("nft", "list", "map", "ip", "kube-proxy", "service-ips"), None)[1])
    found = found or _NFT_CHAIN.findall(run(("nft", "list", "chain", "ip", "nat", "KUBE-SERVICES"), None)[1])
    if not found and shutil.which("iptables-legacy", path=PROGRAM_PATH):
        command = ("iptables-legacy", "-w", "5", "-t", "nat", "-S", "KUBE-SERVICES")
        found = _IPTABLES.findall(run(command, None)[1])
    if not found:
        code, _out, _errors = run(("ip", "link", "show", "dev", "kube-ipvs0"), None)
        mode = "kube-proxy runs in IPVS mode, whose Services are not read: set overlay_conformance_services"
        return KubeProxy(None, [], mode if code == 0 else "no kube-proxy")
    addresses = {(address, int(port)): chain for address, port, chain in found}
    own = next((key for key, chain in addresses.items() if _is_kubernetes(chain)), None)
    return KubeProxy(own, [key for key in sorted(addresses) if key != own][:MAX_SERVICES])


def _is_kubernetes(chain: str) -> bool:
    return chain == KUBERNETES_CHAIN or chain.endswith("default/kubernetes/tcp/https")
