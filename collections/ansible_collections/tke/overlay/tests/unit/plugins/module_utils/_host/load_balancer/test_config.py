# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the rendered files of a host of the pair. The lab tests whether the programs behave accordingly."""

from __future__ import annotations

import pathlib
import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    PREFERRED,
    HostLinks,
    config_id_in,
    haproxy_cfg,
    keepalived_conf,
    rules,
    units,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"


def section(text, name):
    return re.search(rf"^{name}\n((?: .*\n)*)", text, re.MULTILINE)[1]


@pytest.mark.parametrize("host", ["clb1", "clb2"])
def test_renders_the_golden_files(spec, peer_spec, links, host):
    of_host = {each.own.name: each for each in (spec, peer_spec)}[host]
    assert haproxy_cfg(of_host, links) == (GOLDEN / host / "haproxy.cfg").read_text()
    assert keepalived_conf(of_host, links) == (GOLDEN / host / "keepalived.conf").read_text()


def test_api_servers_are_checked_for_readiness_over_tls(spec, links):
    backend = section(haproxy_cfg(spec, links), "backend apiserver")
    assert "uri /readyz" in backend
    assert "server api2 10.0.1.22:6443 check check-ssl verify none\n" in backend
    backend = section(haproxy_cfg(spec._replace(ca="PEM"), links), "backend apiserver")
    assert "check-ssl verify required ca-file /etc/tke-overlay/clb/api-ca.crt\n" in backend


def test_validation_reads_the_ca_from_another_directory(spec, links):
    assert "ca-file /tmp/x/api-ca.crt\n" in haproxy_cfg(spec._replace(ca="PEM"), links, "/tmp/x")


def test_accepts_listed_server_names_and_rejects_others(spec, links):
    frontend = section(haproxy_cfg(spec, links), "frontend vip_services")
    accept, reject = frontend.index("accept if { req.ssl_sni -i registry.example.net }"), frontend.index("reject\n")
    assert accept < reject
    assert "use_backend service_registry.example.net if { req.ssl_sni -i registry.example.net }" in frontend
    assert "default_backend" not in frontend


def test_no_frontend_has_the_name_of_a_backend(spec, links):
    """HAProxy 3.3 and later reject that."""
    listeners = [spec.listeners[0]._replace(name=name) for name in ("ntske", "vip_ntske", "unchecked_ntske")]
    text = haproxy_cfg(spec._replace(listeners=listeners), links)
    frontends, backends = (re.findall(rf"^{kind} (\S+)$", text, re.MULTILINE) for kind in ("frontend", "backend"))
    assert (len(frontends), len(backends)) == (7, 10)
    assert len({*frontends, *backends}) == 17


@pytest.mark.parametrize("backend", ["apiserver", "listener_ntske", "service_registry.example.net"])
def test_all_servers_are_tried_while_all_checks_fail(spec, links, backend):
    text = haproxy_cfg(spec, links)
    checked, unchecked = (section(text, f"backend {name}") for name in (backend, f"unchecked_{backend}"))
    servers = re.compile(r"^    server \S+ \S+", re.MULTILINE)
    assert servers.findall(checked) == servers.findall(unchecked)
    assert " check" not in unchecked
    rules = re.findall(r"use_backend (?:unchecked_)?(\S+) if(.*)|default_backend (\S+)", text)
    first, last = (each for each in rules if backend in each)
    assert f"use_backend unchecked_{backend} if {{ nbsrv({backend}) eq 0 }}" in text
    assert first[1].removeprefix(f" {{ nbsrv({backend}) eq 0 }}") == last[1], "for the same clients"


def test_health_frontend_reports_identity_and_servers(spec, links):
    text = haproxy_cfg(spec, links)
    report = re.search(r'lf-string "config=(\w{12}) (.*)"', text)
    assert report[2] == (
        "reach=10.0.1.21,10.0.1.22,10.0.2.1 "
        "apiserver=%[nbsrv(apiserver)]+%[nbsrv(listener_ntske)] services=%[nbsrv(service_registry.example.net)]"
    )
    assert config_id_in(text) == report[1]


