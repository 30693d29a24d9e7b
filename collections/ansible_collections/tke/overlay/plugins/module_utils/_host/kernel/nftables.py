# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the nftables table of a node: who may speak to whom, and under which address.

One table, ``inet tke_overlay``, is all there is of ours for good. It only drops, marks as
untracked, translates and clamps; it never accepts on behalf of others, so what
kube-proxy, Docker or firewalld drop stays dropped, and their tables are not
even read.

A *Pod address* below is any address of a container CIDR: VTEP, gateway, Pod or
Service. *Inside* are the VXLAN device, the Pod bridge and ``lo``.

===========  ==========================================================================================
chain        what it does
===========  ==========================================================================================
prerouting   no conntrack entry for the tunnel's packets (one way each, they once filled half a table:
             calico #8934); drops what comes from outside to a Pod address, or claims to come from one,
             and what leaves the tunnel without a Pod address as its source. Before DNAT: a NodePort is
             an address of the host here, so what reaches a Pod by way of a Service still does
output       no conntrack entry for our own tunnel packets
input        only peers may send to the tunnel's port. Not in prerouting: an answer to somebody whom
             another program's masquerade gave that very source port is none of the tunnel (calico
             #12244), and is on its way to a container here, not to this host
forward      nobody may speak to a peer's tunnel through this host, whose masquerade would make him a
             peer; no TCP segment is larger than the overlay carries
postrouting  nothing for a Pod address leaves in clear while a route is missing
nat          Pods leave the cluster as this host. Not what kube-proxy has marked, which does so itself;
             and never from the tunnel's port: the answer would be taken for a tunnel packet
===========  ==========================================================================================

How the table is compared: nft prints rules in other words than it was given, and
every version in its own. So with each load the text and nft's listing right
after it are recorded below ``/run``. As long as the listing is still that, the
table holds that text; else it holds what the listing says. Either way a rule or
an element that was added, changed, removed or moved by hand is a difference, and
without a record (another version of nft, somebody else's load) the worst that
can happen is that the same rules are loaded once more.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import RUN_DIRECTORY, read_files, write_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Desired,
    Run,
    error_text,
)

TABLE = "inet tke_overlay"
RECORD_TEXT = f"{RUN_DIRECTORY}/rules.nft"
RECORD_LISTING = f"{RUN_DIRECTORY}/rules.listing"

COUNTERS = ("not_a_peer", "to_pods", "from_pods", "inner_source", "forwarded_to_vtep", "unrouted")
"""What was dropped, by the rule that dropped it."""

_LIST = ("nft", "-s", "list", "table", *TABLE.split())
_LOAD = ("nft", "-f", "-")
_KUBE_PROXY = "0x00004000"
_FAMILY = {4: ("ip", "ipv4", 40), 6: ("ip6", "ipv6", 60)}
"""IP version -> its word, its protocol's word, bytes of IP and TCP header."""


class TransitionAllowances(t.NamedTuple):
    """What else is let in while the fleet goes over from one plan to another."""

    peers: t.Sequence[str] = ()  # underlay addresses that peers had before
    port: int | None = None  # the tunnel's other port, old or new
    device: str = ""  # the link that hears it


NO_ALLOWANCES = TransitionAllowances()


class RulesSpec(t.NamedTuple):
    """From what the rules follow. ``peers`` are the underlay addresses of all other nodes."""

    device: str
    bridge: str
    port: int
    mtu: int
    node_cidr: str
    container_cidrs: t.Sequence[str]
    peers: t.Sequence[str]
    also: TransitionAllowances = NO_ALLOWANCES

    @property
    def ports(self) -> list[int]:
        """The tunnel's port; during a change of it, the other one too."""
        return sorted({self.port, *([] if self.also.port is None else [self.also.port])})

    @property
    def devices(self) -> list[str]:
        """The links out of which the tunnel's packets come."""
        return sorted({self.device, self.also.device} - {""})


