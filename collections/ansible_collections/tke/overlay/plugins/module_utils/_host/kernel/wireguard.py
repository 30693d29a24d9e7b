# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WireGuard devices: one for each generation of keys, with a peer for each node of the linked sites.

Two entries of this table look like this, as the diff and the saved file show them:

=====================  ===========================================================================================
key                    specification
=====================  ===========================================================================================
``tke-wg0``            ``listen-port 51820 fwmark off mtu 1380 address 10.244.0.0/32 public-key KEY state up``
``tke-wg0 peer KEY``   ``allowed-ips 10.244.3.0/24 endpoint 10.0.1.13:51820 persistent-keepalive 25``
=====================  ===========================================================================================

The private key is in a file (:mod:`wireguard_key`), whose path ``wg`` gets. It is in no
argument, in no result and not in the memory of this process: a program removes it from
the listing before this module reads that.

Changes are ``wg set`` and ``wg addconf`` with the peers that differ. ``wg syncconf``
takes the whole configuration instead, private key included, and sets each peer that it
names again: that takes its allowed IPs away for a moment, in which its packets are
dropped, and makes wireguard-go bind its socket again.

A device has the address of the VTEP, as the VXLAN device has: the reverse-path filter
of the kernel, also the loose one, drops what comes by a device without an address
unless the route to its source leads by that device. During a cutover it does not.

A peer *roams*: it is reached at the address from which its last packet came. While its
last handshake is younger than :data:`LIVING_SECONDS`, its actual endpoint is right,
whatever the plan says; an older one is set to that of the plan again.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NONE
from ansible_collections.tke.overlay.plugins.module_utils._errors import (
    KernelError,
    ValidationError,
    some_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    ALIAS,
    Row,
    find_link,
    kind_of,
    link_exists,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Delta,
    Desired,
    Run,
    error_text,
    run_batch,
)
from ansible_collections.tke.overlay.plugins.module_utils._links import wireguard_device

DEVICES = (wireguard_device(0), wireguard_device(1))
"""The names of all WireGuard devices that this collection creates."""

KEY_FILE = "/etc/tke-overlay/wireguard-{generation}.key"
"""The path of the private key of a generation."""

KEEPALIVE = 25
"""Seconds between two packets of a host behind NAT to each peer, so that the NAT keeps the way back open.

WireGuard's documentation recommends this number for "a wide variety of firewalls".
"""

LIVING_SECONDS = 180
"""A peer without a handshake for this time does not live: WireGuard rejects an older key (REJECT_AFTER_TIME)."""

HANDSHAKE_SECONDS = 15
"""How long a host waits for the first handshakes by new keys. WireGuard repeats one every 5 s (REKEY_TIMEOUT)."""

UNIT = "tke-overlay-wireguard@{device}.service"
"""The unit that runs wireguard-go for a device."""

_DEVICE_LINE = re.compile(
    r"(\S+) generation (\d+) listen-port (\d+) fwmark off mtu (\d+) address (\S+) public-key (\S+) state up", re.ASCII
)
_PEER_LINE = re.compile(
    r"(\S+) peer (\S+) allowed-ips (\S+)(?: endpoint (\S+))?(?: persistent-keepalive (?P<keepalive>\d+))?", re.ASCII
)
_KINDS = ("wireguard", "tun")  # of the kernel; of wireguard-go
_VERSION = ("wg", "--version")
_GO_VERSION = ("wireguard-go", "--version")
_HAS_TUN = ("test", "-c", "/dev/net/tun")
_MODULE = "wireguard"
_NO_KEY = "A" * 43 + "="  # as a preshared key: none
_MOST_PEERS = 500  # peers in one command line
MOST_NAMED = 5
_PAUSE = 0.25  # seconds

# Replaces the private key, which is the first field, and each preshared key, the second field of a peer.
_LIST = r"""timeout 30 wg show "$1" dump | sed -e '1s/^[^\t]*/-/' -e '2,$s/^\([^\t]*\)\t[^(\t][^\t]*/\1\thidden/'"""


class WireguardPeer(t.NamedTuple):
    """A node with a WireGuard link. ``endpoint`` is ``ADDRESS:PORT``, empty for a peer behind NAT, which dials."""

    key: str  # public
    endpoint: str
    node_cidr: str  # the addresses that its packets may have; the VTEP address is one of them
    keepalive: int = 0  # seconds, 0: none


