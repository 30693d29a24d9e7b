# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One VXLAN link with its MAC, MTU, outer source address and addresses."""

from __future__ import annotations

import ipaddress
import socket
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    MAC,
    address_problems,
    device_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import (
    KernelError,
    ValidationError,
    range_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json, run_batch
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import (
    MtuSpec,
    find_owner,
    mtu_problems,
    underlay_routes,
)
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

IP = ("ip",)

LINKS = ("ip", "-json", "-details", "address", "show")
"""The listing of all links."""

ALIAS = "tke.overlay"
"""The alias of a link that this collection created or adopted: the mark of a managed link."""

ALTERNATE_LINK = "tke-alt"
"""A second link of the tunnel, during a change of its port: see :mod:`cutover`."""

Row = t.Mapping[str, t.Any]
"""A link as ``ip -json -details address show`` lists it."""


class LinkSpec(t.NamedTuple):
    """The desired VXLAN link. An attribute that is ``None`` is neither compared nor changed.

    ``addresses`` are all addresses of the link, with prefix (``10.244.3.0/32``).
    """

    name: str
    vni: int
    port: int
    local: str
    dev: str | None = None
    mac: str | None = None
    mtu: int | None = None
    addresses: t.Sequence[str] | None = None


class FieldLabels(t.NamedTuple):
    """The names of the settings of a link in errors, as the user wrote them; by default the inventory variables.

    ``mtu`` is the remedy for a too large MTU: ``{underlay}`` is the MTU of the link below, ``{overlay}`` the largest
    MTU that the VXLAN link can have on it.
    """

    name: str = "overlay_device"
    vni: str = "overlay_vni"
    port: str = "overlay_port"
    local: str = "overlay_underlay_ip"
    mtu: str = "set overlay_underlay_mtu of this host to {underlay}"


VARIABLES = FieldLabels()


class LinkChange(t.NamedTuple):
    """The pending changes of a link.

    ``before`` and ``after`` are the attributes that differ, by name; ``lines`` is the
    batch. ``recreated`` is the reason why the device must be created again, which
    removes all its table entries, or ``None``; ``back`` is then the batch that creates
    the old device again if the new one fails.
    """

    before: dict[str, str]
    after: dict[str, str]
    lines: list[str]
    recreated: str | None = None
    back: t.Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.lines)

    @property
    def made(self) -> bool:
        """Whether the change creates a device, which has no table entries."""
        return bool(self) and (self.recreated is not None or not self.before)


def converge_link(spec: LinkSpec, run: Run, check: bool, labels: FieldLabels = VARIABLES) -> LinkChange:
    """Create or change the link; with ``check``, only return the pending changes.

    :param labels: the names of the settings in errors.
    :raises ValidationError: the specification is invalid, or its name, VNI or port is taken.
    :raises KernelError: the kernel rejected the change, or does not have it afterwards.
    """
    validate_link(spec)
    links = read_links(run)
    check_conflicts(spec, links, run, labels)
    change = compare_link(spec, links)
    if change and not check:
        apply_link(change, run)
        left = compare_link(spec, read_links(run))
        if left:
            raise KernelError(f"link {spec.name} was changed, but still has {left.before} instead of {left.after}")
    return change


def remove_link(name: str, run: Run, check: bool) -> LinkChange:
    """Remove a VXLAN link, if it exists; with ``check``, only return the pending change.

    :raises ValidationError: the name is invalid, or the link is of another kind.
    :raises KernelError: the kernel rejected the removal.
    """
    problems = device_problems("name", name)
    if problems:
        raise ValidationError(*problems)
    row = find_link(name, read_links(run))
    if row is None:
        return LinkChange({}, {}, [])
    if kind_of(row) != "vxlan":
        raise ValidationError(
            f"device {name} is not a VXLAN link but {kind_of(row) or row.get('link_type')}: it was not removed"
        )
    change = LinkChange(_actual(row), {}, [f"link del {name}"])
    if not check:
        apply_link(change, run)
    return change


