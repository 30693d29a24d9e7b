# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: one VXLAN link with its MAC, MTU, outer source and addresses."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    DEVICE_NAME,
    DEVICE_NAME_RULE,
    MAC,
    overhead_on,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json, run_batch

IP = ("ip",)

ALIAS = "tke.overlay"
"""The mark of a link that this collection made or took over."""

ALTERNATE_LINK = "tke-alt"
"""A second link of the tunnel, during a change of its port: see :mod:`transition`."""

Row = t.Mapping[str, t.Any]
"""A link as ``ip -json -details address show`` lists it."""


class LinkSpec(t.NamedTuple):
    """A VXLAN link as it should be. What is ``None`` is not asked for, and so neither compared nor changed.

    ``addresses`` are those with a prefix (``10.244.3.0/32``) that the link has, and no others.
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
    """What errors call the settings of a link, so that a user finds them: here the variables of the inventory.

    ``mtu`` says how to make the overlay fit: ``{underlay}`` is the MTU of the link below, ``{overlay}`` what is left.
    """

    name: str = "overlay_device"
    vni: str = "overlay_vni"
    port: str = "overlay_port"
    local: str = "overlay_underlay_ip"
    mtu: str = "set overlay_underlay_mtu of this host to {underlay}"


VARIABLES = FieldLabels()


class LinkChange(t.NamedTuple):
    """How a link becomes what it should be.

    ``before`` and ``after`` are its attributes, by name, where they differ;
    ``lines`` is the batch; ``recreated`` says why the device must be made anew
    (and with it lose every table entry), or is ``None``; ``back`` is the batch that
    then makes the old one again, should the new one fail.
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
        """Whether there is a new device after it, which has no table entries."""
        return bool(self) and (self.recreated is not None or not self.before)


def converge_link(spec: LinkSpec, run: Run, check: bool, words: FieldLabels = VARIABLES) -> LinkChange:
    """Makes the link what it should be; with ``check`` only finds out what that would change.

    :param words: what errors call the settings.
    :raises ValidationError: the specification is malformed, or something else has its name, VNI or port.
    :raises KernelError: the kernel refused, or does not hold what it was given.
    """
    refuse_malformed(spec)
    links = read_links(run)
    refuse_conflicts(spec, links, run, words)
    change = compare_link(spec, links)
    if change and not check:
        apply_link(change, run)
        left = compare_link(spec, read_links(run))
        if left:
            raise KernelError(f"link {spec.name} was changed, but still is {left.before} and not {left.after}")
    return change


def remove_link(name: str, run: Run, check: bool) -> LinkChange:
    """Removes a VXLAN link; nothing happens when there is none of this name.

    :raises ValidationError: the link is of another kind.
    :raises KernelError: the kernel refused.
    """
    row = find_link(name, read_links(run))
    if row is None:
        return LinkChange({}, {}, [])
    if kind_of(row) != "vxlan":
        raise ValidationError(
            f"device {name} is no VXLAN link but {kind_of(row) or row.get('link_type')}, so it is not removed"
        )
    change = LinkChange(_found(row), {}, [f"link del {name}"])
    if not check:
        apply_link(change, run)
    return change


def refuse_malformed(spec: LinkSpec) -> None:
    """Makes sure that every part of a specification is well-formed.

    :raises ValidationError: naming each that is not.
    """
    problems = []
    if not DEVICE_NAME.fullmatch(spec.name):
        problems.append(f"name {spec.name!r}: {DEVICE_NAME_RULE}")
    for what, number, most in (("vni", spec.vni, (1 << 24) - 1), ("port", spec.port, 65535)):
        if not 1 <= number <= most:
            problems.append(f"{what} {number} does not lie between 1 and {most}")
    if spec.mac is not None and not MAC.fullmatch(spec.mac):
        problems.append(f"mac {spec.mac!r} is not a unicast address such as 0a:58:0a:f4:03:00, in lower case")
    if spec.mtu is not None and not 68 <= spec.mtu <= 65535:
        problems.append(f"mtu {spec.mtu} does not lie between 68 and 65535")
    texts: list[tuple[str, str, t.Callable[[str], object]]] = [("local", spec.local, ipaddress.ip_address)]
    texts += [("addresses", address, _interface) for address in spec.addresses or ()]
    for what, text, parse in texts:
        try:
            if str(parse(text)) != text:
                problems.append(f"{what} {text!r} should be written {parse(text)}")
        except ValueError as error:
            problems.append(f"{what} {text!r}: {error}")
    if problems:
        raise ValidationError(*problems)


def read_links(run: Run) -> list[Row]:
    """All links with their details and addresses, in one reading."""
    return [*read_json(["ip", "-json", "-details", "address", "show"], run)]


def find_link(name: str, links: t.Sequence[Row]) -> Row | None:
    """The link of this name, or ``None``."""
    return next((row for row in links if row.get("ifname") == name), None)