class WireguardSpec(t.NamedTuple):
    """The desired device of one generation of keys. ``public_key`` is that of the private key in its file."""

    generation: int
    port: int
    mtu: int
    address: str  # of the VTEP, with its prefix length
    public_key: str
    peers: t.Sequence[WireguardPeer]

    @property
    def name(self) -> str:
        """The name of the device."""
        return wireguard_device(self.generation)

    @property
    def key_file(self) -> str:
        """The path of the private key, see :data:`KEY_FILE`."""
        return KEY_FILE.format(generation=self.generation)

    def entries(self) -> Desired:
        """Return the entries of the device and its peers."""
        attributes = f"listen-port {self.port} fwmark off mtu {self.mtu} address {self.address}"
        device = f"{attributes} public-key {self.public_key} state up"
        peers = {f"{self.name} peer {peer.key}": _peer_text(peer) for peer in self.peers}
        return {self.name: device, **peers}


def _peer_text(peer: WireguardPeer) -> str:
    endpoint = f" endpoint {peer.endpoint}" if peer.endpoint else ""
    keepalive = f" persistent-keepalive {peer.keepalive}" if peer.keepalive else ""
    return f"allowed-ips {peer.node_cidr}{endpoint}{keepalive}"


class WireguardTable:
    """All WireGuard devices of this collection on a host, with their peers."""

    name = "wireguard"

    def __init__(
        self,
        specs: t.Sequence[WireguardSpec] = (),
        systemd: bool = False,
        former: t.Sequence[WireguardSpec] = (),
    ) -> None:
        """Take the desired devices; without any, all that exist are surplus.

        :param systemd: run wireguard-go in a unit.
        :param former: devices of the former plan, which stay until no host sends by them.
        """
        self.specs = [*specs, *former]
        self.wanted: Desired = {key: text for spec in self.specs for key, text in spec.entries().items()}
        self._systemd = systemd
        self.dials = True  # whether a peer can have the session of a former device
        self.keyless = False  # whether a device whose key is not made yet (``-``) can be compared, as in check mode
        self._present, self._former = specs, former

    def text(self) -> str:
        """Return the saved file: a line for each entry, for a device with its generation, in the order of sort(1)."""
        devices = {spec.name: f"generation {spec.generation} " for spec in self.specs}
        return "".join(sorted(f"{key} {devices.get(key, '')}{spec}\n" for key, spec in self.wanted.items()))

    @classmethod
    def parse(cls, text: str, systemd: bool = False) -> WireguardTable:
        """Return the table of a saved file: the inverse of :meth:`text`.

        :raises KernelError: a line is not one that this collection writes.
        """
        devices: dict[str, tuple[str, ...]] = {}
        peers: dict[str, list[WireguardPeer]] = {}
        for line in text.splitlines():
            device, peer = _DEVICE_LINE.fullmatch(line), _PEER_LINE.fullmatch(line)
            if device is not None:
                devices[device[1]] = device.groups()[1:]
            elif peer is not None:
                keepalive = int(peer["keepalive"] or 0)
                peers.setdefault(peer[1], []).append(WireguardPeer(peer[2], peer[4] or "", peer[3], keepalive))
            else:
                raise KernelError(f"a line is not one that this collection writes: {line!r}; run tke.overlay.site")
        specs = [
            WireguardSpec(int(generation), int(port), int(mtu), address, key, peers.get(name, []))
            for name, (generation, port, mtu, address, key) in devices.items()
        ]
        return cls(specs, systemd)

    def listings(self, links: t.Sequence[Row]) -> list[t.Sequence[str]]:
        """Return the commands that :meth:`read` runs, for :func:`listed_together`."""
        return [_listing(device) for device in existing_devices(links)]

    def wanted_listings(self) -> list[t.Sequence[str]]:
        """Return the commands of :meth:`listings` for the desired devices that exist."""
        return [_listing(spec.name) for spec in self.specs if link_exists(spec.name)]

    def checks(self) -> list[t.Sequence[str]]:
        """Return the commands that :meth:`check` runs on most hosts, for :func:`listed_together`."""
        if not self.specs:
            return []
        keys = [_public_key_of(spec.key_file) for spec in self.specs if spec not in self._former]
        new = [_port_users(spec.port) for spec in self.specs if not link_exists(spec.name)]
        return [_VERSION, *keys, *new, *(_OF_NEW_DEVICES if new else ())]

    def read(self, links: t.Sequence[Row], run: Run) -> dict[str, ActualEntry]:
        """Return the actual entries, by key. The endpoint of a living peer counts as that of the plan.

        :param links: all links of the host.
        """
        entries: Desired = {}
        for row in links:
            if row.get("ifname") in DEVICES and _is_device(row):
                _code, out, _errors = run(_listing(str(row["ifname"])), None)
                entries.update(self._entries(row, out.splitlines()))
        return {key: ActualEntry(spec, managed=True) for key, spec in entries.items()}

    def _entries(self, row: Row, lines: t.Sequence[str]) -> t.Iterator[tuple[str, str]]:
        """Yield the entries of a device from its listing. Without a listing, wireguard-go does not answer."""
        device, state = str(row["ifname"]), "up" if "UP" in row.get("flags", ()) else "down"
        _private, key, port, mark = lines[0].split("\t") if lines else ["-", "(none)", "0", "off"]
        address = ",".join(_addresses(row)) or "none"
        attributes = f"listen-port {port} fwmark {mark} mtu {row.get('mtu')} address {address}"
        yield device, f"{attributes} public-key {key} state {state}"
        now = time.time()
        for line in lines[1:]:
            key, preshared, endpoint, allowed, handshake, _received, _sent, keepalive = line.split("\t")
            name = f"{device} peer {key}"
            planned = _endpoint_in(self.wanted.get(name, ""))
            roams = not planned or now - int(handshake) < LIVING_SECONDS
            found = WireguardPeer(
                key,
                planned if roams else endpoint,
                allowed,
                0 if keepalive == "off" else int(keepalive),
            )
            yield name, _peer_text(found) + ("" if preshared == "(none)" else " preshared-key hidden")

    def check(self, links: t.Sequence[Row], run: Run) -> None:
        """Make sure that the desired devices can exist. Nothing is changed.

        :raises ValidationError: a program, the kernel's part, or a key is missing, or a device or a port is taken.
        """
        if not self.specs:
            return
        check_wg(run)
        problems: list[str] = []
        for spec in self.specs:
            row = find_link(spec.name, links)
            problems += _problems_of_device(row, run)
            if spec not in self._former and not (self.keyless and spec.public_key == NONE):
                problems += _problems_of_key(spec, run)
            if row is None or _listens_elsewhere(spec, run):
                problems += _problems_of_port(spec.port, run)
        if problems:
            raise ValidationError(*dict.fromkeys(problems))

    def apply(self, delta: Delta, run: Run) -> None:
        """Create the missing devices and change what differs. Surplus devices stay: :meth:`remove_surplus`.

        A device is set up last, so no packet passes a device that is not configured. A new one dials all of its peers,
        unless the host has never had one (:attr:`dials`): with a keepalive, which is then set to that of the plan.
        Without that, a peer that still has the session of a former device sends by it for up to 15 s (until
        KEEPALIVE_TIMEOUT and REKEY_TIMEOUT). Each handshake takes the CPU of two key agreements.

        :raises KernelError: a program rejected it, or the private key of a former device is gone.
        """
        for spec in self.specs:
            created = spec.name in delta.added
            lacks_key = spec in self._former and not os.path.exists(files.ROOT + spec.key_file)
            if lacks_key and _reads_key(spec, delta):
                raise KernelError(f"{spec.name} needs its former key, and {spec.key_file} is missing: {_REMEDY}")
            if created:
                self._create(spec.name, run)
            if created or spec.name in delta.changed:
                _configure(spec, delta, run)
            part = self._called_again(spec, delta)
            _remove_peers(spec.name, part, run)
            dialling = created and self.dials
            _put_peers(spec.name, part, run, dialling)
            if created or spec.name in delta.changed:
                run_batch(("ip",), _link_lines(spec, delta), run)
            if dialling:
                _put_peers(spec.name, delta, run)

    def _called_again(self, spec: WireguardSpec, delta: Delta) -> Delta:
        """Return the changes of the peers; all peers again where a device of next keys changes its port.

        So do the devices of its peers: what lives by the former ports would count as answering, and never call the new
        ones. A device by which the host sends is not called again, because that costs a handshake.
        """
        if spec not in self._present[1:] or spec.name not in delta.changed:
            return delta
        if not _differs(*delta.changed[spec.name], "listen-port"):
            return delta
        prefix = f"{spec.name} peer "
        peers = {key: text for key, text in self.wanted.items() if key.startswith(prefix)}
        return delta._replace(added=peers, changed={}, removed={**delta.removed, **peers})

    def answering(self, run: Run) -> dict[str, int]:
        """Return device -> number of peers whose last handshake is young enough to count as living."""
        return {spec.name: len(_answering(spec, LIVING_SECONDS, run)) for spec in self.specs}

    def await_handshakes(self, run: Run, new: t.Collection[str] = ()) -> None:
        """Wait until each peer that lives on a former device has answered on a present one. Nothing is changed.

        A peer behind NAT can be reached only after its first handshake; another one may not be reached by the new port.

        :param new: the node CIDRs of peers that were reached without WireGuard, and must answer as well.
        :raises KernelError: a peer has not answered in time.
        """
        silent = self.unanswered(run, HANDSHAKE_SECONDS, new)
        if silent:
            raise KernelError(
                f"nothing was changed, because nodes that have prepared do not answer by WireGuard, or by its next "
                f"keys, on UDP port {self.ports}: those with the node CIDRs {some_of(silent, MOST_NAMED)}; let it "
                f"pass, and run the playbook again"
            )

    @property
    def ports(self) -> str:
        """The UDP ports of the present devices, for a message."""
        return " and ".join(str(spec.port) for spec in self._present)

    def unanswered(self, run: Run, seconds: float, new: t.Collection[str] = ()) -> list[str]:
        """Return the node CIDRs of the peers for which :meth:`await_handshakes` waits, after at most these seconds."""
        answering = {peer.node_cidr for spec in self._former for peer in _answering(spec, LIVING_SECONDS, run)}
        answering |= {*new}
        deadline = time.monotonic() + seconds
        while answering:
            answering -= {peer.node_cidr for spec in self._present for peer in _answering(spec, LIVING_SECONDS, run)}
            planned = {peer.node_cidr for spec in self._present for peer in spec.peers}
            answering &= planned
            if not answering or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE)
        return sorted(answering)

    def _create(self, device: str, run: Run) -> None:
        """Create a device in the kernel; where the kernel cannot do that, by wireguard-go."""
        code, _out, errors = run(("ip", "link", "add", device, "type", "wireguard"), None)
        if code != 0:
            command = (
                ("systemctl", "restart", UNIT.format(device=device)) if self._systemd else ("wireguard-go", device)
            )
            code, _out, fault = run(command, None)
            if code != 0:
                raise KernelError(
                    f"WireGuard device {device}: the kernel: {error_text(1, errors)}; "
                    f"{' '.join(command)}: {error_text(code, fault)}"
                )
        # No IPv6 link-local address: its multicast packets belong to no peer.
        run_batch(("ip",), [f"link set {device} addrgenmode none", f"link set {device} alias {ALIAS}"], run)

    def undo(self, delta: Delta) -> list[str]:
        """Return commands that remove the devices which :meth:`apply` creates."""
        return [" ".join(words) for name in DEVICES if name in delta.added for words in removal(name, self._systemd)]

    def remove_surplus(self, delta: Delta, run: Run) -> None:
        """Remove the devices that are not desired.

        :raises KernelError: a device cannot be removed.
        """
        for device in DEVICES:
            if device in delta.removed:
                for command in removal(device, self._systemd):
                    run(command, None)