def validate_link(spec: LinkSpec) -> None:
    """Make sure that every part of a specification is valid.

    :raises ValidationError: naming each invalid part.
    """
    problems = device_problems("name", spec.name)
    if spec.dev is not None:
        problems += device_problems("dev", spec.dev)
    problems += range_problems("vni", spec.vni, 1, (1 << 24) - 1)
    problems += range_problems("port", spec.port, 1, 65535)
    if spec.mac is not None and not MAC.fullmatch(spec.mac):
        problems.append(f"mac {shown(spec.mac)} is not a unicast address in lower case, such as 0a:58:0a:f4:03:00")
    if spec.mtu is not None:
        problems += range_problems("mtu", spec.mtu, 68, 65535)
    problems += address_problems("local", spec.local)
    for text in spec.addresses or ():
        try:
            if _interface(text) != text:
                problems.append(f"addresses {shown(text)} must be written {_interface(text)}")
        except ValueError as error:
            problems.append(f"addresses {shown(text)} is invalid: {error}")
    if problems:
        raise ValidationError(*problems)


def read_links(run: Run) -> list[Row]:
    """Return all links with their details and addresses, from one listing."""
    return [*read_json(LINKS, run)]


def link_exists(name: str) -> bool:
    """Whether there is a link of this name, known without running a program."""
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def find_link(name: str, links: t.Sequence[Row]) -> Row | None:
    """Return the link of this name, or ``None``."""
    return next((row for row in links if row.get("ifname") == name), None)


def compare_link(spec: LinkSpec, links: t.Sequence[Row]) -> LinkChange:
    """Return the pending changes of the link.

    The kernel changes local, dev, MTU, MAC, learning and addresses in place. A
    change of VNI, port, default destination or IP version requires a new device.
    """
    desired = _desired(spec)
    row = find_link(spec.name, links)
    if row is None:
        return LinkChange({}, desired, _creation(spec))
    found = {key: value for key, value in _actual(row).items() if key in desired}
    before = {key: found[key] for key in desired if found[key] != desired[key]}
    after = {key: desired[key] for key in before}
    fixed = [f"{key} {before[key]} -> {after[key]}" for key in _FIXED if key in before]
    if (":" in found["local"] and ":" not in spec.local) or (":" not in found["local"] and ":" in spec.local):
        fixed.append(f"local {found['local']} -> {spec.local} (another IP version)")
    if fixed:
        return LinkChange(
            before,
            after,
            [f"link del {spec.name}", *_creation(spec)],
            recreated=f"{', '.join(fixed)} cannot be changed in place",
            back=_creation(spec_of(row)),
        )
    return LinkChange(before, after, _changes_in_place(spec, before, row))


def check_conflicts(
    spec: LinkSpec, links: t.Sequence[Row], run: Run, labels: FieldLabels = VARIABLES, peers: t.Sequence[str] = ()
) -> None:
    """Make sure that name, VNI and port are free, or belong to the link itself, and that the underlay fits.

    The errors of the kernel, "File exists" and "Address already in use", do not name the cause.

    :param labels: the names of the settings in errors.
    :param peers: the underlay addresses of all peers. The MTU is compared with that of the routes to them, and without
        peers with that of the link that has the underlay address.
    :raises ValidationError: naming what has each of them.
    """
    row = find_link(spec.name, links)
    problems: list[str] = []
    if row is not None:
        problems.extend(_problems_of_namesake(spec, row, labels))
    problems.extend(_problems_of_underlay(spec, links, peers, run, labels))
    others = [
        link for link in links if kind_of(link) == "vxlan" and link.get("ifname") not in (spec.name, ALTERNATE_LINK)
    ]
    for link in others:
        data = link["linkinfo"].get("info_data", {})
        if (data.get("id"), data.get("port")) == (spec.vni, spec.port):
            name = str(link["ifname"])
            remedy = "" if name.startswith("flannel") else "remove that link, or "
            if link.get("ifalias") == ALIAS:
                problems.append(_of_another_name(name, spec, labels))
                continue
            problems.append(
                f"VNI {spec.vni} on port {spec.port} ({labels.vni}, {labels.port}) belongs to the VXLAN link {name}: "
                f"{remedy}choose another VNI or port"
            )
        elif spec.mac is not None and link.get("address") == spec.mac and link.get("ifalias") == ALIAS:
            problems.append(_of_another_name(str(link["ifname"]), spec, labels))
        elif spec.mac is not None and link.get("address") == spec.mac:
            problems.append(
                f"the VXLAN link {link['ifname']} has the MAC {spec.mac} that belongs to {spec.name}: if it is the "
                f"former device of the overlay ({labels.name}), remove it: ip link del {link['ifname']}"
            )
    links_on_port = [link for link in links if _port(link) == spec.port and "UP" in link.get("flags", ())]
    if not links_on_port:
        problems.extend(_problems_of_port(spec, run, labels))
    if problems:
        raise ValidationError(*problems)


