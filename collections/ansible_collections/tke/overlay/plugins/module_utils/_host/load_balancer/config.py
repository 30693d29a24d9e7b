# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: what one host of the pair is, as the texts of its files. Pure: a specification in, texts out.

The pair runs instances of its own, below ``/etc/tke-overlay/clb`` and with units
of its own. So nothing has to be guessed about an ``haproxy.cfg`` or a
``keepalived.conf`` that somebody else may have written: they are not touched, and
go on beside.

HAProxy binds the VIPs with ``transparent``, on both hosts and at any time. So the
proxy of the other host is always ready, and the host's
``net.ipv4.ip_nonlocal_bind``, which would concern every program, stays as it is.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import shlex
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import UNIT_DIRECTORY, WRITTEN_BY

DIRECTORY = "/etc/tke-overlay/clb"
RUN_DIRECTORY = "/run/tke-overlay-clb"
HAPROXY_FILE = f"{DIRECTORY}/haproxy.cfg"
KEEPALIVED_FILE = f"{DIRECTORY}/keepalived.conf"
RULES_FILE = f"{DIRECTORY}/rules.nft"
AGENT_FILE = f"{DIRECTORY}/watch"
CA_FILE = f"{DIRECTORY}/api-ca.crt"
HEALTH_SOCKET = f"{RUN_DIRECTORY}/health.sock"
ADMIN_SOCKET = f"{RUN_DIRECTORY}/admin.sock"
LOADED = f"{RUN_DIRECTORY}/loaded"
"""The configuration that keepalived has read, as it was then."""

PROXY_UNIT = "tke-overlay-haproxy.service"
AGENT_UNIT = "tke-overlay-clb-watch.service"
VIPS_UNIT = "tke-overlay-keepalived.service"
UNITS = (PROXY_UNIT, AGENT_UNIT, VIPS_UNIT)
"""In the order in which they start."""

TABLE = "inet tke_overlay_clb"

API, SERVICES = "apiserver", "services"
VIPS = (API, SERVICES)

SERVICES_PORT = 443

PREFERRED, STANDBY = 200, 150
"""Priorities of a VIP on the host where it belongs, and on the other."""

ADVERT_SECONDS = 0.15
"""A silent master is replaced after three of these and a little: 0.5 s, half of what a fail-over may take."""

PREEMPT_DELAY = 2
"""How long a host is fit again before it takes its VIP back; longer than two hosts differ about a dead server."""

CONNECTION_HOURS = 1
"""How long a connection may be silent: watches of the API server are, for many minutes."""

_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class PairHost(t.NamedTuple):
    """One of the two: its name, and the address by which the other reaches it."""

    name: str
    address: str


class Proxied(t.NamedTuple):
    """What stands behind a VIP: a service told apart by its name, or (with a port) a listener of its own."""

    name: str
    backends: list[str]
    vip: str = SERVICES
    port: int = 0


class PairSpec(t.NamedTuple):
    """What one host of the pair must be; nothing is checked yet.

    ``own`` and ``peer`` are this host and the other, ``home`` the VIP that belongs
    here. ``apiservers`` are names with ``address:port``. Without the cluster's
    ``ca`` (PEM) the health check of an API server does not look at its certificate.
    """

    own: PairHost
    peer: PairHost
    home: str
    vips: t.Mapping[str, str]
    subnet: str
    apiservers: t.Mapping[str, str]
    api_port: int
    services: t.Sequence[Proxied]
    listeners: t.Sequence[Proxied]
    ca: str
    metrics_port: int
    vrid: int


class VrrpPlace(t.NamedTuple):
    """The links of this host: that of its own address, over which the two speak, and that of the VIPs; its gateways."""

    own: str
    vips: str
    gateways: t.Sequence[str] = ()


def problems_of(spec: PairSpec) -> t.Iterator[str]:
    """All that is wrong with a specification."""
    for host in (spec.own, spec.peer):
        if not _is_address(host.address):
            yield f"host {host.name} has the address {host.address!r}: set overlay_underlay_ip to an IPv4 address"
    if not spec.apiservers:
        yield "group apiserver has no hosts, so nobody would stand behind the VIP of the API servers"
    for name, server in spec.apiservers.items():
        yield from _problems_of_server(f"API server {name}", server)
    if not 1 <= spec.vrid <= 254:
        yield f"overlay_clb_vrid is {spec.vrid}: it and the next number are used, so it lies between 1 and 254"
    yield from _problems_of_ports(spec)
    yield from _problems_of_services(spec)


