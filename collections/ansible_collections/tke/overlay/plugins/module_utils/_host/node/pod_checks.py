# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what Pods of this host need besides the tunnel, and return what is missing. Nothing is changed.

Probes from VTEP to VTEP (:mod:`probe`) pass neither the Pod bridge, nor forwarding, nor the firewalls between them. The
checks here read the settings that are known to matter, and ask the kernel which way it would send a packet of a Pod.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_sysctls
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import Row, find_link, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TABLE
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    Job,
    Run,
    error_text,
    listed_together,
    read_json,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import find_owner
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import existing_devices
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni_checks import check_cni, runs_pods
from ansible_collections.tke.overlay.plugins.module_utils._host.node.flannel import Node, find_leftovers
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import (
    CHAINS,
    blocking_firewalls,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import (
    BAD,
    NOTE,
    PodFinding,
    PodNetwork,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.port_checks import check_ports, ports_of
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import version_jobs

BRIDGE_NETFILTER = "net.bridge.bridge-nf-call-iptables"

CONNTRACK_FULL = 0.98
"""From this part of the limit on, short bursts of new connections lose packets."""

MOST_NAMED = 6
"""Leftovers that one finding names."""

NAT = ("nft", "list", "chain", *TABLE.split(), "nat")

DEFAULT_ROUTES = ("ip", "-json", "-4", "route", "show", "default")


def pod_findings(
    network: PodNetwork, run: Run, links: t.Sequence[Row] | None = None, *, rules_hold: bool = False
) -> list[PodFinding]:
    """Return what prevents Pods of this host from talking; empty if nothing was found.

    What cannot be read is a finding of severity NOTE and does not stop the other checks.

    :param links: all links of the host, if they were read before.
    :param rules_hold: whether the nftables table was compared with the plan before, and holds it.
    """
    found: list[PodFinding] = []
    try:
        links = read_links(run) if links is None else links
    except KernelError as error:
        return [_unchecked("links", error)]
    # nft reads all sets of a table for the listing of one chain.
    listings = [CHAINS, *([] if rules_hold else [NAT]), DEFAULT_ROUTES]
    run = listed_together(listings, run, _plugin_jobs(network), keep=True)
    checks: t.Sequence[tuple[str, t.Callable[[], t.Iterable[PodFinding]]]] = (
        ("forwarding", lambda: _forwarding(network, links, run)),
        ("bridge_netfilter", lambda: _bridge_netfilter(network, links)),
        ("port", lambda: check_ports(network, links, run)),
        ("rules", lambda: [] if rules_hold else _own_rules(run)),
        ("conntrack", _conntrack),
        ("firewall", lambda: blocking_firewalls(network, run)),
        ("cni", lambda: check_cni(network, run)),
        ("flannel", lambda: _of_flannel(network, links, run)),
        # Last, because it finds again what others have named.
        ("route", lambda: [] if _named(found) else _way(network, links, run)),
    )
    for name, check in checks:
        try:
            found += check()
        except (OSError, KernelError, ValueError, LookupError, TypeError, AttributeError) as error:
            found.append(_unchecked(name, error))
    return found


def _plugin_jobs(network: PodNetwork) -> list[Job]:
    """Return the programs that the check of the CNI plugins runs; none if it will fail."""
    try:
        return version_jobs(network.bin_dirs)
    except (OSError, ValueError):
        return []


def _named(found: t.Iterable[PodFinding]) -> bool:
    """Whether the reason is known why the kernel would not forward."""
    return any(each.check in ("forwarding", "bridge") for each in found)


def summarized(found: t.Iterable[PodFinding]) -> list[dict[str, str]]:
    """Return findings as modules return them."""
    return [finding._asdict() for finding in found]


def _unchecked(name: str, error: Exception) -> PodFinding:
    return PodFinding(name, f"this was not checked ({name}): {error}", "Check it on the host", NOTE)


# --- forwarding ---


def _forwarding(network: PodNetwork, links: t.Sequence[Row], run: Run) -> t.Iterator[PodFinding]:
    """Yield the links on which the kernel drops packets that are not for the host itself."""
    if read_sysctls(["net.ipv4.ip_forward"]).get("net.ipv4.ip_forward") == "0":
        yield PodFinding(
            "forwarding",
            "net.ipv4.ip_forward is 0: Pods reach only other Pods of this host",
            "sysctl -w net.ipv4.ip_forward=1",
        )
        return
    purposes = dict.fromkeys(_tunnels(network, links), "packets from other nodes do not reach Pods of this host")
    purposes[network.bridge] = "Pods reach only other Pods of this host"
    for row in read_json(DEFAULT_ROUTES, run):
        purposes.setdefault(row.get("dev", ""), "answers from outside the cluster do not reach Pods")
    present = {row["ifname"] for row in links}
    keys = {name: f"net/ipv4/conf/{name}/forwarding" for name in purposes if name in present}
    values = read_sysctls(keys.values())
    for name, key in keys.items():
        if values.get(key) == "0":
            yield PodFinding(
                "forwarding",
                f"{_dotted(key)} is 0: {purposes[name]}",
                f"sysctl -w {_dotted(key)}=1",
            )
    later = "net.ipv4.conf.default.forwarding"
    if network.bridge not in present and read_sysctls([later]).get(later) == "0":
        yield PodFinding(
            "forwarding",
            f"{later} is 0: the Pod bridge {network.bridge}, which the first Pod creates, will not forward",
            f"sysctl -w {later}=1",
            NOTE,
        )


def _tunnels(network: PodNetwork, links: t.Sequence[Row]) -> t.Iterator[str]:
    """Yield the links by which packets from Pods of other nodes arrive; direct links use that of the underlay."""
    yield network.device
    if network.linked:
        yield from existing_devices(links)
        owner = find_owner(network.local, links)
        if owner is not None:
            yield owner["ifname"]


def _dotted(key: str) -> str:
    """Return the key of a sysctl as sysctl(8) prints it, except where a device name has a dot."""
    return key if "." in key else key.replace("/", ".")


def _way(network: PodNetwork, links: t.Sequence[Row], run: Run) -> t.Iterator[PodFinding]:
    """Ask the kernel for the route of a packet between a Pod of this host and one of another node.

    Its answer includes routing rules, reverse-path filters and whether the links forward.
    """
    far, bridge = network.far_pod, find_link(network.bridge, links)
    if far is None or bridge is None or find_link(network.device, links) is None:
        return
    addresses = [info["local"] for info in bridge.get("addr_info", [])]
    if network.gateway not in addresses or not ports_of(network.bridge, links):
        return  # the next Pod sets the bridge up
    device = _device_to(network, run)
    if not device:
        return  # the table of routes shows what is missing
    for target, source, come_in, go_out in (
        (far, network.pod, network.bridge, device),
        (network.pod, far, device, network.bridge),
    ):
        command = ("ip", "-json", "route", "get", target, "from", source, "iif", come_in)
        try:
            rows = read_json(command, run)
        except KernelError as error:
            reason = str(error).partition(": ")[2] or str(error)
        else:
            chosen = rows[0].get("dev", "no link") if rows else "no link"
            if chosen == go_out:
                continue
            reason = f"it sends them to {chosen}"
        yield PodFinding(
            "route",
            f"the kernel does not forward packets from {source} on {come_in} to {target} on {go_out}: {reason}",
            f"Check ip rule and: {' '.join(word for word in command if word != '-json')}",
        )


def _device_to(network: PodNetwork, run: Run) -> str:
    """Return the device by which the route to the other node leads; empty without such a route."""
    if not network.linked or network.peer_cidr is None:
        return network.device
    rows = read_json(["ip", "-json", "-4", "route", "show", "table", "main", "exact", network.peer_cidr], run)
    return next((str(row["dev"]) for row in rows if "dev" in row), "")


# --- rules ---


def _bridge_netfilter(network: PodNetwork, links: t.Sequence[Row]) -> t.Iterator[PodFinding]:
    """Yield a finding if packets between two Pods of this host pass the bridge without netfilter.

    The answer of a Service's endpoint to a Pod on the same node then keeps the address of the endpoint.
    """
    row = find_link(network.bridge, links) or {}
    value = read_sysctls([BRIDGE_NETFILTER]).get(BRIDGE_NETFILTER)
    fault = "a Pod does not reach a Service whose endpoint is a Pod of the same node"
    if value is None:
        severity = BAD if runs_pods(network) else NOTE
        yield PodFinding(
            "bridge_netfilter",
            f"the kernel module br_netfilter is not loaded: {fault}",
            f"modprobe br_netfilter && sysctl -w {BRIDGE_NETFILTER}=1",
            severity,
        )
    elif value == "0" and not row.get("linkinfo", {}).get("info_data", {}).get("nf_call_iptables"):
        yield PodFinding("bridge_netfilter", f"{BRIDGE_NETFILTER} is 0: {fault}", f"sysctl -w {BRIDGE_NETFILTER}=1")


def _of_flannel(network: PodNetwork, links: t.Sequence[Row], run: Run) -> t.Iterator[PodFinding]:
    """Yield a note that names what flannel has left."""
    named = find_leftovers(Node(network.device, network.node_cidr), run, links).named()
    if named:
        yield PodFinding(
            "flannel",
            f"flannel has left {some_of(named, MOST_NAMED)}",
            "To remove it: ansible-playbook tke.overlay.site -e overlay_remove_flannel=true",
            NOTE,
        )


def _conntrack() -> t.Iterator[PodFinding]:
    """Yield a finding if the kernel has no room for further connections."""
    keys = ("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max")
    found = read_sysctls(keys)
    count, most = (int(found.get(key, "0")) for key in keys)
    if most and count >= most * CONNTRACK_FULL:
        yield PodFinding(
            "conntrack",
            f"{keys[0]} is {count} of {most}: the kernel drops packets of new connections of Pods",
            f"sysctl -w {keys[1]}={2 * most}",
        )


def _own_rules(run: Run) -> t.Iterator[PodFinding]:
    code, out, errors = run(NAT, None)
    if code != 0 and "No such file" not in errors:
        raise KernelError(error_text(code, errors))
    if code != 0 or "masquerade" not in out or "flags dormant" in out:
        yield PodFinding(
            "rules",
            f"the nftables table {TABLE} does not masquerade: packets of Pods leave the cluster with addresses that "
            f"nobody outside can answer",
            "sh /etc/tke-overlay/restore",
        )
