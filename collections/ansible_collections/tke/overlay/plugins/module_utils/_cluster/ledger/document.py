# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: the record of which node has which node CIDR.

The ledger cannot be computed from anything else, so it is strict: it loads only
what it could have written itself, and an operation either succeeds completely or
raises an error before anything is changed.

The ledger is one JSON document with one line for each node, sorted by name, so
that the diff of a version control system shows each change on its own line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import (
    Capacity,
    CyclicAllocator,
    Pool,
    PoolExhaustedError,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.damage import normalized, reason_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import reject_tombstone
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import following, highest

SCHEMA = 1

MOST_NAMES = 10
"""Names in one message; the others are counted."""


class Assignment(t.NamedTuple):
    """The node CIDR of a node, since when (UTC, ISO 8601), and whether the user chose it.

    ``underlay`` and ``underlay_mtu`` (bytes) are copied from the inventory, so the
    node stays a peer in runs whose inventory does not have it. So are the fields of
    :data:`LINK_FIELDS`, in a cluster with ``overlay_links``: the site, the WireGuard
    endpoint if it is not the default one (``-`` behind NAT), the public key that the
    host had when it was first met, and while keys change, the next one.
    """

    node_cidr: str
    underlay: str | None
    underlay_mtu: int | None
    since: str
    pinned: bool
    site: str | None = None
    wireguard_endpoint: str | None = None
    wireguard_key: str | None = None
    wireguard_next_key: str | None = None


LINK_FIELDS = ("site", "wireguard_endpoint", "wireguard_key", "wireguard_next_key")
"""The fields of an assignment that the document has only where they have a value."""


class Pending(t.NamedTuple):
    """A released node CIDR that must not be allocated yet.

    ``on`` names the hosts that have not acknowledged that they dropped it;
    ``quarantined`` is true until the cursor wraps around.
    """

    node: str
    since: str
    on: list[str]
    quarantined: bool


class Request(t.NamedTuple):
    """A node that needs a node CIDR; ``node_cidr`` is set when the user chose one or the node already uses one."""

    name: str
    node_cidr: str | None = None
    underlay: str | None = None
    underlay_mtu: int | None = None


@dataclasses.dataclass
class Ledger:
    """The content of a ledger. The caller passes all times, so equal operations give equal ledgers.

    ``vips`` are the addresses of the private load balancer by name (:mod:`vips`).
    ``former`` are released node CIDRs, with the node that had each last, until they are allocated again.
    ``applied`` is whether a host has applied a plan; until then, nothing in the ledger is in use.
    ``wireguard_generation`` counts the changes of all WireGuard keys, see :func:`_links.wireguard_device`.
    ``wireguard_port`` is ``overlay_wireguard_port`` as it was when the present keys were made, and
    ``wireguard_next_port`` that of the next keys, while keys change together with the port.
    ``recorded`` are the versions (:mod:`_ledger_version`) that the ledger had when it was read, and ``counted`` is the
    digest of its assignments at that time. A ledger of an earlier release has no version.
    ``counted`` and ``kept_back`` (see :meth:`keep_back`) are not part of the document.
    """

    cluster: str
    pool: Pool
    cursor: int = 0
    nodes: dict[str, Assignment] = dataclasses.field(default_factory=dict)
    pending: dict[str, Pending] = dataclasses.field(default_factory=dict)
    vips: dict[str, str] = dataclasses.field(default_factory=dict)
    former: dict[str, str] = dataclasses.field(default_factory=dict)
    applied: bool = False
    wireguard_generation: int = 0
    wireguard_port: int | None = None
    wireguard_next_port: int | None = None
    recorded: str = ""
    counted: str = ""
    kept_back: dict[int, str] = dataclasses.field(default_factory=dict)

    def adopt_pool(self, pool: Pool, *, renew: bool = False) -> None:
        """Change to the pool of the settings: the same, or the same with CIDRs appended.

        :param renew: as long as no host has applied a plan, accept any pool, and forget all assignments if they do not
            fit into it.
        :raises ValidationError: the change would move or split a node CIDR in use.
        """
        present = self.pool
        grown = (
            (pool.cidrs[: len(present.cidrs)] == present.cidrs or self._fits(pool))
            and pool.node_cidr_size == present.node_cidr_size
            and pool.services == present.services
        )
        if renew and not self.applied and (not grown or self._reserved_holders(pool)):
            self.forget_assignments()
        if not grown and (self.nodes or self.awaited()):
            holders = ", ".join(f"{name} {held.node_cidr}" for name, held in sorted(self.nodes.items()))
            waiting = ", ".join(f"{node_cidr} of {wait.node}" for node_cidr, wait in sorted(self.awaited().items()))
            raise ValidationError(
                f"the ledger of cluster {self.cluster} was created with {_describe(present)}, and the inventory has "
                f"{_describe(pool)}: while node CIDRs are in use, overlay_container_cidr can only grow at its end, and "
                f"lose there what none of them is in. "
                f"In use: {holders or 'no node'}" + (f"; released but pending: {waiting}" if waiting else "") + ". "
                "To begin again with other values, run tke.overlay.reset on all hosts, then delete the ledger"
            )
        holders_of_reserved = self._reserved_holders(pool)
        if holders_of_reserved:
            raise ValidationError(*holders_of_reserved)
        if not grown:  # no node CIDR is in use, so the old cursor protects nothing
            self.cursor, self.pending = 0, {}
        self.pending = {node_cidr: waiting for node_cidr, waiting in self.pending.items() if pool.has(node_cidr)}
        self.former = {node_cidr: name for node_cidr, name in self.former.items() if pool.has(node_cidr)}
        self.cursor = self.cursor if self.cursor < pool.size else 0
        self.pool = pool

    def _fits(self, pool: Pool) -> bool:
        """Return whether every node CIDR in use has the same place in another pool, with the same Service range."""
        used = [*(held.node_cidr for held in self.nodes.values()), *self.awaited()]
        return pool.service_cidr == self.pool.service_cidr and all(
            pool.has(node_cidr) and pool.number(node_cidr) == self.pool.number(node_cidr) for node_cidr in used
        )

    def _reserved_holders(self, pool: Pool) -> list[str]:
        return [
            f"node {name} has {held.node_cidr}, which lies in {pool.reserved[number]}: "
            f"release {name} first, or change overlay_reserved"
            for name, held in sorted(self.nodes.items())
            for number in [pool.number(held.node_cidr)]
            if number in pool.reserved
        ]

    def forget_assignments(self) -> None:
        """Return every node CIDR to the pool. The caller makes sure that no host has applied a plan."""
        self.nodes, self.pending, self.cursor = {}, {}, 0

    def keep_back(self, numbers: t.Mapping[int, str]) -> None:
        """Allocate none of these node CIDRs as long as this object exists; the document does not have them.

        :param numbers: the number of each node CIDR, with a description of its holder for errors.
        """
        self.kept_back = dict(numbers)

    def pass_over(self, numbers: t.Collection[int]) -> None:
        """Continue after the last of these node CIDRs, which another allocator has handed out in the same order."""
        last = max(numbers, default=-1)
        if last >= self.cursor:
            self.cursor = (last + 1) % self.pool.size

    def assign(self, requests: t.Sequence[Request], now: str) -> list[str]:
        """Assign a node CIDR to each node and record its underlay address; return the names of new nodes.

        Requested node CIDRs are occupied first, so they are never allocated to
        another node; then the other nodes get the next node CIDRs, in the order
        given. A node that has a node CIDR keeps it.

        :raises ValidationError: a node CIDR is requested by two nodes, or the pool is exhausted.
        """
        problems = self._problems_of_requests(requests)
        if problems:
            raise ValidationError(*problems)
        fresh = [request for request in requests if request.name not in self.nodes]
        before = dict(self.nodes), dict(self.pending)
        for request in requests:
            if request.node_cidr is not None:
                self._pin(request.name, request.node_cidr, now)
        try:
            absent = sorted(self.nodes.keys() - {request.name for request in requests})
            self._allocate([request for request in fresh if request.node_cidr is None], absent, now)
        except ValidationError:
            self.nodes, self.pending = before
            raise
        for request in requests:
            held = self.nodes[request.name]
            self.nodes[request.name] = held._replace(
                underlay=request.underlay or held.underlay,
                underlay_mtu=request.underlay_mtu or held.underlay_mtu,
            )
        for request in fresh:
            self.former.pop(self.nodes[request.name].node_cidr, None)
        return [request.name for request in fresh]

    def release(self, names: t.Iterable[str], pending_on: t.Sequence[str], now: str) -> dict[str, str]:
        """Release the node CIDRs of these nodes and return them by name. Names without a node CIDR are skipped.

        A released node CIDR is not allocated before every host of ``pending_on``
        is passed to :meth:`acknowledge`, nor before the cursor wraps around.
        """
        allocator = self._allocator()
        released = {}
        for name in names:
            held = self.nodes.pop(name, None)
            if held is None:
                continue
            released[name] = held.node_cidr
            self.former[held.node_cidr] = name
            waiting = Pending(
                node=name,
                since=now,
                on=sorted(set(pending_on) - {name}),
                quarantined=allocator.is_ahead(self.pool.number(held.node_cidr)),
            )
            if waiting.on or waiting.quarantined:
                self.pending[held.node_cidr] = waiting
        self.acknowledge(released)  # a released node cannot acknowledge, and has nothing left to drop
        return released

    def acknowledge(self, hosts: t.Iterable[str]) -> None:
        """Record that these hosts have the plan, and so have dropped every node CIDR that was pending on them."""
        acknowledged = set(hosts)
        self.applied = self.applied or not acknowledged.isdisjoint(self.nodes)
        for node_cidr, waiting in list(self.pending.items()):
            left = waiting._replace(on=[host for host in waiting.on if host not in acknowledged])
            if left.on or left.quarantined:
                self.pending[node_cidr] = left
            else:
                del self.pending[node_cidr]

    def forget_keys(self, names: t.Iterable[str]) -> None:
        """Forget the WireGuard keys of nodes from which the overlay was removed, and their private keys with it."""
        for name in names:
            if name in self.nodes:
                self.nodes[name] = self.nodes[name]._replace(wireguard_key=None, wireguard_next_key=None)

    def capacity(self) -> Capacity:
        """Return the capacity of the pool and its use."""
        excluded = {**self.pool.reserved, **self.kept_back}
        held = {self.pool.number(each.node_cidr) for each in self.nodes.values()}
        pending = [node_cidr for node_cidr in self.awaited() if self.pool.number(node_cidr) not in excluded]
        return self.pool.capacity(len(self.nodes), len(pending), len(excluded.keys() - held))

    def awaited(self) -> dict[str, Pending]:
        """Return the released node CIDRs that are pending on a host."""
        return {node_cidr: waiting for node_cidr, waiting in self.pending.items() if waiting.on}

    def releases(self) -> dict[str, str]:
        """Return the released node CIDRs, with the node that had each last."""
        return {**{node_cidr: waiting.node for node_cidr, waiting in self.pending.items()}, **self.former}

    def _problems_of_requests(self, requests: t.Sequence[Request]) -> list[str]:
        """Return why requested node CIDRs cannot be assigned; each problem names both sides."""
        holders = {held.node_cidr: name for name, held in self.nodes.items()}
        problems, seen = [], set()
        for name, wanted, *_underlay in requests:
            if name in seen:
                problems.append(f"node {name} is listed twice")
            seen.add(name)
            if wanted is None:
                continue
            held, holder, waiting = self.nodes.get(name), holders.get(wanted), self.pending.get(wanted)
            if held is not None and held.node_cidr != wanted:
                problems.append(
                    f"node {name} has {held.node_cidr} and asks for {wanted} (overlay_node_cidr): "
                    f"a node keeps its node CIDR, so release {name} first, or set {held.node_cidr}"
                )
            elif holder not in (None, name):
                problems.append(
                    f"node {name} asks for {wanted} (overlay_node_cidr), which belongs to node {holder}: "
                    f"choose another one"
                )
            elif waiting is not None and waiting.on:
                problems.append(
                    f"node {name} asks for {wanted} (overlay_node_cidr), which was released by {waiting.node} "
                    f"and is pending on {', '.join(waiting.on)}: run {_RELEASE}{waiting.node}, which reaches these "
                    f"hosts and adds no node, and then this playbook again, or choose another one"
                )
            else:
                problems.extend(self._problems_of_place(name, wanted))
                holders[wanted] = name
        return problems

    def _problems_of_place(self, name: str, wanted: str) -> t.Iterator[str]:
        try:
            number = self.pool.number(wanted)
            reserved = self.pool.reserved.get(number) or self.kept_back.get(number)
        except ValueError as error:
            yield f"node {name} asks for {wanted} (overlay_node_cidr): {error}"
        else:
            if reserved:
                yield f"node {name} asks for {wanted} (overlay_node_cidr) in {reserved}: choose another one"

    def _pin(self, name: str, node_cidr: str, now: str) -> None:
        held = self.nodes.get(name)
        pinned = Assignment(node_cidr, None, None, now, pinned=True) if held is None else held._replace(pinned=True)
        self.nodes[name] = pinned
        self.pending.pop(node_cidr, None)

    def _allocate(self, requests: t.Sequence[Request], orphans: t.Sequence[str], now: str) -> None:
        if not requests:
            return
        allocator = self._allocator()
        given: dict[str, Assignment] = {}
        for request in requests:
            try:
                node_cidr = self.pool.node_cidr(allocator.allocate_next())
            except PoolExhaustedError:
                raise ValidationError(
                    self._exhaustion_problem([other.name for other in requests[len(given) :]], orphans)
                ) from None
            given[request.name] = Assignment(node_cidr, None, None, now, pinned=False)
        self.nodes.update(given)
        self.cursor = allocator.cursor
        if allocator.rounds:
            self.pending = {
                node_cidr: waiting._replace(quarantined=False) for node_cidr, waiting in self.awaited().items()
            }

    def _exhaustion_problem(self, without: t.Sequence[str], orphans: t.Sequence[str]) -> str:
        capacity = self.capacity()
        absent = (
            f" ({len(orphans)} of them by nodes that are not in this run: {some_of(orphans, MOST_NAMES)})"
            if orphans
            else ""
        )
        return (
            f"the pool is exhausted: container CIDR {', '.join(self.pool.cidrs)} less the Service range "
            f"{self.pool.service_cidr} has {capacity['max_nodes']} node CIDRs of {self.pool.node_cidr_size} addresses, "
            f"{capacity['used']} used{absent} and {len(self.awaited())} pending; "
            f"without one: {some_of(without, MOST_NAMES)}. "
            f"Append a CIDR to overlay_container_cidr, release nodes, or (in a new cluster) lower "
            f"overlay_max_pods_per_node"
        )

    def _allocator(self) -> CyclicAllocator:
        allocator = CyclicAllocator(self.pool.size, self.cursor)
        for held in self.nodes.values():
            allocator.occupy(self.pool.number(held.node_cidr))
        for node_cidr, waiting in self.pending.items():
            if waiting.on:
                allocator.occupy(self.pool.number(node_cidr))
            else:
                allocator.quarantine(self.pool.number(node_cidr))
        for number in (
            *self.pool.reserved,
            *self.kept_back,
        ):  # last, because a quarantined node CIDR may have been reserved since
            allocator.occupy(number)
        return allocator

    def summary(self) -> str:
        """Return the ledger for a diff, one entry per line; without times, so check mode shows what a run writes."""
        lines = [
            f"container CIDR {' '.join(self.pool.cidrs)}",
            f"Service range {self.pool.service_cidr}",
            f"next node CIDR {self.pool.node_cidr(self.cursor)} or the first free one after it",
        ]
        for name, held in sorted(self.nodes.items()):
            pinned = " pinned" if held.pinned else ""
            extra = "".join(f" {field} {value}" for field, value in _links_of(held).items())
            lines.append(
                f"node {name} {held.node_cidr} underlay {held.underlay} mtu {held.underlay_mtu}{pinned}{extra}"
            )
        for node_cidr, waiting in sorted(self.pending.items()):
            until = f"dropped by {', '.join(waiting.on)}" if waiting.on else "the cursor wraps around"
            lines.append(f"released {node_cidr} of {waiting.node}, not free until {until}")
        lines += [f"VIP {name} {address}" for name, address in sorted(self.vips.items())]
        if self.wireguard_generation:
            lines.append(f"WireGuard keys of generation {self.wireguard_generation}")
        lines += [f"{name} {port}" for name, port in self._wireguard_ports().items()]
        return "".join(f"{line}\n" for line in lines)

    @property
    def versions(self) -> str:
        """The versions with which this ledger is written: other assignments than those that were read are a new one."""
        digest = self.assignments_digest()
        return self.recorded if digest == self.counted else following(self.recorded, digest)

    def continue_after(self, applied: t.Iterable[str], *, changed: bool) -> None:
        """Continue with the highest of the versions that hosts have applied.

        :param changed: whether this ledger has other assignments than those hosts know, and so a version of its own.
        """
        self.recorded, self.counted = highest(applied), "" if changed else self.assignments_digest()

    def assignments_digest(self) -> str:
        """Return a digest of what only the ledger knows, and what changes the plan of the hosts."""
        known = [
            (name, held.node_cidr, held.wireguard_key, held.wireguard_next_key) for name, held in self.nodes.items()
        ]
        ports = list(self._wireguard_ports().values())
        content = json.dumps([sorted(known), self.former, self.wireguard_generation, *ports], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def _wireguard_ports(self) -> dict[str, int]:
        ports = {"wireguard_port": self.wireguard_port, "wireguard_next_port": self.wireguard_next_port}
        return {name: port for name, port in ports.items() if port is not None}

    def text(self) -> str:
        """Return the document; it ends with a checksum of everything before it."""
        versions = self.versions
        head = {
            "schema": SCHEMA,
            "cluster": self.cluster,
            "container_cidr": self.pool.cidrs,
            "service_cidr": self.pool.service_cidr,
            "max_pods_per_node": self.pool.node_cidr_size,
            "max_services": self.pool.services,
            "cursor": self.cursor,
            "applied": self.applied,
            **({"wireguard_generation": self.wireguard_generation} if self.wireguard_generation else {}),
            **self._wireguard_ports(),
            **({"versions": versions} if versions else {}),
        }
        lines = [f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
        body = "".join(
            [
                "{\n",
                *lines,
                _table("nodes", {name: _record(held) for name, held in self.nodes.items()}),
                _table("pending", {node_cidr: waiting._asdict() for node_cidr, waiting in self.pending.items()}),
                _table("vips", self.vips),
                _table("former", self.former),
            ]
        )
        return f'{body} "checksum": "{_checksum(body)}"\n}}\n'


_RELEASE = "tke.overlay.release -e overlay_release="


class BrokenLedgerError(ValidationError):
    """A ledger that is truncated or edited; a previous version can replace it."""


def parse(text: str, where: str, cluster: str | None) -> Ledger:
    """Return the ledger that :meth:`Ledger.text` wrote; a BOM, and CR before LF, make no difference.

    :param where: names the ledger in errors.
    :param cluster: the cluster it must belong to; ``None``: any.
    :raises BrokenLedgerError: the text is truncated or edited.
    :raises ValidationError: the ledger was moved, has a later schema, or belongs to another cluster.
    """
    text = normalized(text)
    reject_tombstone(text, where)
    document = _document(text, where)
    if cluster is not None and document["cluster"] != cluster:
        unused = "" if document.get("applied", True) else "; or delete it, because no host has applied a plan of it"
        raise ValidationError(
            f"the ledger {where} belongs to cluster {document['cluster']!r}, not to {cluster!r}: "
            f"set overlay_cluster or overlay_ledger so that they match{unused}"
        )
    try:
        ledger = Ledger(
            cluster=document["cluster"],
            pool=Pool(document["container_cidr"], document["max_pods_per_node"], document["max_services"]),
            cursor=document["cursor"],
            nodes={name: Assignment(**held) for name, held in document["nodes"].items()},
            pending={node_cidr: Pending(**waiting) for node_cidr, waiting in document["pending"].items()},
            vips=document["vips"],
            # Ledgers of earlier releases have none of these.
            former=document.get("former", {}),
            applied=document.get("applied", True),
            wireguard_generation=document.get("wireguard_generation", 0),
            wireguard_port=document.get("wireguard_port"),
            wireguard_next_port=document.get("wireguard_next_port"),
            recorded=document.get("versions", ""),
        )
        ledger.counted = ledger.assignments_digest()
        _require_single_holders(ledger)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenLedgerError(_broken(where, f"its content contradicts itself ({error})")) from error
    return ledger


def is_broken(text: str) -> bool:
    """Return whether :func:`parse` finds this text truncated or edited."""
    try:
        parse(text, "", None)
    except BrokenLedgerError:
        return True
    except ValidationError:
        return False
    return False


def _document(text: str, where: str) -> dict[str, t.Any]:
    try:
        document: dict[str, t.Any] = json.loads(text)
        schema = document["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenLedgerError(_broken(where, reason_of(text, where))) from error
    if schema != SCHEMA:
        raise ValidationError(
            f"the ledger {where} has schema {schema!r}, and this release supports only {SCHEMA}: "
            f"use the release of tke.overlay that wrote it, or a later one"
        )
    body, mark, _rest = text.rpartition(' "checksum": ')
    if not mark or document.get("checksum") != _checksum(body):
        raise BrokenLedgerError(_broken(where, "its checksum does not match, so it was edited or only partly written"))
    return document


def _require_single_holders(ledger: Ledger) -> None:
    holders: dict[int, str] = {}
    claims = [(held.node_cidr, name) for name, held in ledger.nodes.items()]
    claims += [(node_cidr, f"pending of {waiting.node}") for node_cidr, waiting in ledger.pending.items()]
    for node_cidr, name in claims:
        number = ledger.pool.number(node_cidr)
        if number in holders:
            raise ValueError(f"{node_cidr} is held by {holders[number]} and by {name}")
        holders[number] = name


def _broken(where: str, why: str) -> str:
    return (
        f"the ledger {where} cannot be trusted: {why}. Nothing was read from it and nothing was written; "
        f"restore a good copy (a backup, or the version control of the inventory) and run the playbook again"
    )


def _describe(pool: Pool) -> str:
    return f"{', '.join(pool.cidrs)} with {pool.node_cidr_size} addresses per node and {pool.services} services"


def _links_of(held: Assignment) -> dict[str, str]:
    """Return the fields of :data:`LINK_FIELDS` that have a value."""
    return {field: value for field in LINK_FIELDS if (value := getattr(held, field)) is not None}


def _record(held: Assignment) -> dict[str, t.Any]:
    fields = held._asdict()
    return {**{name: fields[name] for name in fields if name not in LINK_FIELDS}, **_links_of(held)}


def _table(key: str, records: t.Mapping[str, t.Any]) -> str:
    """Return one line per record, sorted by name."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(records[name])}" for name in sorted(records))
    return f' "{key}": {{\n{lines}\n }},\n' if lines else f' "{key}": {{}},\n'


def _checksum(body: str) -> str:
    return "sha256:" + hashlib.sha256(body.encode()).hexdigest()