def _problems_of_ports(spec: PairSpec) -> t.Iterator[str]:
    taken = {(API, spec.api_port): "overlay_api_port"}
    if spec.services:
        taken[(SERVICES, SERVICES_PORT)] = "overlay_clb_services"
    for variable, port in (("overlay_api_port", spec.api_port), ("overlay_clb_metrics_port", spec.metrics_port)):
        if not 1 <= port <= 65535:
            yield f"{variable} is {port}: a TCP port lies between 1 and 65535"
    for listener in spec.listeners:
        who = f"overlay_clb_listeners: {listener.name!r}"
        if not _LABEL.fullmatch(listener.name):
            yield f"{who}: a name has letters, digits, '_' and '-'"
        if listener.vip not in VIPS:
            yield f"{who}: there is no VIP {listener.vip!r}, only {' and '.join(VIPS)}"
        if not 1 <= listener.port <= 65535:
            yield f"{who}: port {listener.port} does not lie between 1 and 65535"
        holder = taken.setdefault((listener.vip, listener.port), f"listener {listener.name!r}")
        if holder != f"listener {listener.name!r}":
            yield f"{who}: port {listener.port} of the VIP {listener.vip} is that of {holder}"
        yield from _problems_of_backends(who, listener.backends)


def _problems_of_services(spec: PairSpec) -> t.Iterator[str]:
    seen: set[str] = set()
    for service in spec.services:
        who = f"overlay_clb_services: {service.name!r}"
        if not _NAME.fullmatch(service.name):
            yield f"{who} is not a host name, by which clients could ask for it"
        if service.name.lower() in seen:
            yield f"{who} is given twice"
        seen.add(service.name.lower())
        yield from _problems_of_backends(who, service.backends)
    names = [listener.name for listener in spec.listeners]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"overlay_clb_listeners: {name!r} is given twice"


def _problems_of_backends(who: str, backends: t.Sequence[str]) -> t.Iterator[str]:
    if not backends:
        yield f"{who} has no backends"
    for backend in backends:
        yield from _problems_of_server(who, backend)


def _problems_of_server(who: str, server: str) -> t.Iterator[str]:
    host, _colon, port = server.rpartition(":")
    if not (_is_address(host) or _NAME.fullmatch(host)) or not port.isdigit() or not 1 <= int(port) <= 65535:
        yield f"{who}: {server!r} is not host:port, with a name or an IPv4 address"


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


# --- HAProxy ---------------------------------------------------------------------------------


def haproxy_cfg(spec: PairSpec, place: VrrpPlace, directory: str = DIRECTORY) -> str:
    """The proxy's configuration.

    :param directory: where the CA's certificate is; another one to have the text checked beforehand.
    """
    body = _PROXY_HEAD + _resolvers(spec) + "".join(_frontends(spec)) + "".join(_backends(spec, directory))
    addresses = [server.rpartition(":")[0] for server in spec.apiservers.values() if not _is_named(server)]
    reach = ",".join(dict.fromkeys([*addresses, *place.gateways]))
    return WRITTEN_BY + body + _health(spec, config_id(body + reach), reach)


def config_id(text: str) -> str:
    """By this the running proxy says which configuration it has."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_PROXY_HEAD = f"""\
global
    log stderr format short daemon notice
    user haproxy
    group haproxy
    chroot /var/lib/haproxy
    stats socket {ADMIN_SOCKET} mode 600 level admin expose-fd listeners
    # After a reload, connections that are open stay with the old process for at most as long.
    hard-stop-after {CONNECTION_HOURS}h

defaults
    mode tcp
    log global
    balance leastconn
    option dontlognull
    # A server that refuses is asked no second time: the connection goes to another one.
    option redispatch 1
    retries 3
    timeout connect 2s
    timeout check 700ms
    timeout client {CONNECTION_HOURS}h
    timeout server {CONNECTION_HOURS}h
    timeout tunnel {CONNECTION_HOURS}h
    timeout client-fin 30s
    timeout server-fin 30s
    # Who is gone without a word is noticed, and a connection that is silent is kept open on the way.
    option clitcpka
    option srvtcpka
    clitcpka-idle 60s
    clitcpka-intvl 10s
    clitcpka-cnt 3
    srvtcpka-idle 60s
    srvtcpka-intvl 10s
    srvtcpka-cnt 3
    # Out within 3 s, also if it hangs: 0.7 s, a time-out (0.7 s, too), 0.3 s, a time-out.
    default-server inter 700ms fastinter 300ms downinter 500ms fall 2 rise 2 on-marked-down shutdown-sessions