def existing_devices(links: t.Sequence[Row]) -> list[str]:
    """Return the names of the WireGuard devices of this collection that a host has."""
    return [device for device in DEVICES if _is_device(find_link(device, links))]


def removal(device: str, systemd: bool) -> list[t.Sequence[str]]:
    """Return the commands that remove a device. wireguard-go ends with its device; its unit would start it again."""
    stop = [("systemctl", "--quiet", "stop", UNIT.format(device=device))] if systemd else []
    return [*stop, ("ip", "link", "del", "dev", device)]


def _answering(spec: WireguardSpec, seconds: int, run: Run) -> list[WireguardPeer]:
    """Return the peers whose last handshake is not older than this."""
    _code, out, _errors = run(("timeout", "30", "wg", "show", spec.name, "latest-handshakes"), None)
    last = {words[0]: int(words[1]) for words in (line.split() for line in out.splitlines()) if len(words) == 2}
    now = time.time()
    return [peer for peer in spec.peers if now - last.get(peer.key, 0) < seconds]


def _listing(device: str) -> t.Sequence[str]:
    return ("/bin/sh", "-c", _LIST, "sh", device)


def _is_device(row: Row | None) -> bool:
    return row is not None and kind_of(row) in _KINDS


def _addresses(row: Row) -> list[str]:
    """Return the addresses with prefix, except the IPv6 link-local ones, which the kernel creates."""
    found = [f"{info['local']}/{info['prefixlen']}" for info in row.get("addr_info", [])]
    return sorted(each for each in found if not each.startswith("fe80:"))


