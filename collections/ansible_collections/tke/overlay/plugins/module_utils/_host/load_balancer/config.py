# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render haproxy.cfg and the other files of one host of the load balancer pair. Pure: :mod:`converge` writes them.

The text of each file is a template beside this module (``haproxy.cfg.template``,
``keepalived.conf.template``, ``*.service.template``, ``rules.nft.template``).

The pair runs HAProxy and keepalived instances of its own, configured below
``/etc/tke-overlay/clb`` and started by units of its own. The ``haproxy.cfg`` and
``keepalived.conf`` of the distribution stay untouched, and other instances continue
to run.

HAProxy binds the VIPs with ``transparent``, on both hosts and at all times. The
proxy of the standby host is therefore always ready, and the host's
``net.ipv4.ip_nonlocal_bind``, which would affect every program, stays unchanged.
"""

from __future__ import annotations

import hashlib
import shlex
import string
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address
from ansible_collections.tke.overlay.plugins.module_utils._balancer import API, SERVICES, SERVICES_PORT, VIPS
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import programs
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.clb_metrics import (
    ClbMetricsConfig,
    config_text,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import PairSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    PAIR_CHECKSUMS,
    UNIT_DIRECTORY,
    WRITTEN_BY,
)

DIRECTORY = "/etc/tke-overlay/clb"
RUN_DIRECTORY = "/run/tke-overlay-clb"
HAPROXY_FILE = f"{DIRECTORY}/haproxy.cfg"
KEEPALIVED_FILE = f"{DIRECTORY}/keepalived.conf"
RULES_FILE = f"{DIRECTORY}/rules.nft"
HEALTH_AGENT_FILE = f"{DIRECTORY}/health_agent.py"
RESTORE_FILE = f"{DIRECTORY}/restore"
CHECKSUMS_FILE = PAIR_CHECKSUMS
METRICS_FILE = f"{DIRECTORY}/metrics"
METRICS_PROGRAM = f"{DIRECTORY}/metrics.py"
TRANSITION_FILE = f"{DIRECTORY}/count_transition"
METRICS_FILES = (METRICS_FILE, METRICS_PROGRAM, TRANSITION_FILE)
"""What the metrics need: the directory and the VIPs, the program that writes them, and the script that counts changes
of the VRRP state."""

CA_FILE = f"{DIRECTORY}/api-ca.crt"
HEALTH_SOCKET = f"{RUN_DIRECTORY}/health.sock"
ADMIN_SOCKET = f"{RUN_DIRECTORY}/admin.sock"
LOADED_FILE = f"{RUN_DIRECTORY}/loaded"
"""A copy of the nftables rules and the keepalived configuration, taken when keepalived loaded them."""

UNFINISHED_FILE = f"{RUN_DIRECTORY}/unfinished"
"""The names of files that were written, while their units have not been restarted or reloaded yet."""

LOADED_RULES_FILE = f"{RUN_DIRECTORY}/rules.nft"
LISTING_FILE = f"{RUN_DIRECTORY}/rules.listing"
"""A copy of the nftables rules, and nft's listing of them right after they were loaded."""

HAPROXY_UNIT = "tke-overlay-haproxy.service"
HEALTH_AGENT_UNIT = "tke-overlay-clb-health-agent.service"
KEEPALIVED_UNIT = "tke-overlay-keepalived.service"
RESTORE_UNIT = "tke-overlay-clb.service"
TIMER_UNIT = "tke-overlay-clb.timer"
UNITS = (HAPROXY_UNIT, HEALTH_AGENT_UNIT, KEEPALIVED_UNIT, TIMER_UNIT)
"""The units that are enabled and active, in the order in which they start."""

UNIT_FILES = tuple(f"{UNIT_DIRECTORY}/{unit}" for unit in (*UNITS, RESTORE_UNIT))

TABLE = "inet tke_overlay_clb"

PREFERRED, STANDBY = 200, 150
"""VRRP priorities of a VIP on its preferred host and on its standby host."""

ADVERT_SECONDS = 0.15
"""The standby host replaces a silent master after a little more than three of these: 0.5 s, half of the 1 s that a
failover may take."""