@pytest.mark.parametrize("change", [{"apiservers": {"api1": "10.0.1.21:6443"}}, {"ca": "PEM"}, {"metrics_port": 1}])
def test_another_configuration_has_another_identity(spec, links, change):
    other = haproxy_cfg(spec._replace(**change), links)
    assert config_id_in(other) != config_id_in(haproxy_cfg(spec, links))


def test_resolves_names_only_if_a_server_has_one(spec, links):
    assert "server s2 registry.internal:443 check resolvers host init-addr last,libc,none" in haproxy_cfg(spec, links)
    assert "resolvers" not in haproxy_cfg(spec._replace(services=[]), links)


def test_an_open_connection_may_be_idle_for_an_hour(spec, links):
    defaults = section(haproxy_cfg(spec, links), "defaults")
    for word in ("client 1h", "server 1h", "tunnel 1h", "clitcpka", "srvtcpka"):
        assert word in defaults


def test_each_vip_prefers_one_host(spec, peer_spec, links):
    own, peer = keepalived_conf(spec, links), keepalived_conf(peer_spec, links)

    def preferred(text):
        return re.findall(rf"vrrp_instance tke_(\w+) {{[^}}]*priority {PREFERRED}\n", text)

    assert (preferred(own), preferred(peer)) == (["apiserver"], ["services"])
    assert re.findall(r"virtual_router_id (\d+)", own) == re.findall(r"virtual_router_id (\d+)", peer) == ["84", "85"]


def test_tracks_the_link_of_the_vips_if_it_is_another(spec, links):
    assert "track_interface" not in keepalived_conf(spec, links)
    assert "track_interface {\n        eth1\n" in keepalived_conf(spec, HostLinks("eth0", "eth1"))


def test_accepts_vrrp_from_the_peer_only(spec, links):
    assert "unicast_peer {\n        10.0.2.12\n    }" in keepalived_conf(spec, links)
    assert "{ 84, 85 } ip saddr != 10.0.2.12 counter name not_the_peer drop" in rules(spec)


def test_systemd_refuses_no_start_of_a_unit_for_its_frequency(spec, links):
    """systemd 247 reports a refused start of the restore unit as its failure until the next run."""
    for path, text in units(spec, links, "/usr/bin/python3").items():
        assert "\nStartLimitIntervalSec=0\n" in text or path.endswith(".timer"), path


def test_the_keepalived_unit_removes_the_vips_when_it_stops(spec, links):
    (text,) = [text for path, text in units(spec, links, "/usr/bin/python3").items() if "keepalived" in path]
    for address in spec.vips.values():
        assert f"ExecStopPost=-/bin/sh -c 'ip address del {address}/32 dev eth0 2>/dev/null'\n" in text
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in text


def test_keepalived_outlives_the_health_agent(spec, links):
    """systemd stops a unit with the one that it requires, also for a restart; the agent's last result stays valid."""
    (text,) = [text for path, text in units(spec, links, "/usr/bin/python3").items() if "keepalived" in path]
    binding = re.findall(r"^(?:Requires|Requisite|BindsTo|PartOf|StopPropagatedFrom)=.*", text, re.MULTILINE)
    assert binding == []
    for relation in ("After", "Wants"):
        assert re.search(rf"^{relation}=.* tke-overlay-clb-health-agent.service$", text, re.MULTILINE)


def test_the_health_agent_unit_quotes_the_interpreter(spec, links):
    (text,) = [text for path, text in units(spec, links, "/opt/my python").items() if "health-agent" in path]
    assert "ExecStart='/opt/my python' /etc/tke-overlay/clb/health_agent.py /run/tke-overlay-clb/health.sock" in text