def _link_lines(spec: WireguardSpec, delta: Delta) -> list[str]:
    """Return the lines that set the only address and the MTU of a device, and then set it up."""
    old, _new = delta.changed.get(spec.name, ("", ""))
    surplus = set(_words(old).get("address", "none").split(",")) - {spec.address, "none"}
    return [
        f"address replace {spec.address} dev {spec.name}",
        *(f"address del {each} dev {spec.name}" for each in sorted(surplus)),
        f"link set {spec.name} mtu {spec.mtu} up",
    ]


def _endpoint_in(spec: str) -> str:
    return _words(spec).get("endpoint", "")


def _configure(spec: WireguardSpec, delta: Delta, run: Run) -> None:
    """Set the attributes of a device that differ: wireguard-go binds its socket again with each ``listen-port``."""
    old, new = delta.changed.get(spec.name, ("", delta.added.get(spec.name, "")))
    words = []
    if _reads_key(spec, delta):
        words += ["private-key", files.ROOT + spec.key_file]
    if not old or _differs(old, new, "listen-port"):
        words += ["listen-port", str(spec.port)]
    if old and _differs(old, new, "fwmark"):
        words += ["fwmark", "0"]
    if words:
        _run_wg(("wg", "set", spec.name, *words), None, run)


def _reads_key(spec: WireguardSpec, delta: Delta) -> bool:
    """Return whether the device gets its private key from the file: it is missing, or has another key."""
    return spec.name in delta.added or (
        spec.name in delta.changed and _differs(*delta.changed[spec.name], "public-key")
    )


