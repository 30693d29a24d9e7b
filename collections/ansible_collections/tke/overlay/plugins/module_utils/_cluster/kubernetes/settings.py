# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of a cluster that the programs of Kubernetes must agree on, and what cannot work among them.

Nothing here reads a file or an inventory. Errors name the variable that a user sets.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    INVENTORY_NAME,
    INVENTORY_NAME_RULE,
    is_host_name,
    is_one_line,
    shown,
)

KUBEADM, K3S, RKE2 = "kubeadm", "k3s", "rke2"
DISTRIBUTIONS = (KUBEADM, K3S, RKE2)
API_VERSIONS = ("v1beta4", "v1beta3")
PROXY_MODES = ("iptables", "nftables")

FIRST, SERVER, NODE = "first", "server", "node"
"""What a host becomes: the API server that begins the cluster, a further one, or a node without an API server."""

DEFAULT_MAX_PODS = 110
"""The default of kubelet."""

RKE2_API_PORT = 6443
SUPERVISOR_PORT = 9345
"""The port at which nodes of RKE2 register."""

DNS_INDEX = 10
"""The address of the Service range that kubeadm gives to the DNS service, and k3s and RKE2 by default."""

NODE_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_CA_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_CERTIFICATE_KEY = re.compile(r"[0-9a-f]{64}")


class Endpoint(t.NamedTuple):
    """How clients reach the API servers. Without a load balancer, ``vip`` is empty.

    ``listeners`` are the ports of the VIP besides the API; ``None``: another load balancer has the VIP.
    """

    name: str
    port: int
    vip: str = ""
    listeners: t.Collection[int] | None = None

    @property
    def has_pair(self) -> bool:
        """Whether the pair of this collection has the VIP."""
        return bool(self.vip) and self.listeners is not None


class JoinSecrets(t.NamedTuple):
    """What a host needs to join. Empty: not known yet."""

    token: str = ""
    ca_hashes: t.Sequence[str] = ()
    certificate_key: str = ""


class Member(t.NamedTuple):
    """A host that becomes an API server or a node.

    ``has_pods``: it is a node of the overlay with a Pod bridge. ``extra``: fields of the user, by document.
    """

    host: str
    node: str
    address: t.Any
    role: str = NODE
    has_pods: bool = True
    extra: t.Mapping[str, t.Any] = {}


class ClusterValues(t.NamedTuple):
    """What all hosts of a cluster have in common.

    ``own_service``: the collection writes the endpoints of the ``kubernetes`` Service (``overlay_api_service``).
    """

    distribution: str
    endpoint: Endpoint
    container_cidrs: t.Sequence[str]
    service_cidr: str
    usable_pods: int
    max_pods: int
    dns: str
    cert_sans: t.Sequence[str]
    bridge: str = "tke-br0"
    own_service: bool = False
    proxy_mode: str = ""
    api_version: str = API_VERSIONS[0]
    secrets: JoinSecrets = JoinSecrets()


def default_max_pods(usable: int) -> int:
    """Return the number of Pods of a node when the user sets none."""
    return min(DEFAULT_MAX_PODS, usable)


def default_dns(service_cidr: str) -> str:
    """Return the address of the DNS service when the user sets none."""
    return str(ipaddress.IPv4Network(service_cidr)[DNS_INDEX])


def default_cert_sans(endpoint: Endpoint) -> list[str]:
    """Return the names and addresses of the API servers' certificate when the user sets none."""
    return list(filter(None, [endpoint.name, endpoint.vip]))


# --- what cannot work -----------------------------------------------------------------------------


def problems_of(values: ClusterValues, members: t.Sequence[Member]) -> list[str]:
    """Return every reason why the cluster cannot work with these values."""
    return [
        *_problems_of_endpoint(values, members),
        *_problems_of_numbers(values),
        *_problems_of_cert_sans(values),
        *_problems_of_secrets(values),
        *_problems_of_members(members),
    ]