"""


def _resolvers(spec: PairSpec) -> str:
    """Names are asked for again and again, but only if there are any: a host may have no name server."""
    return "\nresolvers host\n    parse-resolv-conf\n" if any(_is_named(server) for server in _servers(spec)) else ""


def _servers(spec: PairSpec) -> t.Iterator[str]:
    yield from spec.apiservers.values()
    for proxied in (*spec.services, *spec.listeners):
        yield from proxied.backends


def _is_named(server: str) -> bool:
    return not _is_address(server.rpartition(":")[0])


def _frontends(spec: PairSpec) -> t.Iterator[str]:
    yield _frontend("apiserver", f"{spec.vips[API]}:{spec.api_port}", "    default_backend apiserver\n")
    if spec.services:
        names = " ".join(service.name for service in spec.services)
        yield _frontend(
            "services",
            f"{spec.vips[SERVICES]}:{SERVICES_PORT}",
            "    tcp-request inspect-delay 5s\n"
            f"    tcp-request content accept if {{ req.ssl_sni -i {names} }}\n"
            "    tcp-request content reject\n",
            *(
                f"    use_backend service_{service.name} if {{ req.ssl_sni -i {service.name} }}\n"
                for service in spec.services
            ),
        )
    for listener in spec.listeners:
        where = f"{spec.vips[listener.vip]}:{listener.port}"
        yield _frontend(f"listener_{listener.name}", where, f"    default_backend listener_{listener.name}\n")
    yield (
        "\nfrontend metrics\n"
        "    mode http\n"
        f"    bind {spec.own.address}:{spec.metrics_port}\n"
        "    timeout client 10s\n"
        "    http-request use-service prometheus-exporter if { path /metrics }\n"
        "    http-request return status 404\n"
    )


def _frontend(name: str, where: str, *lines: str) -> str:
    return f"\nfrontend {name}\n    bind {where} transparent\n{''.join(lines)}"


def _backends(spec: PairSpec, directory: str) -> t.Iterator[str]:
    certificate = f"verify required ca-file {directory}/api-ca.crt" if spec.ca else "verify none"
    yield (
        "\nbackend apiserver\n"
        "    option httpchk\n"
        "    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host apiserver\n"
        "    http-check expect status 200\n"
        + "".join(_server(name, address, f"check check-ssl {certificate}") for name, address in spec.apiservers.items())
    )
    for kind, group in (("service", spec.services), ("listener", spec.listeners)):
        for proxied in group:
            yield f"\nbackend {kind}_{proxied.name}\n" + "".join(
                _server(f"s{number}", server, "check") for number, server in enumerate(proxied.backends, 1)
            )


def _server(name: str, address: str, words: str) -> str:
    named = " resolvers host init-addr last,libc,none" if _is_named(address) else ""
    return f"    server {name} {address} {words}{named}\n"


def _health(spec: PairSpec, identity: str, reach: str) -> str:
    """What the watch asks: the configuration in force, whom to ping, and how many servers each backend of a VIP has."""
    behind = {
        API: ["apiserver", *(f"listener_{each.name}" for each in spec.listeners if each.vip == API)],
        SERVICES: [
            *(f"service_{each.name}" for each in spec.services),
            *(f"listener_{each.name}" for each in spec.listeners if each.vip == SERVICES),
        ],
    }
    words = [f"{vip}={'+'.join(f'%[nbsrv({name})]' for name in names)}" for vip, names in behind.items()]
    answer = " ".join([f"config={identity}", f"reach={reach}", *words])
    return (
        "\nfrontend health\n"
        "    mode http\n"
        f"    bind unix@{HEALTH_SOCKET} mode 600\n"
        "    timeout client 2s\n"
        f'    http-request return status 200 content-type text/plain lf-string "{answer}"\n'
    )


# --- keepalived and its rules ----------------------------------------------------------------


def keepalived_conf(spec: PairSpec, place: VrrpPlace) -> str:
    """The configuration of VRRP: for each VIP an instance, at home on one of the two hosts."""
    head = (
        f"{WRITTEN_BY}"
        "global_defs {\n"
        f"    router_id {spec.own.name}\n"
        "    vrrp_version 3\n"
        "    vrrp_check_unicast_src\n"
        "    vrrp_priority -15\n"
        "    vrrp_no_swap\n"
        "    vrrp_garp_master_delay 1\n"
        "    vrrp_garp_master_repeat 3\n"
        "    vrrp_garp_master_refresh 10\n"
        "    vrrp_garp_lower_prio_delay 1\n"
        "    vrrp_garp_lower_prio_repeat 3\n"
        "}\n"
    )
    return head + "".join(_instance(spec, place, number, vip) for number, vip in enumerate(VIPS))


def _instance(spec: PairSpec, place: VrrpPlace, number: int, vip: str) -> str:
    name = f"tke_{vip}"
    # keepalived looks after the interface of the instance by itself.
    tracked = "" if place.vips == place.own else f"    track_interface {{\n        {place.vips}\n    }}\n"
    return (
        f"\ntrack_file {name} {{\n"
        f"    file {RUN_DIRECTORY}/{vip}\n"
        "    weight 1\n"
        "}\n"
        f"vrrp_instance {name} {{\n"
        "    state BACKUP\n"
        f"    interface {place.own}\n"
        f"    virtual_router_id {spec.vrid + number}\n"
        f"    priority {PREFERRED if vip == spec.home else STANDBY}\n"
        f"    advert_int {ADVERT_SECONDS}\n"
        f"    preempt_delay {PREEMPT_DELAY}\n"
        f"    unicast_src_ip {spec.own.address}\n"
        "    unicast_peer {\n"
        f"        {spec.peer.address}\n"
        "    }\n"
        "    virtual_ipaddress {\n"
        f"        {spec.vips[vip]}/32 dev {place.vips}\n"
        "    }\n"
        f"{tracked}"
        "    track_file {\n"
        f"        {name}\n"
        "    }\n"
        "}\n"
    )


def rules(spec: PairSpec) -> str:
    """Only the other host of the pair may speak VRRP of our routers: there is no password in version 3."""
    vrids = ", ".join(str(spec.vrid + number) for number in range(len(VIPS)))
    return (
        f"{WRITTEN_BY}"
        f"table {TABLE}\n"
        f"delete table {TABLE}\n"
        f"table {TABLE} {{\n"
        "    counter not_the_peer { }\n"
        "    chain input {\n"
        "        type filter hook input priority filter - 10; policy accept;\n"
        f"        ip protocol 112 @th,8,8 {{ {vrids} }} ip saddr != {spec.peer.address} "
        "counter name not_the_peer drop\n"
        "    }\n"
        "}\n"
    )


# --- units -----------------------------------------------------------------------------------


def units(spec: PairSpec, place: VrrpPlace, python: str) -> Texts:
    """The three services. All of them come back at once whatever ends them.

    :param python: the interpreter that runs the watch.
    """
    return {
        f"{UNIT_DIRECTORY}/{name}": WRITTEN_BY + text
        for name, text in (
            (PROXY_UNIT, _PROXY_SERVICE),
            (AGENT_UNIT, _watch_service(python)),
            (VIPS_UNIT, _vips_service(spec, place)),
        )
    }


_ALWAYS = f"""\
Restart=always
RestartSec=100ms
RuntimeDirectory={RUN_DIRECTORY.rpartition("/")[2]}
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
"""

_INSTALL = "\n[Install]\nWantedBy=multi-user.target\n"

_PROXY_SERVICE = f"""\
[Unit]
Description=Proxy of the private load balancer (tke.overlay)
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/usr/sbin/haproxy -Ws -f {HAPROXY_FILE} -p {RUN_DIRECTORY}/haproxy.pid
ExecReload=/usr/sbin/haproxy -c -q -f {HAPROXY_FILE}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
SuccessExitStatus=143
LimitNOFILE=65536
Nice=-10
OOMScoreAdjust=-500
{_ALWAYS}{_INSTALL}"""


def _watch_service(python: str) -> str:
    return f"""\