class RulesTable:
    """Our nftables table. It is compared as the others are (:class:`tables.Readable`), and replaced as a whole."""

    name = "rules"
    of_device = False

    def __init__(self, spec: RulesSpec | str) -> None:
        """Of what the rules follow from, or of their text as it was saved."""
        self.text = spec if isinstance(spec, str) else rules_text(spec)
        self.wanted = _items(self.text)

    def listings(self) -> list[t.Sequence[str]]:
        """The table, without the values of its counters."""
        return [_LIST]

    def read(self, run: Run) -> dict[str, ActualEntry]:
        """What is there: chains, their rules by number, sets and their elements, counters without their values."""
        code, listing, errors = run(_LIST, None)
        if code != 0:
            if "No such file or directory" in errors:
                return {}
            raise KernelError(f"{' '.join(_LIST)}: {error_text(code, errors)}")
        record = read_files((RECORD_TEXT, RECORD_LISTING))
        text = record.get(RECORD_TEXT, "") if record.get(RECORD_LISTING) == listing else listing
        items = self.wanted if text == self.text else _items(text)
        return {key: ActualEntry(spec, managed=True) for key, spec in items.items()}

    def _lost(self, found: Desired) -> list[str]:
        """What no version of nft words in another way: which chains, rules by number, and peers there are."""
        return [key for key in self.wanted if key not in found and not self.wanted[key].startswith("of pods")]

    def replace(self, run: Run, there: bool = True) -> None:
        """Makes the table what it should be, in one transaction: at no instant is a packet judged by half of the rules.

        Where only elements of sets differ, only they are changed. A packet that is just being judged by a table that
        goes looks its address up in sets that are empty by then, and is dropped: seldom, but that is what a fleet
        that changes daily should not do to those who stay. What the counters say goes over to a new table.

        :param there: whether there may be an old table.
        :raises KernelError: nft refused; the old table is as it was.
        """
        lines = self._elements_alone(run) if there else ""
        load_table(TABLE, lines or _with_values(self.text, counter_values(run) if there else {}), run)
        code, listing, errors = run(_LIST, None)
        if code != 0:
            raise KernelError(f"{' '.join(_LIST)}: {error_text(code, errors)}")
        lost = self._lost(_items(listing))
        if lost:
            raise KernelError(
                f"nft has taken the rules, and does not list {lost[0]}: does another program manage them?"
            )
        write_file(RECORD_TEXT, self.text, durable=False)
        write_file(RECORD_LISTING, listing, durable=False)

    def _elements_alone(self, run: Run) -> str:
        """The commands for the elements that differ; nothing if more differs, or it is not known what is there."""
        record = read_files((RECORD_TEXT, RECORD_LISTING))
        code, listing, _errors = run(_LIST, None)
        if code != 0 or record.get(RECORD_LISTING) != listing:
            return ""
        found = _items(record.get(RECORD_TEXT, ""))
        commands: dict[tuple[str, str], list[str]] = {}
        for verb, old, new in (("add", found, self.wanted), ("delete", self.wanted, found)):
            for key in new.keys() - old.keys():
                what, _space, element = key.partition(" ")
                if what != "element":
                    return ""
                commands.setdefault((verb, new[key].partition(" ")[2]), []).append(element)
        if any(found[key] != self.wanted[key] for key in found.keys() & self.wanted.keys()):
            return ""
        return "".join(
            f"{verb} element {TABLE} {name} {{ {', '.join(sorted(elements))} }}\n"
            for (verb, name), elements in commands.items()
        )


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


def rules_are_there(run: Run) -> bool:
    """Whether there is a table of our name."""
    return run(("nft", "-t", *_LIST[1:]), None)[0] == 0


def listed_rules(run: Run) -> str:
    """The table that is there as text for nft; without one, text that takes any away."""
    code, listing, _errors = run(_LIST, None)
    return f"{deletion_of(TABLE)}{listing}" if code == 0 else deletion_of(TABLE)


def rules_text(spec: RulesSpec) -> str:
    """The table as nft takes it: idempotent, and replacing whatever stands in its place."""
    pods, peers = _by_version(spec.container_cidrs), _by_version({*spec.peers, *spec.also.peers})
    # Without peers nobody may send to the port, whatever the IP version of the underlay will be.
    peers = peers or {4: [], 6: []}
    inside = ", ".join(f'"{name}"' for name in sorted({"lo", *spec.devices, spec.bridge}))
    port, device = _any_of(spec.ports), _any_of([f'"{name}"' for name in spec.devices])
    blocks = [f"\tcounter {name} {{\n\t}}\n" for name in COUNTERS]
    blocks += [_set(f"pods{version}", version, cidrs, "\t\tflags interval\n") for version, cidrs in pods.items()]
    blocks += [_set(f"peers{version}", version, addresses) for version, addresses in peers.items()]
    blocks += [
        _chain(
            "prerouting",
            "type filter hook prerouting priority raw; policy accept;",
            [f"{_FAMILY[v][0]} saddr @peers{v} udp dport {port} notrack" for v in peers],
            *(_guards(version, device, f"{{ {inside} }}") for version in pods),
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
        ),
        _chain(
            "forward",
            "type filter hook forward priority mangle; policy accept;",
            [
                f"{_FAMILY[v][0]} saddr != @peers{v} {_FAMILY[v][0]} daddr @peers{v} udp dport {port} "
                f'counter name "forwarded_to_vtep" drop'
                for v in peers
            ],
            *(_clamps(version, device, spec.mtu) for version in pods),
        ),
        _chain(
            "postrouting",
            "type filter hook postrouting priority filter; policy accept;",
            [f'{_FAMILY[v][0]} daddr @pods{v} oifname != {{ {inside} }} counter name "unrouted" drop' for v in pods],
        ),
        _chain("nat", "type nat hook postrouting priority srcnat; policy accept;", _masquerade(spec)),
    ]
    return f"{deletion_of(TABLE)}table {TABLE} {{\n" + "\n".join(blocks) + "}\n"