def _problems_of_endpoint(values: ClusterValues, members: t.Sequence[Member]) -> t.Iterator[str]:
    name, port, vip, listeners = values.endpoint
    servers = [member.host for member in members if member.role != NODE]
    if not name and not servers:
        yield (
            "no host is in group apiserver, and overlay_api_name is not set: the nodes have no API server to join; "
            "add the API servers to the group, or set overlay_api_name"
        )
    elif not name:
        yield (
            f"the API servers {', '.join(servers)} have no common name, and controlPlaneEndpoint cannot change later: "
            f"set overlay_clb_subnet (the private load balancer), or overlay_api_name to a name that leads to them all"
        )
    elif not (is_host_name(name) and name == name.lower()) and not is_ipv4_address(name):
        yield f"overlay_api_name {shown(name)} is not a host name in lower case"
    if values.own_service and not vip:
        yield (
            "overlay_api_service is vip, and there is no VIP: set overlay_clb_subnet, or overlay_clb_provider and "
            "overlay_clb_vips"
        )
    if values.distribution != RKE2:
        return
    if port != RKE2_API_PORT:
        yield f"overlay_api_port is {port}, and API servers of RKE2 always listen on {RKE2_API_PORT}: set that"
    if values.endpoint.has_pair and SUPERVISOR_PORT not in (listeners or ()):
        backends = ", ".join(f'"{member.address}:{SUPERVISOR_PORT}"' for member in members if member.role != NODE)
        yield (
            f"hosts of RKE2 register at {name}:{SUPERVISOR_PORT}, and no listener of the apiserver VIP has this port: "
            f"add {{name: rke2-supervisor, vip: apiserver, port: {SUPERVISOR_PORT}, backends: [{backends}]}} to "
            f"overlay_clb_listeners"
        )


def _problems_of_numbers(values: ClusterValues) -> t.Iterator[str]:
    if values.max_pods > values.usable_pods:
        yield (
            f"overlay_kubernetes_max_pods {values.max_pods} is more than the {values.usable_pods} usable addresses of "
            f"a node CIDR (overlay_max_pods_per_node less VTEP, gateway and last address): Pods beyond them would get "
            f"no address; set {values.usable_pods} or less"
        )
    else:
        yield from range_problems("overlay_kubernetes_max_pods", values.max_pods, 1, values.usable_pods)
    services, what = ipaddress.IPv4Network(values.service_cidr), f"overlay_kubernetes_dns {shown(values.dns)}"
    usual = services[DNS_INDEX]
    if not is_ipv4_address(values.dns):
        yield f"{what} is not an IPv4 address: set one of the Service range {services}, or remove the line"
        return
    address = ipaddress.IPv4Address(values.dns)
    if address not in services:
        yield f"{what} is not in the Service range {services}: set an address of it, or remove the line"
    elif address in (services[0], services[1], services[-1]):
        yield f"{what} is the first, second (Service kubernetes) or last address of {services}: remove the line"
    elif values.distribution == KUBEADM and address != usual:
        yield f"{what} differs from {usual}, which kubeadm always gives to the DNS service: remove the line"


def _problems_of_cert_sans(values: ClusterValues) -> t.Iterator[str]:
    sans, what = list(values.cert_sans), "overlay_kubernetes_cert_sans"
    for san in sans:
        if not is_host_name(san.removeprefix("*.")) and not _is_address(san):
            yield f"{what}: {shown(san)} is neither a host name nor an address"
    missing = [san for san in default_cert_sans(values.endpoint) if san not in sans]
    if missing:
        yield (
            f"{what} {', '.join(sans) or '[]'} lacks {' and '.join(missing)}, at which clients reach the API servers: "
            f"their certificate would be refused; add what is missing, or remove the variable"
        )