def _of_another_name(name: str, spec: LinkSpec, labels: FieldLabels) -> str:
    """Return the problem of a host that has the overlay by a device of another name."""
    return (
        f"{name} is the device of the overlay that this host has, and {labels.name} is {spec.name}: the name cannot "
        f"change in place. Set it to {name} again, or run tke.overlay.reset on all nodes first"
    )


def apply_link(change: LinkChange, run: Run) -> None:
    """Run the batch of a change. If a new device cannot be created, create the old one again, without entries.

    The old device cannot be kept under another name meanwhile: two devices with the same VNI and port conflict, even
    if one of them is down.

    :raises KernelError: naming the error of the kernel and the line. A failed removal of a surplus address raises
        nothing, because a network manager that has just released the device can remove its own address at the same
        time; the caller finds a remaining address by reading the link back.
    """
    removals = [line for line in change.lines if line.startswith("address del ")]
    try:
        run_batch(IP, [line for line in change.lines if line not in removals], run)
    except KernelError as error:
        if not change.recreated:
            raise
        name = change.back[0].split()[2]
        if find_link(name, read_links(run)) is not None:
            run_batch(IP, [f"link del {name}"], run)
        run_batch(IP, change.back, run)
        raise KernelError(f"{error}; the former device was created again, without its entries") from error
    for line in removals:
        run([*IP, *line.split()], None)


def _interface(text: str) -> str:
    if "/" not in text:
        raise ValueError("it has no prefix length: write it as in 10.244.3.0/32")
    if "%" in text:
        raise ValueError("it has a zone: write the address without it")
    return str(ipaddress.ip_interface(text))


def kind_of(row: Row | None) -> str | None:
    """Return the type of a link, as in ``ip link add ... type``; ``None`` without a link or a type."""
    kind: str | None = (row or {}).get("linkinfo", {}).get("info_kind")
    return kind


def _port(row: Row) -> int | None:
    port: int | None = row.get("linkinfo", {}).get("info_data", {}).get("port")
    return port if kind_of(row) == "vxlan" else None


def _problems_of_namesake(spec: LinkSpec, row: Row, labels: FieldLabels) -> t.Iterator[str]:
    """Report a foreign link of the same name that cannot be adopted in place."""
    if kind_of(row) != "vxlan":
        yield (
            f"device {spec.name} ({labels.name}) already exists and is not a VXLAN link but "
            f"{kind_of(row) or row.get('link_type', 'of unknown kind')}: remove it or choose another name"
        )
    elif row.get("ifalias") != ALIAS and compare_link(spec, [row]).recreated:
        found = _actual(row)
        yield (
            f"device {spec.name} ({labels.name}) already exists, a foreign VXLAN link with VNI {found['vni']} on port "
            f"{found['port']}: remove it or choose another name"
        )


def _problems_of_underlay(
    spec: LinkSpec, links: t.Sequence[Row], peers: t.Sequence[str], run: Run, labels: FieldLabels
) -> t.Iterator[str]:
    owner = find_owner(spec.local, links)
    if owner is None:
        owned = {address["local"] for link in links for address in link.get("addr_info", [])}
        others = sorted(address for address in owned if not address.startswith(("127.", "::1", "fe80:")))
        yield (
            f"underlay address {spec.local} ({labels.local}) is not an address of this host, which has "
            f"{', '.join(others) or 'none'}: correct it, or add it to a link"
        )
    elif spec.mtu is not None:
        limits = MtuSpec(spec.mtu, spec.local, labels.mtu)
        if not peers and "LOOPBACK" not in owner.get("flags", ()) and owner["mtu"] < limits.needed:
            yield limits.problem(f"link {owner['ifname']} with the underlay address {spec.local}", owner["mtu"])
        yield from mtu_problems(underlay_routes(spec.local, peers, run), links, limits)
    if spec.dev is not None and find_link(spec.dev, links) is None:
        yield f"the underlay link {spec.dev!r} (dev) does not exist"


def _problems_of_port(spec: LinkSpec, run: Run, labels: FieldLabels) -> t.Iterator[str]:
    """Report what else has the UDP port: a program, or a tunnel of the kernel that is not a VXLAN link."""
    _code, out, _errors = run(["ss", "-Haunp", f"sport = :{spec.port}"], None)
    for line in out.splitlines():
        address = line.split()[3] if len(line.split()) > 3 else ""
        other_version = address.startswith("[") if ":" not in spec.local else address[:1].isdigit()
        if other_version:
            continue
        _mark, _found, users = line.partition("users:")
        holder = users.strip("() \n") if users else "another tunnel of the kernel"
        yield (
            f"UDP port {spec.port} ({labels.port}) is taken by {holder or 'another program'}: "
            f"stop it, or choose another port"
        )
        return


