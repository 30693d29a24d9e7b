# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel has left on a node of the overlay: find it, carry the Pods' addresses over, and remove it.

flannel removes its objects itself only sometimes, and a Pod that flannel's CNI file
has started keeps its address and its link on the bridge. Left on a host are:

===========================  =================================================================================
VXLAN links                  ``flannel.1``, with its routes, neighbours and FDB entries
chains of iptables           ``FLANNEL-FWD`` (filter) and ``FLANNEL-POSTRTG`` (nat), and the rules that jump there
nftables tables              ``flannel-ipv4`` and ``flannel-ipv6``, of newer releases
CNI files                    each file in ``/etc/cni/net.d`` that names the plugin ``flannel``
``/run/flannel/subnet.env``  what that plugin reads
===========================  =================================================================================

The records of host-local name the address of each Pod, below the name of the CNI
network. Those of flannel's network are copied to the network of this collection
before flannel's CNI file is removed; otherwise a new Pod could get the address of an
old one. The former records stay.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files, remove_file, write_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import ALIAS, Row, kind_of, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import delete_table, load_table
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, run_batch
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni_checks import is_flannels
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import read_legacy_rules
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import names_in
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import RESERVED
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings

CNI_DIRECTORY = os.path.dirname(CNI_FILE)
SUBNET_FILE = "/run/flannel/subnet.env"
RECORDS = os.path.dirname(RESERVED)
"""The directory of host-local: a directory for each network, with a file for each address."""

DEFAULT_NETWORK = "cbr0"
"""The name of flannel's CNI network in its own manifests."""

FORWARD_CHAIN = "FLANNEL-FWD"

