# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find kubeconfigs of this host that nobody has listed, and that still lead to another server of the same cluster.

A kubeconfig is of the same cluster if it trusts the same CA, or if its server has a name
that the cluster had before. Files that are none, or cannot be read, are of no interest.
Users of the host write some of them, so nothing in them may keep this program from its end.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import re
import typing as t
import urllib.parse

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import certificates_in
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import (
    KubeconfigCluster,
    parse_kubeconfig,
    redacted_url,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json

PLACES = (
    "/etc/kubernetes/*.conf",
    "/etc/kubernetes/*kubeconfig*",
    "/var/lib/kubelet/*kubeconfig*",
    "/root/.kube/config",
    "/home/*/.kube/config",
    "/etc/rancher/*/*.yaml",
    "/var/lib/rancher/*/agent/*.kubeconfig",
    "/var/lib/k0s/*.conf",
)
"""Where kubeadm, kubespray, k3s, RKE2, k0s and kubectl keep kubeconfigs."""

MOST_BYTES = 1 << 20
"""A larger file is no kubeconfig."""


class Expected(t.NamedTuple):
    """The server that kubeconfigs should have, the former ones (host names and addresses), and the CAs as PEM."""

    url: str
    former: t.Collection[str]
    authorities: t.Sequence[str]


def find_others(listed: t.Sequence[str], expected: Expected, run: Run) -> list[str]:
    """Return each kubeconfig with another server, such as ``/etc/kubernetes/admin.conf (https://old:6443)``.

    :param listed: the kubeconfigs that the user has listed.
    """
    known = {os.path.realpath(files.ROOT + path) for path in listed}
    trusted = {der for pem in expected.authorities for der in certificates_in(pem.encode())}
    local: set[str] | None = None
    others = []
    for path in _candidates():
        real = os.path.realpath(files.ROOT + path)
        if real in known:
            continue
        known.add(real)
        servers = _servers(path, expected, trusted)
        if servers and local is None:
            local = _own_addresses(run)
        remote = sorted({url for url in servers if not _is_local(url, local or set())})
        if remote:
            others.append(f"{path} ({', '.join(map(redacted_url, remote))})")
    return others


def host_of(url: str) -> str:
    """Return the host name or address of a URL, in lower case; empty if there is none."""
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        return ""


def port_of(url: str) -> int:
    """Return the port of a server's URL."""
    try:
        return urllib.parse.urlsplit(url).port or 443
    except ValueError:
        return 443


def _candidates() -> t.Iterator[str]:
    for place in PLACES:
        for path in sorted(glob.glob(files.ROOT + place)):
            yield path[len(files.ROOT) :]


def _servers(path: str, expected: Expected, trusted: t.Collection[bytes]) -> list[str]:
    """Return the servers of this cluster that differ from the expected one."""
    try:
        text = files.read_foreign(path, MOST_BYTES)
    except OSError:
        return []
    try:
        clusters = parse_kubeconfig(path, text, credentials=False).clusters
    except ValidationError:
        found = re.findall(r"\bserver\b\"?:\s*[\"']?(https?://[^\s\"',}]+)", text)
        return [url for url in found if host_of(url) in expected.former]
    return [cluster.server.value for cluster in clusters if _is_other(cluster, expected, trusted)]


def _is_other(cluster: KubeconfigCluster, expected: Expected, trusted: t.Collection[bytes]) -> bool:
    if cluster.server.value.rstrip("/") == expected.url:
        return False
    if host_of(cluster.server.value) in expected.former:
        return True
    return cluster.authority is not None and not certificates_in(cluster.authority).isdisjoint(trusted)


def _own_addresses(run: Run) -> set[str]:
    try:
        rows = read_json(["ip", "-json", "address", "show"], run)
    except KernelError:
        return set()
    return {str(each.get("local", "")) for row in rows for each in row.get("addr_info", [])}


def _is_local(url: str, addresses: t.Collection[str]) -> bool:
    """Whether a server is on this host: an API server's own kubeconfigs lead to it directly."""
    host = host_of(url)
    try:
        return ipaddress.ip_address(host).is_loopback or host in addresses
    except ValueError:
        return host == "localhost"
