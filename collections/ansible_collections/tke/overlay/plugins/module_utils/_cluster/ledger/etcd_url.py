# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: what ``etcd://host:2379,host:2379/prefix`` and the environment say about a ledger in etcd."""

from __future__ import annotations

import typing as t
import urllib.parse

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

DEFAULT_PORT = 2379

_TLS = ("cacert", "cert", "key")
_LOGIN = ("user", "password_file")


class EtcdEndpoint(t.NamedTuple):
    """One member of the etcd cluster; an IPv6 address without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return with_port(self.host, self.port)


class EtcdAccess(t.NamedTuple):
    """How the end points want to be spoken to. ``cacert``, ``cert`` and ``key`` are paths."""

    tls: bool = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = None


class EtcdLocation(t.NamedTuple):
    """Where in which etcd the ledger is."""

    where: str
    endpoints: list[EtcdEndpoint]
    prefix: str
    access: EtcdAccess


def parse_url(url: str, environment: t.Mapping[str, str]) -> EtcdLocation:
    """The place that a URL means, together with the variables that ``etcdctl`` reads, too.

    ``ETCDCTL_CACERT``, ``ETCDCTL_CERT``, ``ETCDCTL_KEY``, ``ETCDCTL_USER`` (also
    ``user:password``) and ``ETCDCTL_PASSWORD``; what the URL says after ``?``
    (``cacert``, ``cert``, ``key``, ``user``, ``password_file``) goes before them.

    :raises ValidationError: every mistake in it.
    """
    scheme, _mark, rest = url.partition("://")
    rest, _mark, query = rest.partition("?")
    hosts, _mark, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    problems = []
    endpoints: list[EtcdEndpoint] = []
    for host in hosts.split(","):
        try:
            endpoints.append(_endpoint(host))
        except ValueError as error:
            problems.append(f"overlay_ledger is {_public(url)!r}: {error}")
    if not prefix:
        problems.append(
            f"overlay_ledger is {_public(url)!r}: it lacks the prefix of the keys, as in etcd://host:2379/demo"
        )
    tls = scheme == "etcds"
    try:
        access = _access(tls, query, environment)
    except (ValueError, OSError) as error:
        problems.append(f"overlay_ledger is {_public(url)!r}: {error}")
        access = EtcdAccess()
    if problems:
        raise ValidationError(*problems)
    return EtcdLocation(f"{scheme}://{','.join(map(str, endpoints))}/{prefix}", endpoints, prefix, access)


def _endpoint(given: str) -> EtcdEndpoint:
    if "@" in given:
        raise ValueError("a user does not belong there, as the place is logged: say ?user=name, or set ETCDCTL_USER")
    try:
        parts = urllib.parse.urlsplit(f"//{given.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"the end point {given!r} is none ({error})") from None
    if not host or port == 0 or parts.path:
        raise ValueError(f"the end point {given!r} is none: it must be host:port, with an IPv6 address in brackets")
    return EtcdEndpoint(host, port or DEFAULT_PORT)


def _access(tls: bool, query: str, environment: t.Mapping[str, str]) -> EtcdAccess:
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(given) - {*_TLS, *_LOGIN})
    if unknown:
        raise ValueError(f"after '?' there can be {', '.join([*_TLS, *_LOGIN])}, and not {', '.join(unknown)}")
    if not tls and set(given) & set(_TLS):
        raise ValueError("cacert, cert and key are for TLS: write etcds:// for it")
    chosen = {name: given.get(name) or environment.get(f"ETCDCTL_{name.upper()}") or None for name in _TLS}
    if bool(chosen["cert"]) != bool(chosen["key"]):
        raise ValueError("cert and key (ETCDCTL_CERT and ETCDCTL_KEY) go together")
    user, _mark, password = (environment.get("ETCDCTL_USER") or "").partition(":")
    password = password or environment.get("ETCDCTL_PASSWORD") or ""
    if "password_file" in given:
        with open(given["password_file"], encoding="utf-8") as stream:
            password = stream.read().strip()
    user = given.get("user") or user
    if user and not password:
        raise ValueError(f"user {user} has no password: set ETCDCTL_PASSWORD, or say ?password_file=path")
    return EtcdAccess(tls=tls, user=user or None, password=password or None, **(chosen if tls else {}))


def _public(url: str) -> str:
    """The URL for an error: whoever put a password into it should not find it in a log."""
    scheme, mark, rest = url.partition("://")
    hosts, slash, more = rest.partition("/")
    hosts = ",".join("..." + host[host.rindex("@") :] if "@" in host else host for host in hosts.split(","))
    return f"{scheme}{mark}{hosts}{slash}{more}"