def compare_link(spec: LinkSpec, links: t.Sequence[Row]) -> LinkChange:
    """What to do so that the link is as ``spec`` says.

    Changeable in place are local, dev, MTU, MAC, learning and addresses. For VNI,
    port, a default destination and the IP version the kernel leaves no choice but
    a new device.
    """
    wanted = _wanted(spec)
    row = find_link(spec.name, links)
    if row is None:
        return LinkChange({}, wanted, _creation(spec))
    found = {key: value for key, value in _found(row).items() if key in wanted}
    before = {key: found[key] for key in wanted if found[key] != wanted[key]}
    after = {key: wanted[key] for key in before}
    fixed = [f"{key} {before[key]} -> {after[key]}" for key in _FIXED if key in before]
    if (":" in found["local"] and ":" not in spec.local) or (":" not in found["local"] and ":" in spec.local):
        fixed.append(f"local {found['local']} -> {spec.local} (another IP version)")
    if fixed:
        return LinkChange(
            before,
            after,
            [f"link del {spec.name}", *_creation(spec)],
            recreated=f"{', '.join(fixed)} cannot be changed on a living device",
            back=_creation(spec_of(row)),
        )
    return LinkChange(before, after, _changes_in_place(spec, before, row))


def refuse_conflicts(spec: LinkSpec, links: t.Sequence[Row], run: Run, words: FieldLabels = VARIABLES) -> None:
    """Makes sure that the name, the VNI and the port are free for the link, or its own.

    The kernel would only say "File exists" or "Address already in use".

    :param words: what errors call the settings.
    :raises ValidationError: naming the holder of each.
    """
    row = find_link(spec.name, links)
    problems: list[str] = []
    if row is not None:
        problems.extend(_problems_of_namesake(spec, row, words))
    problems.extend(_problems_of_parent(spec, links, words))
    others = [
        link for link in links if kind_of(link) == "vxlan" and link.get("ifname") not in (spec.name, ALTERNATE_LINK)
    ]
    for link in others:
        data = link["linkinfo"].get("info_data", {})
        if (data.get("id"), data.get("port")) == (spec.vni, spec.port):
            problems.append(
                f"VNI {spec.vni} on port {spec.port} ({words.vni}, {words.port}) belongs to the VXLAN link "
                f"{link['ifname']}: remove that, or choose another VNI or port"
            )
        elif spec.mac is not None and link.get("address") == spec.mac:
            problems.append(
                f"the VXLAN link {link['ifname']} has the MAC {spec.mac} that belongs to {spec.name}: if it is the "
                f"overlay's former device ({words.name}), remove it: ip link del {link['ifname']}"
            )
    links_on_port = [link for link in links if _port(link) == spec.port and "UP" in link.get("flags", ())]
    if not links_on_port:
        problems.extend(_problems_of_port(spec, run, words))
    if problems:
        raise ValidationError(*problems)