def _differs(old: str, new: str, attribute: str) -> bool:
    return _words(old)[attribute] != _words(new)[attribute]


def _remove_peers(device: str, delta: Delta, run: Run) -> None:
    prefix = f"{device} peer "
    keys = [key[len(prefix) :] for key in delta.removed if key.startswith(prefix)]
    for first in range(0, len(keys), _MOST_PEERS):
        words = [word for key in keys[first : first + _MOST_PEERS] for word in ("peer", key, "remove")]
        _run_wg(("wg", "set", device, *words), None, run)


def _put_peers(device: str, delta: Delta, run: Run, dialling: bool = False) -> None:
    """Add and change peers; with ``dialling``, all of them have a keepalive.

    ``wg addconf`` takes the allowed IPs of a peer away and gives them back, so a peer that keeps them is changed by
    ``wg set``: none of its packets is dropped.
    """
    prefix = f"{device} peer "
    sections, commands = [], []
    for key, spec in delta.added.items():
        if key.startswith(prefix):
            sections.append(_section(key[len(prefix) :], spec, dialling))
    for key, (old, new) in delta.changed.items():
        if key.startswith(prefix) and old.split()[:2] == new.split()[:2] and " preshared-key " not in old:
            words = {"persistent-keepalive": "0", **_words(new)}
            del words["allowed-ips"]
            commands.append(["peer", key[len(prefix) :], *(word for pair in words.items() for word in pair)])
        elif key.startswith(prefix):
            sections.append(_section(key[len(prefix) :], new))
    if sections:
        _run_wg(("wg", "addconf", device, "/dev/stdin"), "".join(sections), run)
    for first in range(0, len(commands), _MOST_PEERS):
        part = [word for words in commands[first : first + _MOST_PEERS] for word in words]
        _run_wg(("wg", "set", device, *part), None, run)


def _words(spec: str) -> dict[str, str]:
    words = spec.split()
    return dict(zip(words[::2], words[1::2]))