_FIXED = ("vni", "port", "remote")


def spec_of(row: Row) -> LinkSpec:
    """Return the specification of an actual VXLAN link, without a default destination: a managed link has none."""
    found = _actual(row)
    return LinkSpec(
        name=str(row["ifname"]),
        vni=int(found["vni"]),
        port=int(found["port"]),
        local=found["local"],
        dev=None if found["dev"] == "none" else found["dev"],
        mac=found["mac"],
        mtu=int(found["mtu"]),
        addresses=_addresses(row),
    )


def _desired(spec: LinkSpec) -> dict[str, str]:
    """Return the desired attributes, as text."""
    desired = {"vni": str(spec.vni), "port": str(spec.port), "local": spec.local, "learning": "off", "state": "up"}
    desired.update(alias=ALIAS, remote="none")
    if spec.dev is not None:
        desired["dev"] = spec.dev
    if spec.mac is not None:
        desired["mac"] = spec.mac
    if spec.mtu is not None:
        desired["mtu"] = str(spec.mtu)
    if spec.addresses is not None:
        desired["addresses"] = " ".join(sorted(spec.addresses))
    return desired


def _actual(row: Row) -> dict[str, str]:
    """Return the same attributes of an actual link."""
    data = row["linkinfo"].get("info_data", {})
    return {
        "vni": str(data.get("id", "none")),
        "port": str(data.get("port", "none")),
        "local": data.get("local") or data.get("local6") or "none",
        "dev": data.get("link", "none"),
        "alias": row.get("ifalias", "none"),
        "remote": data.get("group") or data.get("group6") or data.get("remote") or data.get("remote6") or "none",
        "learning": "on" if data.get("learning") else "off",
        "mac": row.get("address", "none"),
        "mtu": str(row.get("mtu", "none")),
        "addresses": " ".join(_addresses(row)),
        "state": "up" if "UP" in row.get("flags", ()) else "down",
    }


def _addresses(row: Row) -> list[str]:
    """Return the addresses with prefix, except the IPv6 link-local ones, which the kernel creates."""
    return sorted(
        f"{address['local']}/{address['prefixlen']}"
        for address in row.get("addr_info", [])
        if not address["local"].startswith("fe80:")
    )


def _creation(spec: LinkSpec) -> list[str]:
    """Return the batch that creates the link.

    It sets MAC and MTU at creation, because udev sets another MAC on a link without one (flannel #1155).
    """
    mac = f" address {spec.mac}" if spec.mac is not None else ""
    mtu = f" mtu {spec.mtu}" if spec.mtu is not None else ""
    dev = f"dev {spec.dev} " if spec.dev is not None else ""
    tunnel = f"id {spec.vni} dstport {spec.port} local {spec.local}"
    return [
        f"link add {spec.name}{mac}{mtu} type vxlan {tunnel} {dev}nolearning",
        # No IPv6 link-local address: its multicast packets match no FDB entry and would only count as dropped.
        f"link set {spec.name} addrgenmode none",
        f"link set {spec.name} alias {ALIAS}",
        f"link set {spec.name} up",
        *(f"address replace {address} dev {spec.name}" for address in spec.addresses or ()),
    ]


def _changes_in_place(spec: LinkSpec, before: t.Mapping[str, str], row: Row) -> list[str]:
    """Return the batch that changes the attributes in ``before``, in an order that the kernel accepts."""
    settings = {
        "alias": f"alias {ALIAS}",
        "dev": f"type vxlan dev {spec.dev}",
        "local": f"type vxlan local {spec.local}",
        "learning": "type vxlan nolearning",
        "mac": f"address {spec.mac}",
        "mtu": f"mtu {spec.mtu}",
        "state": "up",
    }
    lines = [f"link set {spec.name} {setting}" for name, setting in settings.items() if name in before]
    if "addresses" in before:
        actual, desired = set(_addresses(row)), set(spec.addresses or ())
        lines += [f"address replace {address} dev {spec.name}" for address in sorted(desired - actual)]
        lines += [f"address del {address} dev {spec.name}" for address in sorted(actual - desired)]
    return lines


def attributes_text(attributes: t.Mapping[str, str]) -> str:
    """Return one line per attribute, for a diff."""
    return "".join(f"{key} {attributes[key]}\n" for key in sorted(attributes))
