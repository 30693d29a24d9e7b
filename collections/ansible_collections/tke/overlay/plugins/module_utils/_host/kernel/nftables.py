# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables table of a node: which packets it drops, and how it translates addresses.

The collection keeps one permanent table, ``inet tke_overlay``. Its rules drop packets,
exclude them from connection tracking, translate addresses and clamp the size of
TCP segments. They never accept a packet, so what kube-proxy, Docker or firewalld
drop stays dropped; the tables of these programs are not even read.

A *Pod address* below is any address of a container CIDR: VTEP, gateway, Pod or
Service. *Inside* links are the VXLAN device, the Pod bridge and ``lo``.

===========  ==========================================================================================
chain        what it does
===========  ==========================================================================================
prerouting   Creates no conntrack entries for tunnel packets: each flow goes one way only, and such
             entries once filled half a table (calico #8934). Drops packets from outside to a Pod
             address or from a Pod address, and packets out of the tunnel whose source is not a Pod
             address. The chain runs before DNAT, where the destination of a NodePort packet is still
             the host, so packets that reach a Pod through a Service pass.
output       Creates no conntrack entries for the tunnel packets of this host.
input        Drops packets to the tunnel's port unless a peer sent them. Not in prerouting: when the
             masquerade of another program has used this port as the source port of a container, the
             answer is no tunnel packet (calico #12244) and goes to the container, not to this host.
forward      Drops packets to the tunnel's port of a peer: the masquerade of this host would make the
             sender look like a peer. Clamps TCP segments to the MTU of the overlay.
postrouting  Drops packets to a Pod address that leave unencapsulated because a route is missing.
nat          Packets from Pods to outside the cluster get the address of this host; except those that
             kube-proxy has marked, which it translates itself. They never get the tunnel's port as
             source port, because the answers would be taken for tunnel packets.
===========  ==========================================================================================

Links of other transports, and with MTUs of their own, add the rules of :mod:`link_rules`.

How the table is compared: nft prints rules in a different form than it reads them,
and the form depends on its version. Therefore each load records the loaded text
and the listing right after the load below ``/run``. As long as the listing is equal
to the recorded one, the table holds the recorded text; otherwise it holds what the
listing shows. Either way, a rule or an element that was added, changed, removed or
moved by hand is a difference. Without a record (another version of nft, a load by
another program), the worst case is that the same rules are loaded once more.
"""

from __future__ import annotations

import re
import types
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import RUN_DIRECTORY, read_files, write_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel import link_rules, table_update
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    AsWanted,
    Desired,
    Run,
    Wanted,
    error_text,
)

if t.TYPE_CHECKING:
    from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import FormerRoute
    from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import WireguardSpec

TABLE = "inet tke_overlay"
RECORD_TEXT = f"{RUN_DIRECTORY}/rules.nft"
RECORD_LISTING = f"{RUN_DIRECTORY}/rules.listing"

COUNTERS = ("not_a_peer", "to_pods", "from_pods", "inner_source", "forwarded_to_vtep", "unrouted")
"""The counters of dropped packets, one per kind of rule."""

_LIST = ("nft", "-s", "list", "table", *TABLE.split())
_LOAD = ("nft", "-f", "-")
_KUBE_PROXY = "0x00004000"
_MARKED = f"meta mark & {_KUBE_PROXY} == {_KUBE_PROXY}"
_FAMILY = {4: ("ip", "ipv4", 40), 6: ("ip6", "ipv6", 60)}
"""IP version -> keyword of the header, name of the protocol, bytes of IP and TCP header."""


class TransitionAllowances(t.NamedTuple):
    """What the rules allow besides while the fleet changes from one plan to another."""

    peers: t.Sequence[str] = ()  # former underlay addresses of peers
    port: int | None = None  # the other port of the tunnel, old or new
    device: str = ""  # the link that receives on it
    links: t.Sequence[str] = ()  # the links by which packets of Pods come and leave in the former overlay
    wireguard: t.Sequence[WireguardSpec] = ()  # the devices of the former plan
    former: t.Mapping[str, FormerRoute] = types.MappingProxyType({})  # by node CIDR, of peers with another transport
    kept: t.Collection[str] = ()  # node CIDRs of those peers to which the host still sends as before


NO_ALLOWANCES = TransitionAllowances()


class RulesSpec(t.NamedTuple):
    """What determines the rules. ``peers`` are the underlay addresses of all other nodes with a VXLAN link.

    ``bridge`` is empty on a host without Pods. ``links`` is ``None`` where VXLAN connects all nodes, with one MTU.
    """

    device: str
    bridge: str
    port: int
    mtu: int
    node_cidr: str
    container_cidrs: t.Sequence[str]
    peers: t.Sequence[str]
    also: TransitionAllowances = NO_ALLOWANCES
    links: link_rules.LinkRules | None = None

    @property
    def ports(self) -> list[int]:
        """The port of the tunnel; during a change of the port, both."""
        return sorted({self.port, *([] if self.also.port is None else [self.also.port])})

    @property
    def devices(self) -> list[str]:
        """The links that deliver the packets of the tunnel."""
        return sorted({self.device, self.also.device} - {""})


class RulesTable:
    """The nftables table. It is compared like the others (:class:`tables.ReadableTable`)."""

    name = "rules"
    of_device = False

    def __init__(self, spec: RulesSpec | str) -> None:
        """Take what determines the rules, or their saved text."""
        self.text = spec if isinstance(spec, str) else rules_text(spec)
        self.wanted = _items(self.text)

    def listings(self) -> list[t.Sequence[str]]:
        """Return the command that lists the table, without the values of its counters."""
        return [_LIST]

    def read(self, run: Run, wanted: Wanted | None = None) -> t.Mapping[str, ActualEntry]:
        """Return chains, their rules by number, sets and their elements, and counters without their values."""
        code, listing, errors = run(_LIST, None)
        if code != 0:
            if "No such file or directory" in errors:
                return {}
            raise KernelError(f"{' '.join(_LIST)}: {error_text(code, errors)}")
        record = read_files((RECORD_TEXT, RECORD_LISTING))
        text = record.get(RECORD_TEXT, "") if record.get(RECORD_LISTING) == listing else listing
        if text == self.text:
            return AsWanted(self.wanted)
        return {key: ActualEntry(spec, managed=True) for key, spec in _items(text).items()}

    def _lost(self, found: Desired) -> list[str]:
        """Return the missing chains, rules by number and peers: the keys that every version of nft prints alike."""
        return [key for key in self.wanted if key not in found and not self.wanted[key].startswith("of pods")]

    def replace(self, run: Run, there: bool = True) -> None:
        """Load the rules in one transaction, so that no packet ever meets half of them.

        A table that is as recorded is changed block by block (:mod:`table_update`): a change of the fleet must not cost
        the nodes that stay a packet. Any other one is replaced as a whole, and takes over the values of the counters.

        :param there: whether an old table can exist.
        :raises KernelError: nft rejected the rules; the old table is unchanged.
        """
        lines = self._update(run) if there else None
        if lines is None:
            lines = _with_values(self.text, counter_values(run) if there else {})
        load_table(TABLE, lines, run)
        code, listing, errors = run(_LIST, None)
        if code != 0:
            raise KernelError(f"{' '.join(_LIST)}: {error_text(code, errors)}")
        lost = self._lost(_items(listing))
        if lost:
            raise KernelError(
                f"nft loaded table {TABLE} but does not list {lost[0]}: does another program manage this table?"
            )
        write_file(RECORD_TEXT, self.text, durable=False)
        write_file(RECORD_LISTING, listing, durable=False)

    def _update(self, run: Run) -> str | None:
        """Return the commands that change the recorded table into this one; ``None`` if the record does not apply."""
        record = read_files((RECORD_TEXT, RECORD_LISTING))
        code, listing, _errors = run(_LIST, None)
        if code != 0 or record.get(RECORD_LISTING) != listing:
            return None
        return table_update.update(TABLE, record.get(RECORD_TEXT, ""), self.text)


def load_table(table: str, text: str, run: Run) -> None:
    """Load commands or rules of one table, in one transaction.

    :param table: family and name, for the error.
    :raises KernelError: nft rejected the text; the table is unchanged.
    """
    code, _out, errors = run(_LOAD, text)
    if code != 0:
        raise KernelError(f"nft rejected table {table}: {error_text(code, errors)}")


def deletion_of(table: str) -> str:
    """Return the commands that delete a table, or do nothing if there is none.

    :param table: family and name.
    """
    return f"table {table}\ndelete table {table}\n"  # the first line creates it, so that the second never fails


def delete_table(table: str, run: Run) -> None:
    """Delete a table, if it exists.

    :param table: family and name.
    :raises KernelError: nft failed.
    """
    code, _out, errors = run(_LOAD, deletion_of(table))
    if code != 0:
        raise KernelError(f"nft cannot delete table {table}: {error_text(code, errors)}")


def table_exists(run: Run) -> bool:
    """Whether the table exists."""
    return run(("nft", "-t", *_LIST[1:]), None)[0] == 0


def listed_rules(run: Run) -> str:
    """Return the current table as text that nft loads; without a table, text that deletes it."""
    code, listing, _errors = run(_LIST, None)
    return f"{deletion_of(TABLE)}{listing}" if code == 0 else deletion_of(TABLE)


def rules_text(spec: RulesSpec) -> str:
    """Return the table as text that nft loads: it replaces an existing table, and can be loaded again."""
    pods, peers = _by_version(spec.container_cidrs), _by_version({*spec.peers, *spec.also.peers})
    # Without peers, the port must be closed for both IP versions that the underlay can have.
    peers = peers or {4: [], 6: []}
    counters = (*COUNTERS, *(link_rules.COUNTERS if spec.links else ()))
    blocks = [f"\tcounter {name} {{\n\t}}\n" for name in counters]
    blocks += [_set(f"pods{version}", version, cidrs, "\t\tflags interval\n") for version, cidrs in pods.items()]
    blocks += [_set(f"peers{version}", version, addresses) for version, addresses in peers.items()]
    blocks += [_set(name, *content) for name, content in spec.links.sets().items()] if spec.links else []
    blocks += _chains(spec, list(pods), list(peers))
    return f"{deletion_of(TABLE)}table {TABLE} {{\n" + "\n".join(blocks) + "}\n"


def _chains(spec: RulesSpec, pods: t.Sequence[int], peers: t.Sequence[int]) -> list[str]:
    """Return the chains.

    :param pods: the IP versions of the container CIDRs.
    :param peers: the IP versions of the underlay.
    """
    extra = spec.links or link_rules.LinkRules(prefix=24)
    links = {"lo", *spec.devices, spec.bridge, *spec.also.links, *extra.tunnels, *extra.passing} - {""}
    inside = ", ".join(f'"{name}"' for name in sorted(links))
    vteps = filter(None, [link_rules.translated(extra, _MARKED)])
    port, device = _any_of(spec.ports), _any_of([f'"{name}"' for name in [*spec.devices, *extra.tunnels]])
    return [
        _chain(
            "prerouting",
            "type filter hook prerouting priority raw; policy accept;",
            [f"{_FAMILY[v][0]} saddr @peers{v} udp dport {port} notrack" for v in peers],
            *(_guards(version, device, f"{{ {inside} }}") for version in pods),
            link_rules.arriving(extra),
        ),
        _chain(
            "output",
            "type filter hook output priority raw; policy accept;",
            [f"{_FAMILY[v][0]} daddr @peers{v} udp dport {port} notrack" for v in peers],
        ),
        _chain(
            "input",
            "type filter hook input priority filter - 10; policy accept;",
            [f'udp dport {port} {_FAMILY[v][0]} saddr != @peers{v} counter name "not_a_peer" drop' for v in peers],
            link_rules.received(extra),
        ),
        _chain(
            "forward",
            "type filter hook forward priority mangle; policy accept;",
            [
                f"{_FAMILY[v][0]} saddr != @peers{v} {_FAMILY[v][0]} daddr @peers{v} udp dport {port} "
                f'counter name "forwarded_to_vtep" drop'
                for v in peers
            ],
            *(
                [link_rules.clamped(spec.links, spec.devices)]
                if spec.links
                else (_clamps(version, device, spec.mtu) for version in pods)
            ),
        ),
        _chain(
            "postrouting",
            "type filter hook postrouting priority filter; policy accept;",
            link_rules.leaving(extra),
            [f'{_FAMILY[v][0]} daddr @pods{v} oifname != {{ {inside} }} counter name "unrouted" drop' for v in pods],
        ),
        _chain("nat", "type nat hook postrouting priority srcnat; policy accept;", _masquerade(spec)),
        *(_chain("vtep", "type nat hook postrouting priority srcnat - 1; policy accept;", vtep) for vtep in vteps),
    ]


def _by_version(networks: t.Iterable[str]) -> dict[int, list[str]]:
    versions: dict[int, list[str]] = {}
    for network in networks:
        versions.setdefault(6 if ":" in network else 4, []).append(network)
    return {version: sorted(versions[version]) for version in sorted(versions)}


def _set(name: str, version: int, elements: t.Sequence[str], flags: str = "") -> str:
    # "elements = { }" is an error. With "type ipv4_addr", nft 1.1.3 makes a set that crashes nft 0.9.8 and 1.0.6, for
    # instance that in the container of kube-proxy.
    content = f"\t\telements = {{ {', '.join(elements)} }}\n" if elements else ""
    return f"\tset {name} {{\n\t\ttypeof {_FAMILY[version][0]} saddr\n{flags}{content}\t}}\n"


def _chain(name: str, hook: str, *rules: t.Sequence[str]) -> str:
    lines = "".join(f"\t\t{line}\n" for line in [hook, *(rule for group in rules for rule in group)])
    return f"\tchain {name} {{\n{lines}\t}}\n"


def _any_of(values: t.Sequence[object]) -> str:
    """Return one value as it is, several as an anonymous set."""
    return str(values[0]) if len(values) == 1 else f"{{ {', '.join(map(str, values))} }}"


def _guards(version: int, device: str, inside: str) -> list[str]:
    ip = _FAMILY[version][0]
    return [
        f'{ip} daddr @pods{version} iifname != {inside} counter name "to_pods" drop',
        f'{ip} saddr @pods{version} iifname != {inside} counter name "from_pods" drop',
        f'iifname {device} {ip} saddr != @pods{version} counter name "inner_source" drop',
    ]


def _clamps(version: int, device: str, mtu: int) -> list[str]:
    """Clamp in both directions, because existing Pods keep a former, larger MTU. The kernel only lowers the value."""
    _ip, protocol, headers = _FAMILY[version]
    clamp = f"meta nfproto {protocol} tcp flags & (syn | rst) == syn tcp option maxseg size set {mtu - headers}"
    return [f"{direction} {device} {clamp}" for direction in ("oifname", "iifname")]


def _masquerade(spec: RulesSpec) -> list[str]:
    """Translate source ports from 1024 into the largest range without the tunnel's port.

    For source ports below 1024, the kernel selects ports below 1024 only.
    """
    version = 6 if ":" in spec.node_cidr else 4
    ip = _FAMILY[version][0]
    ports = sorted({*spec.ports, *(spec.links.ports if spec.links else ())})
    borders = [1023, *(port for port in ports if port > 1023), 65536]
    first, last = max(((low + 1, high - 1) for low, high in zip(borders, borders[1:])), key=lambda p: p[1] - p[0])
    leaving = f"{ip} saddr {spec.node_cidr} {ip} daddr != @pods{version}"
    return [
        f"{_MARKED} return",
        f"{leaving} udp sport 1024-65535 masquerade to :{first}-{last} fully-random",
        f"{leaving} masquerade fully-random",
    ]


def _items(text: str) -> Desired:
    """Return the items of a table, from its text or listing. The key of a rule includes its number: order matters.

    nft 0.9 prints a counter without values as ``packets 0 bytes 0``, and its brace on the same line.
    """
    items: Desired = {f"table {key}": value for key, value in re.findall(r"^\t(\w+) ([^{\n]+)$", text, re.MULTILINE)}
    for (kind, name), block in table_update.blocks(text).items():
        if kind == "set":
            items[f"set {name}"] = " ".join(block.head.split())
            what = "address" if name[:-1] in link_rules.ADDRESS_SETS else "element"
            items.update(dict.fromkeys([f"{what} {element}" for element in block.content], f"of {name}"))
        elif kind == "chain":
            items[f"chain {name}"] = block.head
            items.update({f"{name} {number}": rule for number, rule in enumerate(block.content, 1)})
        else:
            words = " ".join([block.head, *block.content]).split() if kind != "counter" else []
            items[f"{kind} {name}"] = f"{{{' '.join(words)}}}"
    return items


def counter_values(run: Run) -> dict[str, str]:
    """Return the current values of the counters, as ``packets 3 bytes 180``."""
    _code, out, _errors = run(("nft", "list", "counters", "table", *TABLE.split()), None)
    return dict(re.findall(r"counter (\w+) \{\s*(packets \d+ bytes \d+)\s*\}", out))


def _with_values(text: str, values: t.Mapping[str, str]) -> str:
    for name in (*COUNTERS, *link_rules.COUNTERS):
        if name in values:
            text = text.replace(f"\tcounter {name} {{\n", f"\tcounter {name} {{\n\t\t{values[name]}\n", 1)
    return text