PREEMPT_DELAY = 2
"""Seconds that a host must be healthy before it takes back the VIP that prefers it. This is longer than the two hosts
can differ about a dead server."""

CONNECTION_HOURS = 1
"""How long a connection may be idle. Watches of the API server are idle for many minutes."""


OLDEST_HAPROXY = (2, 2)
"""The first version with ``http-request return``, by which the proxy reports its health. Versions are major, minor."""

KEEPALIVE_HAPROXY = (2, 3)
"""The first version that sets the times of TCP keepalives; an older one uses those of the host (sysctls)."""

UNCHECKED = "unchecked_"
"""How the names of backends begin whose servers are not checked. No other name in the configuration begins so."""

NEWEST_HAPROXY = (99, 0)
"""A version that knows every keyword, for a host whose version is unknown."""


class HostLinks(t.NamedTuple):
    """The properties of this host that determine its files.

    These are the links that carry its own address (for VRRP) and the VIPs, its default gateways, the version of its
    HAProxy, whether its keepalived notifies systemd when it is ready (that of Debian 11 does not), and all its
    addresses.
    """

    own: str
    vips: str
    gateways: t.Sequence[str] = ()
    haproxy: tuple[int, int] = NEWEST_HAPROXY
    keepalived_notifies: bool = True
    addresses: t.Collection[str] = ()


def _render(template: str, **values: object) -> str:
    return WRITTEN_BY + string.Template(template).substitute(values)


# --- HAProxy ---------------------------------------------------------------------------------


def haproxy_cfg(spec: PairSpec, links: HostLinks, directory: str = DIRECTORY) -> str:
    """Render the HAProxy configuration.

    :param directory: the directory of the CA certificate; another one to validate the text before it is installed.
    """
    values = {
        "admin_socket": ADMIN_SOCKET,
        "connection_hours": CONNECTION_HOURS,
        "keepalive_times": _keepalive_times(links.haproxy),
        "resolvers": _resolvers(spec),
        "api_vip": spec.vips[API],
        "api_port": spec.api_port,
        "services_frontend": _services_frontend(spec),
        "listener_frontends": "".join(
            _frontend(
                f"vip_listener_{each.name}",
                f"{spec.vips[each.vip]}:{each.port}",
                [_unchecked_rule(f"listener_{each.name}"), f"default_backend listener_{each.name}"],
            )
            for each in spec.listeners
        ),
        "own_address": spec.own.address,
        "metrics_port": spec.metrics_port,
        "api_servers": _api_servers(spec, directory),
        "unchecked_api_servers": "\n".join(_server(*each) for each in spec.apiservers.items()),
        "backends": _backends(spec),
        "health_socket": HEALTH_SOCKET,
        "reach": _ping_targets(spec, links),
        "server_counts": _server_counts(spec),
    }
    unnamed = _render(programs.HAPROXY_CFG, config_id="", **values)
    identity = hashlib.sha256(unnamed.encode()).hexdigest()[:12]
    return _render(programs.HAPROXY_CFG, config_id=identity, **values)


def config_id_in(text: str) -> str:
    """Return the identity of an HAProxy configuration. The running proxy reports it on its health socket."""
    return text.rpartition('lf-string "config=')[2].partition(" ")[0]


def _keepalive_times(version: tuple[int, int]) -> str:
    if version < KEEPALIVE_HAPROXY:
        return ""
    times = ("idle 60s", "intvl 10s", "cnt 3")
    return "".join(f"    {side}tcpka-{each}\n" for side in ("cli", "srv") for each in times)


def _resolvers(spec: PairSpec) -> str:
    """Return the section that resolves names at run time, only if a server has a name: a host may lack resolvers."""
    servers = [
        *spec.apiservers.values(),
        *(server for each in (*spec.services, *spec.listeners) for server in each.backends),
    ]
    return "\nresolvers host\n    parse-resolv-conf\n" if any(map(_has_name, servers)) else ""


def _has_name(server: str) -> bool:
    return not is_ipv4_address(server.rpartition(":")[0])