def _section(key: str, spec: str, dialling: bool = False) -> str:
    values = {_NAMES[name]: value for name, value in _words(spec).items()}
    keepalive = str(KEEPALIVE) if dialling else "off"
    section = {"PublicKey": key, "PersistentKeepalive": keepalive, "PresharedKey": _NO_KEY, **values}
    return "[Peer]\n" + "".join(f"{name} = {value}\n" for name, value in section.items())


_NAMES = {"allowed-ips": "AllowedIPs", "endpoint": "Endpoint", "persistent-keepalive": "PersistentKeepalive"}


def _run_wg(command: t.Sequence[str], text: str | None, run: Run) -> None:
    code, _out, errors = run(command, text)
    if code != 0:
        raise KernelError(f"{' '.join(command[:3])}: {error_text(code, errors)}")


def _problems_of_device(row: Row | None, run: Run) -> t.Iterator[str]:
    if row is not None:
        if not _is_device(row):
            kind = kind_of(row) or row.get("link_type", "of unknown kind")
            yield f"device {row['ifname']} exists and is not a WireGuard device but {kind}: remove it"
    elif not has_kernel_module(_MODULE, run):
        if run(_GO_VERSION, None)[0] != 0:
            yield (
                "the kernel of this host has no module wireguard, and wireguard-go is not installed, so it can have no "
                "link with transport wireguard (overlay_links): install a kernel with that module, or the package "
                "wireguard-go"
            )
        elif run(_HAS_TUN, None)[0] != 0:
            yield "wireguard-go requires /dev/net/tun, which this host does not have: load the kernel module tun"


def has_kernel_module(name: str, run: Run) -> bool:
    """Whether the kernel has a module, loaded, built in, or to be loaded. Nothing is loaded."""
    if run(_is_loaded(name), None)[0] == 0:
        return True
    _code, steps, _errors = run(("modprobe", "--show-depends", name), None)
    return any(line.startswith(("insmod ", "builtin ")) for line in steps.splitlines())


def _is_loaded(name: str) -> t.Sequence[str]:
    return ("test", "-e", f"/sys/module/{name}")


_OF_NEW_DEVICES = (_is_loaded(_MODULE), _GO_VERSION, _HAS_TUN)
"""What the check of a device that does not exist yet runs."""


def check_wg(run: Run) -> None:
    """Make sure that the host has ``wg``.

    :raises ValidationError: it has not.
    """
    if run(_VERSION, None)[0] != 0:
        raise ValidationError(
            "this host has no wg, without which links with transport wireguard (overlay_links) cannot be configured: "
            "install wireguard-tools"
        )


def public_key(key_file: str, run: Run) -> str:
    """Return the public key of a private key, which only ``wg`` reads; empty if the file is not a private key."""
    _code, out, _errors = run(_public_key_of(key_file), None)
    return out.strip()


def _public_key_of(key_file: str) -> t.Sequence[str]:
    return ("/bin/sh", "-c", 'wg pubkey <"$1"', "sh", files.ROOT + key_file)


_REMEDY = "put the former file back, or run tke.overlay.reset on this host, and then tke.overlay.site"
"""Without its key in the ledger, the host gets a new one. A change of all keys needs the present one of every host."""


def _problems_of_key(spec: WireguardSpec, run: Run) -> t.Iterator[str]:
    found = public_key(spec.key_file, run)
    if not found:
        yield f"{spec.key_file} is missing, or is not a private key of WireGuard: {_REMEDY}"
    elif found != spec.public_key:
        yield (
            f"the public key of {spec.key_file} is {found}, but the plan has {spec.public_key} for this host: {_REMEDY}"
        )


def _port_users(port: int) -> t.Sequence[str]:
    return ("ss", "-Haunp", f"sport = :{port}")


def _listens_elsewhere(spec: WireguardSpec, run: Run) -> bool:
    """Return whether a device that exists must change its port."""
    _code, out, _errors = run(_listing(spec.name), None)
    fields = out.partition("\n")[0].split("\t")
    return len(fields) == 4 and fields[2] != str(spec.port)


def _problems_of_port(port: int, run: Run) -> t.Iterator[str]:
    _code, out, _errors = run(_port_users(port), None)
    for line in out.splitlines()[:1]:
        _mark, _found, users = line.partition("users:")
        holder = users.strip("() \n") or "another tunnel of the kernel"
        yield f"UDP port {port} (overlay_wireguard_port) is taken by {holder}: stop it, or choose another port"