[Unit]
Description=Watch over the proxy of the private load balancer (tke.overlay)
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={shlex.quote(python)} {AGENT_FILE} {HEALTH_SOCKET} {RUN_DIRECTORY} {" ".join(VIPS)}
WatchdogSec=2s
Nice=-5
OOMScoreAdjust=-500
{_ALWAYS}{_INSTALL}"""


def _vips_service(spec: PairSpec, place: VrrpPlace) -> str:
    """Whatever ends keepalived, the VIPs leave with it: on a host without VRRP they would be there twice."""
    leave = "".join(
        f"ExecStopPost=-/bin/sh -c 'ip address del {spec.vips[vip]}/32 dev {place.vips} 2>/dev/null'\n" for vip in VIPS
    )
    return f"""\
[Unit]
Description=Addresses of the private load balancer (tke.overlay)
After=network-online.target {PROXY_UNIT} {AGENT_UNIT}
Wants=network-online.target
Requires={AGENT_UNIT}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
ExecStartPre=/usr/sbin/nft -f {RULES_FILE}
ExecStartPre=/bin/sh -c 'cat {RULES_FILE} {KEEPALIVED_FILE} >{LOADED}'
ExecStart=/usr/sbin/keepalived --dont-fork --vrrp --dont-respawn --use-file={KEEPALIVED_FILE} \
--pid={RUN_DIRECTORY}/keepalived.pid --vrrp_pid={RUN_DIRECTORY}/vrrp.pid
ExecReload=/usr/sbin/nft -f {RULES_FILE}
ExecReload=/bin/sh -c 'cat {RULES_FILE} {KEEPALIVED_FILE} >{LOADED}'
ExecReload=/bin/kill -HUP $MAINPID
{leave}KillMode=mixed
OOMScoreAdjust=-500
{_ALWAYS}{_INSTALL}"""
