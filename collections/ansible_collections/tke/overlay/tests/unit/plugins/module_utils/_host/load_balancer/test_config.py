# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host of the pair is told to be. Whether the programs do it is for the lab."""

from __future__ import annotations

import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import (
    PREFERRED,
    PairHost,
    PairSpec,
    Proxied,
    VrrpPlace,
    haproxy_cfg,
    keepalived_conf,
    problems_of,
    rules,
    units,
)

SPEC = PairSpec(
    own=PairHost("clb1", "10.0.2.11"),
    peer=PairHost("clb2", "10.0.2.12"),
    home="apiserver",
    vips={"apiserver": "10.0.2.2", "services": "10.0.2.3"},
    subnet="10.0.2.0/24",
    apiservers={"api1": "10.0.1.21:6443", "api2": "10.0.1.22:6443"},
    api_port=6443,
    services=[Proxied("registry.example.net", ["10.0.1.31:443", "registry.internal:443"])],
    listeners=[Proxied("ntske", ["10.0.1.33:4460"], "apiserver", 4460)],
    ca="",
    metrics_port=8405,
    vrid=84,
)
PLACE = VrrpPlace("eth0", "eth0", ["10.0.2.1"])


def section(text, name):
    return re.search(rf"^{name}\n((?: .*\n)*)", text, re.MULTILINE)[1]


def test_an_api_server_is_asked_for_its_readiness_over_tls():
    backend = section(haproxy_cfg(SPEC, PLACE), "backend apiserver")
    assert "uri /readyz" in backend
    assert "server api2 10.0.1.22:6443 check check-ssl verify none\n" in backend
    backend = section(haproxy_cfg(SPEC._replace(ca="PEM"), PLACE), "backend apiserver")
    assert "check-ssl verify required ca-file /etc/tke-overlay/clb/api-ca.crt\n" in backend


def test_a_name_is_let_in_and_all_others_are_not():
    frontend = section(haproxy_cfg(SPEC, PLACE), "frontend services")
    accept, reject = frontend.index("accept if { req.ssl_sni -i registry.example.net }"), frontend.index("reject\n")
    assert accept < reject
    assert "use_backend service_registry.example.net if { req.ssl_sni -i registry.example.net }" in frontend
    assert "default_backend" not in frontend


def test_what_runs_says_what_it_is_and_whom_it_needs():
    answer = re.search(r'lf-string "config=(\w+) (.*)"', haproxy_cfg(SPEC, PLACE))
    assert answer[2] == (
        "reach=10.0.1.21,10.0.1.22,10.0.2.1 "
        "apiserver=%[nbsrv(apiserver)]+%[nbsrv(listener_ntske)] services=%[nbsrv(service_registry.example.net)]"
    )
    other = haproxy_cfg(SPEC._replace(apiservers={"api1": "10.0.1.21:6443"}), PLACE)
    assert answer[1] not in other


def test_names_are_resolved_only_where_there_are_names():
    assert "server s2 registry.internal:443 check resolvers host init-addr last,libc,none" in haproxy_cfg(SPEC, PLACE)
    assert "resolvers" not in haproxy_cfg(SPEC._replace(services=[]), PLACE)


def test_an_open_connection_may_be_silent_for_long():
    defaults = section(haproxy_cfg(SPEC, PLACE), "defaults")
    for word in ("client 1h", "server 1h", "tunnel 1h", "clitcpka", "srvtcpka"):
        assert word in defaults


def test_each_vip_is_at_home_on_one_of_the_two():
    own = keepalived_conf(SPEC, PLACE)
    peer = keepalived_conf(SPEC._replace(own=SPEC.peer, peer=SPEC.own, home="services"), PLACE)

    def homes(text):
        return re.findall(rf"vrrp_instance tke_(\w+) {{[^}}]*priority {PREFERRED}\n", text)

    assert (homes(own), homes(peer)) == (["apiserver"], ["services"])
    assert re.findall(r"virtual_router_id (\d+)", own) == re.findall(r"virtual_router_id (\d+)", peer) == ["84", "85"]
    assert "track_interface" not in own
    assert "track_interface {\n        eth1\n" in keepalived_conf(SPEC, VrrpPlace("eth0", "eth1"))


def test_only_the_other_one_may_speak():
    assert "unicast_peer {\n        10.0.2.12\n    }" in keepalived_conf(SPEC, PLACE)
    assert "{ 84, 85 } ip saddr != 10.0.2.12 counter name not_the_peer drop" in rules(SPEC)


def test_a_host_without_keepalived_drops_the_vips():
    (text,) = [text for path, text in units(SPEC, PLACE, "/usr/bin/python3").items() if "keepalived" in path]
    for address in SPEC.vips.values():
        assert f"ExecStopPost=-/bin/sh -c 'ip address del {address}/32 dev eth0" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"own": PairHost("clb1", "clb1.example")}, ["host clb1 has the address 'clb1.example'"]),
        ({"apiservers": {}}, ["group apiserver has no hosts"]),
        ({"apiservers": {"api1": "a b:1"}}, ["API server api1: 'a b:1' is not host:port"]),
        ({"vrid": 255}, ["overlay_clb_vrid is 255"]),
        ({"api_port": 0}, ["overlay_api_port is 0"]),
        ({"metrics_port": 70000}, ["overlay_clb_metrics_port is 70000"]),
        ({"services": [Proxied("a_b", ["x:1"])]}, ["'a_b' is not a host name"]),
        ({"services": [Proxied("a", ["x:1"]), Proxied("A", ["x:1"])]}, ["'A' is given twice"]),
        ({"services": [Proxied("a", [])]}, ["'a' has no backends"]),
        ({"services": [Proxied("a", ["x", "y:99999", "[::1]:443"])]}, ["'x' is not", "'y:99999' is", "'[::1]:443' is"]),
        ({"listeners": [Proxied("a b", ["x:1"], "services", 70)]}, ["'a b': a name has letters"]),
        ({"listeners": [Proxied("a", ["x:1"], "other", 70)]}, ["there is no VIP 'other'"]),
        ({"listeners": [Proxied("a", ["x:1"], "services", 443)]}, ["port 443", "that of overlay_clb_services"]),
        ({"listeners": [Proxied("a", ["x:1"], "apiserver", 6443)]}, ["port 6443", "that of overlay_api_port"]),
        ({"listeners": [Proxied(n, ["x:1"], "services", 7) for n in "ab"]}, ["port 7", "that of listener 'a'"]),
        ({"listeners": [Proxied("a", ["x:1"], "services", n) for n in (7, 8)]}, ["'a' is given twice"]),
        ({"listeners": [Proxied("a", ["x:1"], "services", 0)]}, ["port 0 does not lie"]),
    ],
)
def test_what_cannot_be_is_named(change, words):
    text = "\n".join(problems_of(SPEC._replace(**change)))
    for word in words:
        assert word in text


def test_a_good_one_has_no_problems():
    assert list(problems_of(SPEC)) == []
