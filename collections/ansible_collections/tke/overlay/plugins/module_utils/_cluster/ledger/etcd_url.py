# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse ``etcd://host:2379,host:2379/prefix`` and the environment variables of ``etcdctl``."""

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
    """TLS and login of the endpoints. ``cacert``, ``cert`` and ``key`` are paths."""

    tls: bool = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = None


class EtcdLocation(t.NamedTuple):
    """The etcd cluster and the key prefix of a ledger."""

    where: str
    endpoints: list[EtcdEndpoint]
    prefix: str
    access: EtcdAccess


def parse_url(url: str, environment: t.Mapping[str, str]) -> EtcdLocation:
    """Return the location in a URL; the environment provides what the URL does not set.

    The variables are those of ``etcdctl``:
    ``ETCDCTL_CACERT``, ``ETCDCTL_CERT``, ``ETCDCTL_KEY``, ``ETCDCTL_USER`` (also
    ``user:password``) and ``ETCDCTL_PASSWORD``. The query parameters of the URL
    (``cacert``, ``cert``, ``key``, ``user``, ``password_file``) override them.

    :raises ValidationError: one problem for each mistake in the URL.
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
            f"overlay_ledger is {_public(url)!r}: the prefix of the keys is missing, as in etcd://host:2379/demo"
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
        raise ValueError("a user is not allowed there, because the URL is logged: use ?user=name, or set ETCDCTL_USER")
    try:
        parts = urllib.parse.urlsplit(f"//{given.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"the endpoint {given!r} is invalid ({error})") from None
    if not host or port == 0 or parts.path:
        raise ValueError(f"the endpoint {given!r} is invalid: it must be host:port, with an IPv6 address in brackets")
    return EtcdEndpoint(host, port or DEFAULT_PORT)


def _access(tls: bool, query: str, environment: t.Mapping[str, str]) -> EtcdAccess:
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(given) - {*_TLS, *_LOGIN})
    if unknown:
        raise ValueError(f"after '?' only {', '.join([*_TLS, *_LOGIN])} are allowed, not {', '.join(unknown)}")
    if not tls and set(given) & set(_TLS):
        raise ValueError("cacert, cert and key are for TLS: use etcds://")
    chosen = {name: given.get(name) or environment.get(f"ETCDCTL_{name.upper()}") or None for name in _TLS}
    if bool(chosen["cert"]) != bool(chosen["key"]):
        raise ValueError("cert and key (ETCDCTL_CERT and ETCDCTL_KEY) must be set together")
    user, _mark, password = (environment.get("ETCDCTL_USER") or "").partition(":")
    password = password or environment.get("ETCDCTL_PASSWORD") or ""
    if "password_file" in given:
        with open(given["password_file"], encoding="utf-8") as stream:
            password = stream.read().strip()
    user = given.get("user") or user
    if user and not password:
        raise ValueError(f"user {user} has no password: set ETCDCTL_PASSWORD, or use ?password_file=path")
    return EtcdAccess(tls=tls, user=user or None, password=password or None, **(chosen if tls else {}))


def _public(url: str) -> str:
    """Return the URL without the login of its hosts, because errors are logged."""
    scheme, mark, rest = url.partition("://")
    hosts, slash, more = rest.partition("/")
    hosts = ",".join("..." + host[host.rindex("@") :] if "@" in host else host for host in hosts.split(","))
    return f"{scheme}{mark}{hosts}{slash}{more}"