def _services_frontend(spec: PairSpec) -> str:
    if not spec.services:
        return ""
    names = " ".join(service.name for service in spec.services)
    return _frontend(
        "vip_services",
        f"{spec.vips[SERVICES]}:{SERVICES_PORT}",
        [
            "tcp-request inspect-delay 5s",
            f"tcp-request content accept if {{ req.ssl_sni -i {names} }}",
            "tcp-request content reject",
            *(line for each in spec.services for line in _service_rules(each.name)),
        ],
    )


def _service_rules(name: str) -> tuple[str, str]:
    asked = f"{{ req.ssl_sni -i {name} }}"
    return f"{_unchecked_rule(f'service_{name}')} {asked}", f"use_backend service_{name} if {asked}"


def _unchecked_rule(backend: str) -> str:
    """Return the rule for the time in which all servers of a backend are down according to their checks.

    Tencent Cloud's CLB forwards to all servers then, too (its document "Health Check Overview").
    """
    return f"use_backend {UNCHECKED}{backend} if {{ nbsrv({backend}) eq 0 }}"


def _frontend(name: str, address: str, lines: t.Iterable[str]) -> str:
    """Render a frontend. HAProxy 3.3 and later reject one with the name of a backend: hence the prefix ``vip_``."""
    return f"\nfrontend {name}\n    bind {address} transparent\n" + "".join(f"    {line}\n" for line in lines)


def _api_servers(spec: PairSpec, directory: str) -> str:
    verify = f"verify required ca-file {directory}/api-ca.crt" if spec.ca else "verify none"
    return "\n".join(_server(name, address, f"check check-ssl {verify}") for name, address in spec.apiservers.items())


def _backends(spec: PairSpec) -> str:
    named = [(f"service_{each.name}", each.backends) for each in spec.services]
    named += [(f"listener_{each.name}", each.backends) for each in spec.listeners]
    return "".join(
        f"\nbackend {prefix}{name}\n"
        + "".join(f"{_server(f's{number}', server, options)}\n" for number, server in enumerate(servers, 1))
        for name, servers in named
        for prefix, options in (("", "check"), (UNCHECKED, ""))
    )


def _server(name: str, address: str, options: str = "") -> str:
    resolve = "resolvers host init-addr last,libc,none" if _has_name(address) else ""
    return "    " + " ".join(filter(None, ("server", name, address, options, resolve)))


def _ping_targets(spec: PairSpec, links: HostLinks) -> str:
    """Return the addresses that the health agent pings: API servers and gateways.

    Without those of this host, which answers itself also when it is cut off.
    """
    servers = [server.rpartition(":")[0] for server in spec.apiservers.values() if not _has_name(server)]
    own = {spec.own.address, *links.addresses}
    return ",".join(dict.fromkeys(each for each in [*servers, *links.gateways] if each not in own))


def _server_counts(spec: PairSpec) -> str:
    """Return the expressions by which HAProxy reports how many servers of each backend of a VIP are up."""
    backends = {API: ["apiserver"], SERVICES: [f"service_{each.name}" for each in spec.services]}
    for listener in spec.listeners:
        backends[listener.vip].append(f"listener_{listener.name}")
    return " ".join(f"{vip}={'+'.join(f'%[nbsrv({name})]' for name in names)}" for vip, names in backends.items())


# --- keepalived and its rules ----------------------------------------------------------------


def keepalived_conf(spec: PairSpec, links: HostLinks, run_directory: str = RUN_DIRECTORY) -> str:
    """Render the keepalived configuration: one VRRP instance per VIP, each with a preferred and a standby host.

    :param run_directory: the directory of the weights; another one to validate the text before that directory exists.
    """
    instances = [_instance(spec, links, number, run_directory) for number in range(len(VIPS))]
    # keepalived runs scripts as another user by default, and not at all if others could change them.
    settings = "    script_user root\n    enable_script_security\n" if spec.metrics_dir else ""
    return _render(
        programs.KEEPALIVED_CONF,
        own_name=spec.own.name,
        script_settings=settings,
        instances="\n".join(instances).rstrip("\n"),
    )