def apply_link(change: LinkChange, run: Run) -> None:
    """Runs the batch of a change. Where a device cannot be made anew, the old one is made again, without entries.

    The old one cannot wait under another name until the new one is there: two of one VNI and port clash, up or down.

    :raises KernelError: with the kernel's words and the line they are about. A surplus address that cannot be removed
        is left to the caller's read-back: a network manager that has just been told to let go takes its own away.
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
        raise KernelError(f"{error}; the device of before was made again, without its entries") from error
    for line in removals:
        run([*IP, *line.split()], None)


def _interface(text: str) -> str:
    if "/" not in text:
        raise ValueError("an address with prefix is needed, such as 10.244.3.0/32")
    return str(ipaddress.ip_interface(text))


def kind_of(row: Row | None) -> str | None:
    """What ``ip link add ... type`` was given; ``None`` for no link, and one of no such kind."""
    kind: str | None = (row or {}).get("linkinfo", {}).get("info_kind")
    return kind


def _port(row: Row) -> int | None:
    port: int | None = row.get("linkinfo", {}).get("info_data", {}).get("port")
    return port if kind_of(row) == "vxlan" else None


def _problems_of_namesake(spec: LinkSpec, row: Row, words: FieldLabels) -> t.Iterator[str]:
    """A link of our name that is not ours, and could not become so without being made anew."""
    if kind_of(row) != "vxlan":
        yield (
            f"device {spec.name} ({words.name}) is there already, and it is no VXLAN link but "
            f"{kind_of(row) or row.get('link_type', 'of unknown kind')}: remove it or choose another name"
        )
    elif row.get("ifalias") != ALIAS and compare_link(spec, [row]).recreated:
        found = _found(row)
        yield (
            f"device {spec.name} ({words.name}) is there already, a VXLAN link of VNI {found['vni']} on port "
            f"{found['port']} that this collection did not make: remove it or choose another name"
        )


def _problems_of_parent(spec: LinkSpec, links: t.Sequence[Row], words: FieldLabels) -> t.Iterator[str]:
    owned = {address["local"]: link for link in links for address in link.get("addr_info", [])}
    parent = owned.get(spec.local)
    overhead = overhead_on(spec.local)
    needed = (spec.mtu or 0) + overhead
    if parent is None:
        others = sorted(address for address in owned if not address.startswith(("127.", "::1", "fe80:")))
        where = "is on no link of this host, which has"
        yield f"underlay address {spec.local} ({words.local}) {where} {', '.join(others) or 'none'}"
    elif spec.mtu is not None and parent["mtu"] < needed:
        yield (
            f"link {parent['ifname']} with the underlay address {spec.local} has MTU {parent['mtu']}, and an overlay "
            f"MTU of {spec.mtu} needs {needed}: "
            f"{words.mtu.format(underlay=parent['mtu'], overlay=parent['mtu'] - overhead)}"
        )
    if spec.dev is not None and find_link(spec.dev, links) is None:
        yield f"there is no link {spec.dev!r} to send from (dev)"


def _problems_of_port(spec: LinkSpec, run: Run, words: FieldLabels) -> t.Iterator[str]:
    """Who else has the UDP port: a program, or a tunnel of the kernel that is no VXLAN link."""
    _code, out, _errors = run(["ss", "-Haunp", f"sport = :{spec.port}"], None)
    for line in out.splitlines():
        address = line.split()[3] if len(line.split()) > 3 else ""
        other_version = address.startswith("[") if ":" not in spec.local else address[:1].isdigit()
        if other_version:
            continue
        _mark, _found, users = line.partition("users:")
        holder = users.strip("() \n") if users else "another tunnel of the kernel"
        yield (
            f"UDP port {spec.port} ({words.port}) is taken by {holder or 'another program'}: "
            f"stop that, or choose another port"
        )
        return


_FIXED = ("vni", "port", "remote")


def spec_of(row: Row) -> LinkSpec:
    """The specification of a VXLAN link that is there. It has no default destination, as no link of ours has one."""
    found = _found(row)
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


def _wanted(spec: LinkSpec) -> dict[str, str]:
    """The attributes that are asked for, as text."""
    wanted = {"vni": str(spec.vni), "port": str(spec.port), "local": spec.local, "learning": "off", "state": "up"}
    wanted.update(alias=ALIAS, remote="none")
    if spec.dev is not None:
        wanted["dev"] = spec.dev
    if spec.mac is not None:
        wanted["mac"] = spec.mac
    if spec.mtu is not None:
        wanted["mtu"] = str(spec.mtu)
    if spec.addresses is not None:
        wanted["addresses"] = " ".join(sorted(spec.addresses))
    return wanted


def _found(row: Row) -> dict[str, str]:
    """The same attributes of a link that is there."""
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
    """Addresses with prefix, less the IPv6 link-local ones that the kernel makes."""
    return sorted(
        f"{address['local']}/{address['prefixlen']}"
        for address in row.get("addr_info", [])
        if not address["local"].startswith("fe80:")
    )


def _creation(spec: LinkSpec) -> list[str]:
    """MAC and MTU come with the creation: udev sets a MAC of its own on a link made without (flannel #1155)."""
    mac = f" address {spec.mac}" if spec.mac is not None else ""
    mtu = f" mtu {spec.mtu}" if spec.mtu is not None else ""
    dev = f"dev {spec.dev} " if spec.dev is not None else ""
    tunnel = f"id {spec.vni} dstport {spec.port} local {spec.local}"
    return [
        f"link add {spec.name}{mac}{mtu} type vxlan {tunnel} {dev}nolearning",
        # No IPv6 link-local address: its multicast would find no FDB entry and only count as dropped.
        f"link set {spec.name} addrgenmode none",
        f"link set {spec.name} alias {ALIAS}",
        f"link set {spec.name} up",
        *(f"address replace {address} dev {spec.name}" for address in spec.addresses or ()),
    ]


def _changes_in_place(spec: LinkSpec, before: t.Mapping[str, str], row: Row) -> list[str]:
    lines = []
    if "alias" in before:
        lines.append(f"link set {spec.name} alias {ALIAS}")
    if "dev" in before:
        lines.append(f"link set {spec.name} type vxlan dev {spec.dev}")
    if "local" in before:
        lines.append(f"link set {spec.name} type vxlan local {spec.local}")
    if "learning" in before:
        lines.append(f"link set {spec.name} type vxlan nolearning")
    if "mac" in before:
        lines.append(f"link set {spec.name} address {spec.mac}")
    if "mtu" in before:
        lines.append(f"link set {spec.name} mtu {spec.mtu}")
    if "state" in before:
        lines.append(f"link set {spec.name} up")
    if "addresses" in before:
        present, wanted = set(_addresses(row)), set(spec.addresses or ())
        lines += [f"address replace {address} dev {spec.name}" for address in sorted(wanted - present)]
        lines += [f"address del {address} dev {spec.name}" for address in sorted(present - wanted)]
    return lines


def attributes_text(attributes: t.Mapping[str, str]) -> str:
    """A line for each attribute, for a diff."""
    return "".join(f"{key} {attributes[key]}\n" for key in sorted(attributes))