_LINK = re.compile(r"flannel(-v6)?\.\d+")
_NFT_TABLE = re.compile(r"^table (ip flannel-ipv4|ip6 flannel-ipv6) \{", re.MULTILINE)
_TABLE = re.compile(r"^table (ip6? \S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(r"^\tchain (FLANNEL-(?:FWD|POSTRTG)) \{", re.MULTILINE)
_CHAINS = ("nft", "list", "chains")


class Chain(t.NamedTuple):
    """A chain of flannel in a table that iptables-nft manages."""

    table: str  # family and name
    name: str

    def __str__(self) -> str:
        return f"chain {self.name} of the nftables table {self.table}"


class Node(t.NamedTuple):
    """What the overlay has on this host, or is about to have: its VXLAN link and its node CIDR."""

    device: str | None
    node_cidr: str | None


class Leftovers(t.NamedTuple):
    """The objects of flannel on a host. ``addresses`` are the records of Pods to copy: path -> content."""

    links: t.Sequence[str]
    chains: t.Sequence[Chain]
    tables: t.Sequence[str]
    files: t.Mapping[str, str]
    addresses: t.Mapping[str, str]
    warnings: t.Sequence[str] = ()

    def named(self) -> list[str]:
        """Return a name for each object that a removal would remove."""
        return [
            *(f"link {name}" for name in self.links),
            *map(str, self.chains),
            *(f"nftables table {name}" for name in self.tables),
            *(f"file {path}" for path in self.files),
        ]

    def diffs(self) -> t.Iterator[Diff]:
        """Yield a difference for each kind of object that is removed, and for the records that are copied."""
        for name, lines in (
            ("link", self.links),
            ("rules", [*map(str, self.chains), *(f"table {name}" for name in self.tables)]),
        ):
            if lines:
                yield Diff(name, "".join(f"{line}\n" for line in lines), "")
        for path, text in self.files.items():
            yield Diff(path, text, "")
        for path, text in self.addresses.items():
            yield Diff(path, "", f"{text.strip()}\n".replace("\r", ""))


def saved_node() -> Node:
    """Return what was last applied on this host; without content on a host that is no node."""
    settings = saved_settings()
    return Node(settings.get("device"), settings.get("node_cidr"))


def find_leftovers(node: Node, run: Run, links: t.Sequence[Row] | None = None) -> Leftovers:
    """Return what flannel has left on this host. The device of the overlay is none of it, whatever its name.

    :param links: all links of the host, if they were read before.
    :raises KernelError: the links cannot be read.
    """
    rows = read_links(run) if links is None else links
    _code, chains, _errors = run(_CHAINS, None)
    found = [Chain(table, name) for table, body in _TABLE.findall(chains) for name in _CHAIN.findall(body)]
    closed = [chain for chain in found if chain.name == FORWARD_CHAIN and _is_closed(chain.table, chains)]
    cni_files = _cni_files()
    return Leftovers(
        links=[
            str(row["ifname"])
            for row in rows
            if kind_of(row) == "vxlan"
            and _LINK.fullmatch(str(row.get("ifname")))
            and row.get("ifname") != node.device
            and row.get("ifalias") != ALIAS
        ],
        chains=[chain for chain in found if chain not in closed],
        tables=_NFT_TABLE.findall(chains),
        files={**cni_files, **read_files([SUBNET_FILE])},
        addresses=_missing_records(node, cni_files.values()),
        warnings=[*map(_why_it_stays, closed), *_of_legacy(run)],
    )


def remove_leftovers(node: Node, run: Run, check: bool) -> Leftovers:
    """Carry the addresses of Pods over and remove what flannel has left; with ``check`` only return it.

    :raises ValidationError: the host is no node of the overlay yet, so its Pods still need flannel.
    :raises KernelError: an object could not be removed.
    """
    if not saved_settings() and not check:
        raise ValidationError(
            "this host is no node of the overlay, so its Pods need what flannel has left: run tke.overlay.site first"
        )
    found = find_leftovers(node, run)
    if check or not (found.named() or found.addresses):
        return found
    with locked():
        _carry_over(found.addresses)
        for path in found.files:
            remove_file(path)
        with contextlib.suppress(OSError):  # it does not exist, or another file is in it
            os.rmdir(files.ROOT + os.path.dirname(SUBNET_FILE))
        # A Pod that has started meanwhile still has its address from flannel's network.
        _carry_over(_missing_records(node, found.files.values()))
        for table in found.tables:
            delete_table(table, run)
        for chain in found.chains:
            _remove_chain(chain, run)
        run_batch(("ip",), [f"link del {name}" for name in found.links], run)
    left = find_leftovers(node, run).named()
    if left:
        raise KernelError(f"not removed, or created again: {'; '.join(left)}. Does flanneld still run on this host?")
    return found


# --- rules ---


def _is_closed(table: str, chains: str) -> bool:
    """Return whether the chain FORWARD of a table drops what no rule accepts.

    :param chains: the listing of all chains.
    """
    bodies = [body for name, body in _TABLE.findall(chains) if name == table]
    return any(re.search(r"chain FORWARD \{\n\t\ttype filter hook forward [^}]*policy drop", body) for body in bodies)


def _why_it_stays(chain: Chain) -> str:
    return (
        f"{chain} stays, because the policy of chain FORWARD is to drop and this chain accepts the packets of Pods: "
        f"let the firewall accept them before you remove it"
    )


def _of_legacy(run: Run) -> t.Iterator[str]:
    if f"-N {FORWARD_CHAIN}" in read_legacy_rules(run).splitlines():
        yield (
            "flannel's chains of iptables-legacy stay until the next reboot; they accept and masquerade packets of "
            "Pods, as the overlay does"
        )


def _remove_chain(chain: Chain, run: Run) -> None:
    """Remove a chain and the rules that jump to it, in one transaction."""
    _code, listing, _errors = run(("nft", "-a", "list", "table", *chain.table.split()), None)
    base, lines = "", []
    for line in listing.splitlines():
        header = re.match(r"\tchain (\S+) \{", line)
        base = header[1] if header else base
        jump = re.search(rf"\b(?:jump|goto) {chain.name}\b.* # handle (\d+)$", line)
        if jump:
            lines.append(f"delete rule {chain.table} {base} handle {jump[1]}\n")
    removal = f"flush chain {chain.table} {chain.name}\ndelete chain {chain.table} {chain.name}\n"
    load_table(chain.table, "".join([*lines, removal]), run)


# --- CNI ---


def _cni_files() -> dict[str, str]:
    """Return the CNI files that name the plugin flannel, by path."""
    texts = {}
    for name in names_in(CNI_DIRECTORY):
        path = f"{CNI_DIRECTORY}/{name}"
        if name.endswith((".conf", ".conflist", ".json")) and is_flannels(path):
            texts[path] = _foreign_text(path)
    return texts


def _foreign_text(path: str) -> str:
    try:
        return files.read_foreign(path)
    except OSError:
        return ""


def _json(text: str) -> dict[str, t.Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _missing_records(node: Node, cni_texts: t.Iterable[str]) -> dict[str, str]:
    """Return the records of flannel's network that the network of this collection lacks, by the path of the copy."""
    if not node.node_cidr:
        return {}
    network = ipaddress.IPv4Network(node.node_cidr)
    names = [str(_json(text).get("name", "")) for text in cni_texts]
    copies: dict[str, str] = {}
    for name in dict.fromkeys([*names, DEFAULT_NETWORK]):
        source = f"{RECORDS}/{name}"
        for address in filter(is_ipv4_address, names_in(source)) if name and "/" not in name else ():
            copy = f"{RESERVED}/{address}"
            if ipaddress.IPv4Address(address) in network and not os.path.lexists(files.ROOT + copy):
                copies[copy] = _foreign_text(f"{source}/{address}")
    return copies


def _carry_over(records: t.Mapping[str, str]) -> None:
    for path, text in records.items():
        if not os.path.lexists(files.ROOT + path):
            write_file(path, text)