def _instance(spec: PairSpec, links: HostLinks, number: int, run_directory: str) -> str:
    vip = VIPS[number]
    # keepalived tracks the interface of the instance without being configured to.
    track = "" if links.vips == links.own else f"    track_interface {{\n        {links.vips}\n    }}\n"
    return string.Template(programs.KEEPALIVED_INSTANCE_CONF).substitute(
        vip=vip,
        run_directory=run_directory,
        own_link=links.own,
        vrid=spec.vrid + number,
        priority=PREFERRED if vip == spec.preferred_vip else STANDBY,
        advert_seconds=ADVERT_SECONDS,
        preempt_delay=PREEMPT_DELAY,
        own_address=spec.own.address,
        peer_address=spec.peer.address,
        address=spec.vips[vip],
        vip_link=links.vips,
        # keepalived 2.3 rejects a program whose path has a symbolic link, as /bin/sh has.
        notify=f'    notify "/usr/bin/env sh {TRANSITION_FILE}"\n' if spec.metrics_dir else "",
        track_interface=track,
    )


def rules(spec: PairSpec) -> str:
    """Render the nftables rules that drop VRRP adverts of any host but the peer: VRRP version 3 has no password."""
    vrids = ", ".join(str(spec.vrid + number) for number in range(len(VIPS)))
    return _render(programs.RULES_NFT, table=TABLE, vrids=vrids, peer_address=spec.peer.address)


# --- units -----------------------------------------------------------------------------------


def units(spec: PairSpec, links: HostLinks, python: str) -> Texts:
    """Render the systemd units. systemd restarts each of the three services at once whatever ends it.

    When keepalived ends, its unit removes the VIPs: on a host without VRRP they would be active twice.

    :param python: the interpreter that runs the health agent and writes the metrics.
    :returns: path -> text.
    """
    values = {
        "python": shlex.quote(python),
        "haproxy_cfg": HAPROXY_FILE,
        "keepalived_conf": KEEPALIVED_FILE,
        "rules": RULES_FILE,
        "restore": RESTORE_FILE,
        "restore_unit": RESTORE_UNIT,
        "interval": spec.restore_interval,
        "write_metrics": _write_metrics(python) if spec.metrics_dir else "",
        "loaded": LOADED_FILE,
        "keepalived_type": "notify\nNotifyAccess=all" if links.keepalived_notifies else "exec",
        "health_agent": HEALTH_AGENT_FILE,
        "health_socket": HEALTH_SOCKET,
        "haproxy_unit": HAPROXY_UNIT,
        "health_agent_unit": HEALTH_AGENT_UNIT,
        "vips": " ".join(VIPS),
        "run": RUN_DIRECTORY,
        "run_name": RUN_DIRECTORY.rpartition("/")[2],
        "remove_vips": "\n".join(
            f"ExecStopPost=-/bin/sh -c 'ip address del {spec.vips[vip]}/32 dev {links.vips} 2>/dev/null'"
            for vip in VIPS
        ),
    }
    return {
        f"{UNIT_DIRECTORY}/{unit}": _render(template, **values)
        for unit, template in (
            (HAPROXY_UNIT, programs.HAPROXY_SERVICE),
            (HEALTH_AGENT_UNIT, programs.HEALTH_AGENT_SERVICE),
            (KEEPALIVED_UNIT, programs.KEEPALIVED_SERVICE),
            (TIMER_UNIT, programs.CLB_RESTORE_TIMER),
            (RESTORE_UNIT, programs.CLB_RESTORE_SERVICE),
        )
    }


def _write_metrics(python: str) -> str:
    """Return the line that writes the metrics after each run, also one that failed."""
    return f"ExecStopPost=-{shlex.quote(python)} -s -E -S -B {METRICS_PROGRAM}\nTimeoutStopSec=30s\nKillMode=process\n"


def metrics_files(spec: PairSpec) -> Texts:
    """Return the files that the metrics need, by path; none without a directory."""
    if not spec.metrics_dir:
        return {}
    config = ClbMetricsConfig(spec.metrics_dir, spec.vips)
    return {
        METRICS_FILE: WRITTEN_BY + config_text(config),
        METRICS_PROGRAM: WRITTEN_BY + programs.CLB_METRICS_PY,
        TRANSITION_FILE: programs.COUNT_TRANSITION_SH,
    }