def _problems_of_secrets(values: ClusterValues) -> t.Iterator[str]:
    """Yield problems of secrets without showing them."""
    token, hashes, key = values.secrets
    if values.distribution != KUBEADM:
        if token and not is_one_line(token):
            yield "overlay_kubernetes_token is not one line of printable characters"
        unused = [name for name, given in (("ca_hashes", hashes), ("certificate_key", key)) if given]
        for name in unused:
            yield f"overlay_kubernetes_{name} is for kubeadm, and the distribution is {values.distribution}: remove it"
        return
    if token and not _TOKEN.fullmatch(token):
        yield (
            "overlay_kubernetes_token is not a token of kubeadm (6 and 16 lower-case letters and digits, with a dot "
            "between): make one with 'kubeadm token generate'"
        )
    for each in hashes:
        if not _CA_HASH.fullmatch(each):
            yield f"overlay_kubernetes_ca_hashes: {shown(each)} is not sha256: and 64 hexadecimal digits"
    if key and not _CERTIFICATE_KEY.fullmatch(key):
        yield (
            "overlay_kubernetes_certificate_key is not 64 hexadecimal digits: make one with "
            "'kubeadm certs certificate-key'"
        )


def _problems_of_members(members: t.Sequence[Member]) -> t.Iterator[str]:
    names: dict[str, list[str]] = {}
    addresses: dict[str, list[str]] = {}
    for member in members:
        if not INVENTORY_NAME.fullmatch(member.host):
            yield f"host {shown(member.host)}: {INVENTORY_NAME_RULE}"
        if not NODE_NAME.fullmatch(member.node):
            yield (
                f"host {member.host}: {shown(member.node)} is not a name of a Node, which has lower-case letters, "
                f"digits, '-' and '.': set overlay_kubernetes_node"
            )
        yield from _problems_of_address(member)
        names.setdefault(member.node, []).append(member.host)
        addresses.setdefault(str(member.address), []).append(member.host)
    for name, hosts in names.items():
        if len(hosts) > 1:
            yield f"hosts {', '.join(hosts)} have one Node name, {shown(name)}: set overlay_kubernetes_node"
    for address, hosts in addresses.items():
        if len(hosts) > 1:
            yield f"hosts {', '.join(hosts)} have one address, {shown(address)}: set overlay_kubernetes_node_ip"


def _problems_of_address(member: Member) -> t.Iterator[str]:
    what = f"host {member.host}: the address {shown(member.address)}"
    if not isinstance(member.address, str) or not _is_address(member.address):
        yield f"{what} is not numeric, and kubelet takes no name: set overlay_kubernetes_node_ip or overlay_underlay_ip"
    elif not is_ipv4_address(member.address):
        yield (
            f"{what} is IPv6, and Pods and Services are IPv4: kube-apiserver and kube-proxy refuse two families. Set "
            f"overlay_kubernetes_node_ip to an IPv4 address of the host"
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# --- what works, and may surprise -----------------------------------------------------------------


def warnings_of(values: ClusterValues, members: t.Sequence[Member]) -> list[str]:
    """Return what a user must know about files that can be written."""
    found = []
    token, hashes, key = values.secrets
    joining = [member.host for member in members if member.role != FIRST]
    needed = {"overlay_kubernetes_token": bool(token)}
    if values.distribution == KUBEADM:
        needed["overlay_kubernetes_ca_hashes (or overlay_api_ca)"] = bool(hashes)
    missing = [name for name, given in needed.items() if not given]
    if missing and joining:
        found.append(
            f"the files of {len(joining)} joining hosts lack {' and '.join(missing)}: run this again when you have it"
        )
    servers = [member.host for member in members if member.role == SERVER]
    if values.distribution == KUBEADM and servers and not key:
        found.append(
            f"overlay_kubernetes_certificate_key is not set: copy the certificates of the first API server to "
            f"{', '.join(servers)} yourself before they join"
        )
    without = [member.host for member in members if not member.has_pods]
    if without:
        found.append(
            f"{', '.join(without)}: no node of the overlay with Pods, so its kubelet gets no CNI configuration and its "
            f"Node stays NotReady; put it into cloud or idc, without overlay_pods: false"
        )
    return found