def _by_version(networks: t.Iterable[str]) -> dict[int, list[str]]:
    versions: dict[int, list[str]] = {}
    for network in networks:
        versions.setdefault(6 if ":" in network else 4, []).append(network)
    return {version: sorted(versions[version]) for version in sorted(versions)}


def _set(name: str, version: int, elements: t.Sequence[str], flags: str = "") -> str:
    # "elements = { }" is an error.
    content = f"\t\telements = {{ {', '.join(elements)} }}\n" if elements else ""
    return f"\tset {name} {{\n\t\ttype {_FAMILY[version][1]}_addr\n{flags}{content}\t}}\n"


def _chain(name: str, hook: str, *rules: t.Sequence[str]) -> str:
    lines = "".join(f"\t\t{line}\n" for line in [hook, *(rule for group in rules for rule in group)])
    return f"\tchain {name} {{\n{lines}\t}}\n"


def _any_of(values: t.Sequence[object]) -> str:
    """One value as it is, several as a set."""
    return str(values[0]) if len(values) == 1 else f"{{ {', '.join(map(str, values))} }}"


def _guards(version: int, device: str, inside: str) -> list[str]:
    ip = _FAMILY[version][0]
    return [
        f'{ip} daddr @pods{version} iifname != {inside} counter name "to_pods" drop',
        f'{ip} saddr @pods{version} iifname != {inside} counter name "from_pods" drop',
        f'iifname {device} {ip} saddr != @pods{version} counter name "inner_source" drop',
    ]


def _clamps(version: int, device: str, mtu: int) -> list[str]:
    """Both ways, as Pods that were made under a larger MTU keep it; the kernel only ever lowers the value."""
    _ip, protocol, headers = _FAMILY[version]
    clamp = f"meta nfproto {protocol} tcp flags & (syn | rst) == syn tcp option maxseg size set {mtu - headers}"
    return [f"{way} {device} {clamp}" for way in ("oifname", "iifname")]


def _masquerade(spec: RulesSpec) -> list[str]:
    """Below 1024 the kernel gives only ports below 1024; of the others, the largest part without the tunnel's port."""
    version = 6 if ":" in spec.node_cidr else 4
    ip = _FAMILY[version][0]
    borders = [1023, *(port for port in spec.ports if port > 1023), 65536]
    first, last = max(((low + 1, high - 1) for low, high in zip(borders, borders[1:])), key=lambda p: p[1] - p[0])
    leaving = f"{ip} saddr {spec.node_cidr} {ip} daddr != @pods{version}"
    return [
        f"meta mark & {_KUBE_PROXY} == {_KUBE_PROXY} return",
        f"{leaving} udp sport 1024-65535 masquerade to :{first}-{last} fully-random",
        f"{leaving} masquerade fully-random",
    ]


def _items(text: str) -> Desired:
    """A table's text, ours or nft's listing, by item. The number of a rule is part of its key: order matters."""
    items: Desired = {}
    for kind, name, body in re.findall(r"^\t(\w+) (\S+) \{\n(.*?)^\t\}\n", text, re.MULTILINE | re.DOTALL):
        if kind == "set":
            attributes, _mark, elements = body.partition("elements = {")
            items[f"set {name}"] = " ".join(attributes.split())
            words = elements.rpartition("}")[0].split(",") if elements else []
            items.update(dict.fromkeys([f"element {' '.join(word.split())}" for word in words], f"of {name}"))
        elif kind == "chain":
            hook, *rules = body.splitlines() or [""]
            items[f"chain {name}"] = hook.strip()
            items.update({f"{name} {number}": rule.strip() for number, rule in enumerate(rules, 1)})
        else:
            items[f"{kind} {name}"] = f"{{{' '.join(body.split())}}}"
    return items


def counter_values(run: Run) -> dict[str, str]:
    """What the counters of the table count now, as ``packets 3 bytes 180``."""
    _code, out, _errors = run(("nft", "list", "counters", "table", *TABLE.split()), None)
    return dict(re.findall(r"counter (\w+) \{\s*(packets \d+ bytes \d+)\s*\}", out))


def _with_values(text: str, values: t.Mapping[str, str]) -> str:
    for name in COUNTERS:
        if name in values:
            text = text.replace(f"\tcounter {name} {{\n", f"\tcounter {name} {{\n\t\t{values[name]}\n", 1)
    return text
