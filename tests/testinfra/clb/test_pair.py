# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the pair as clients and operators see it: what it accepts and rejects, and changes without interruption."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from faults import PAIR, Holders, load
from stories import INVENTORY, LAB, LAB_STATE, MIRROR, NODES, QUICKLY, at_once, joined, lab, ledger, play, run_script

testinfra_hosts = ["local://"]

CA = ("-e", f"overlay_api_ca={LAB_STATE / 'api-ca.crt'}")
UNITS = [f"tke-overlay-{name}.service" for name in ("haproxy", "clb-health-agent", "keepalived")]
API = "https://api.lab.internal:6443"


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def pair_play(*arguments, **more):
    """Run the site playbook for the pair alone."""
    return play("tke.overlay.site", "--limit", "clb", *CA, *arguments, **more)


def counts(host):
    """Return what the proxy of a host reports to its health agent, such as the number of servers behind each VIP."""
    text = on(host, "curl -s --unix-socket /run/tke-overlay-clb/health.sock http://proxy/")
    return dict(word.split("=") for word in text.split())


def await_counts(number, seconds):
    """Wait until both proxies have this number of API servers; return how long that took in seconds."""
    start = time.monotonic()
    while {counts(host)["apiserver"] for host in PAIR} != {str(number)}:
        assert time.monotonic() - start < seconds, [counts(host) for host in PAIR]
        time.sleep(0.05)
    return time.monotonic() - start


def curl(name, port, *words, vip="services", ca="services-ca.crt"):
    """Return what a client in the data centre receives; it verifies certificate and name."""
    text = (LAB_STATE / ca).read_text()
    command = ("curl", "-sS", "--max-time", "5", "--cacert", "/dev/stdin")
    where = f"{name}:{port}:{ledger()['vips'][vip]}"
    return subprocess.run(
        [LAB, "exec", "idc1", "--", *command, "--resolve", where, *words, f"https://{name}:{port}/readyz"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def processes():
    """Return main process and start of every service, and the newest worker; a restart or a reload changes them."""
    script = f"systemctl show -p MainPID,ActiveEnterTimestampMonotonic,NRestarts {' '.join(UNITS)}; pgrep -xn haproxy"
    return {host: on(host, script) for host in PAIR}


@pytest.fixture(scope="module", autouse=True)
def idle_client():
    """A connection to api1 that is idle during all tests of this module and then sends a request."""
    address = ledger()["vips"]["apiserver"]
    program = f"""
import socket, ssl, sys
def request(link):
    link.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: api\\r\\n\\r\\n")
    return link.recv(4096)
while True:
    link = ssl._create_unverified_context().wrap_socket(socket.create_connection(("{address}", 6443)))
    if b"api1" in request(link):
        break
print("open", flush=True)
sys.stdin.read()
print(request(link))
"""
    with subprocess.Popen(
        [LAB, "exec", "idc1", "--", "python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout.readline() == "open\n"
        yield client
        client.stdin.close()


def test_each_vip_is_on_its_preferred_host_only():
    with Holders(ledger()["vips"]) as holders:
        holders.await_preferred(20)


def test_clients_reach_api_servers_and_named_services_only():
    done = curl("api.lab.internal", 6443, vip="apiserver", ca="api-ca.crt")
    assert done.stdout == "ok", done.stderr
    for name in ("registry.lab.internal", "objects.lab.internal"):
        done = curl(name, 443)
        assert done.stdout.startswith(f"{name} on cloud"), done.stderr
    for rejected in ("unlisted.lab.internal", "10.0.2.3"):
        done = curl(rejected, 443)
        assert done.returncode == 35, "the proxy rejected the TLS handshake"
    assert done.stdout == ""


def test_metrics_are_on_the_underlay_address_only():
    for host, address in (("clb1", "10.0.2.11"), ("clb2", "10.0.2.12")):
        text = on("api1", f"curl -sS http://{address}:8405/metrics")
        # HAProxy before 2.4 has one line for each server, without the state.
        assert re.search(r'haproxy_server_status\{proxy="apiserver",server="api2"(,state="UP")?\} 1\n', text)
        (listening,) = re.findall(r"(\S+):8405", on(host, "ss -Hltn sport = :8405"))
        assert listening == address
        assert "apiserver" in on(host, "stat -c %a /run/tke-overlay-clb/admin.sock | grep -x 600 && echo apiserver")


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_a_failed_api_server_is_down_within_three_seconds(signal):
    await_counts(2, 10)
    on("api2", f"systemctl kill --signal={signal} nginx.service")
    try:
        await_counts(1, 3)
        answers = {curl("api.lab.internal", 6443, vip="apiserver", ca="api-ca.crt").stdout for _number in range(4)}
        assert answers == {"ok"}
    finally:
        on("api2", "systemctl kill --signal=CONT nginx.service; systemctl start nginx.service")
    await_counts(2, 5)


def test_an_api_server_with_a_foreign_certificate_is_down():
    on("api2", "cp -a /etc/lab-apiserver/server.pem /root/server.pem")
    own = "openssl req -x509 -newkey rsa:2048 -noenc -subj /CN=x -keyout /root/k -out /root/c 2>/dev/null"
    on("api2", f"{own} && cat /root/c /root/k >/etc/lab-apiserver/server.pem && systemctl reload nginx")
    try:
        await_counts(1, 5)
    finally:
        on("api2", "cp -a /root/server.pem /etc/lab-apiserver/server.pem && systemctl reload nginx")
    await_counts(2, 5)


ADVERT = """
import socket, struct
def total(data):
    number = sum(struct.unpack(f"!{len(data) // 2}H", data))
    number = (number >> 16) + (number & 0xFFFF)
    return ~(number + (number >> 16)) & 0xFFFF
source, target, vip = (socket.inet_aton(text) for text in ("10.0.1.21", "10.0.2.11", "10.0.2.2"))
def advert(checksum):
    return struct.pack("!BBBBHH", 0x31, 84, 255, 1, 15, checksum) + vip
pseudo = source + target + struct.pack("!HH", 112, 12)
link = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
link.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
for number in range(20):
    link.sendto(advert(total(pseudo + advert(0))), ("10.0.2.11", 0))
"""


def test_only_the_peer_can_take_a_vip():
    def dropped():
        rows = json.loads(on("clb1", "nft -j list counters table inet tke_overlay_clb"))["nftables"]
        return sum(row["counter"]["packets"] for row in rows if "counter" in row)

    before = dropped()
    with Holders(ledger()["vips"]) as holders:
        start = time.time()
        lab("exec", "api1", "--", "python3", "-c", ADVERT)
        time.sleep(0.5)  # three adverts are enough for a new master
        assert holders.longest(start, time.time(), lambda held: "apiserver" not in held["clb1"]) == 0
    assert dropped() == before + 20


AGENT, KEEPALIVED = "tke-overlay-clb-health-agent.service", "tke-overlay-keepalived.service"


def main_process(host, unit):
    return on(host, f"systemctl show -p MainPID --value {unit}").strip()


@pytest.mark.parametrize("how", ["kill --signal=KILL", "kill --signal=STOP", "restart"])
def test_a_health_agent_that_dies_or_hangs_leaves_keepalived(how):
    agent, keepalived = (main_process("clb1", unit) for unit in (AGENT, KEEPALIVED))
    with Holders(ledger()["vips"]) as holders:
        start = time.time()
        on("clb1", f"systemctl {how} {AGENT}")
        while main_process("clb1", AGENT) in ("0", agent):
            assert time.time() - start < 10, "systemd starts the agent again"
            time.sleep(0.1)
        time.sleep(1.5)  # the other host would have the VIP after 0.5 s
        assert holders.longest(start, time.time(), lambda held: "apiserver" not in held["clb1"]) == 0
        assert holders.longest(start, time.time(), lambda held: "services" not in held["clb2"]) == 0
    assert main_process("clb1", KEEPALIVED) == keepalived != "0"
    assert on("clb1", f"systemctl is-active {AGENT}").strip() == "active"


def without(tmp_path, word):
    """Return the inventory of the lab without the lines that contain a word."""
    lines = INVENTORY.read_text().splitlines(keepends=True)
    part = tmp_path / "hosts.yml"
    part.write_text("".join(line for line in lines if word not in line))
    (tmp_path / "group_vars").symlink_to(INVENTORY.parent / "group_vars")
    return part


def test_clients_do_not_notice_a_removed_api_server(tmp_path):
    few, before = without(tmp_path, "api2:"), processes()
    forecast = pair_play("--check", "--diff", inventories=(few,))
    assert processes() == before
    with load(ledger()["vips"]["apiserver"]) as result:
        done = pair_play("--diff", inventories=(few,))
        assert done.changed() == set(PAIR), done.text
        assert sorted(done.text.splitlines()) == sorted(forecast.text.splitlines())  # hosts finish in any order
        for host in PAIR:
            assert "api2" not in on(host, "cat /etc/tke-overlay/clb/*")
            assert "10.0.1.22" not in on(host, "cat /etc/tke-overlay/clb/*")
            assert counts(host)["apiserver"] == "1"
        assert pair_play().changed() == set(PAIR)
        assert [counts(host)["apiserver"] for host in PAIR] == ["2", "2"]
    assert result["failures"] == []
    assert result["broken"] == []
    assert len(result["good"]) > 500
    masters = re.compile(r"MainPID=.*|ActiveEnter.*")
    assert {host: masters.findall(text) for host, text in processes().items()} == {
        host: masters.findall(text) for host, text in before.items()
    }, "the units were reloaded, not restarted"


def test_a_second_run_changes_and_reloads_nothing():
    before = processes()
    done = pair_play("--diff")
    assert done.code == 0, done.text
    assert done.changed() == set()
    assert processes() == before


def test_adds_and_removes_a_listener():
    """The listener leads to another server, so that an answer shows which one sent it."""
    listener = {"name": "other", "vip": "apiserver", "port": 9443, "backends": ["10.0.1.11:8443"]}
    done = pair_play("-e", json.dumps({"overlay_clb_listeners": [listener]}))
    assert done.changed() == set(PAIR), done.text
    assert curl("registry.lab.internal", 9443, vip="apiserver").stdout == "registry.lab.internal on cloud1\n"
    assert pair_play().changed() == set(PAIR)
    assert curl("registry.lab.internal", 9443, vip="apiserver").returncode == 7


HAPROXY_THAT_REJECTS = """#!/bin/sh
exec /usr/sbin/haproxy.real -f /none.cfg "$@"
"""


def test_shows_the_reason_if_haproxy_rejects_its_configuration():
    """HAProxy reads one file more, which does not exist, so its own words name that file."""
    before, record = processes(), ledger()
    for host in PAIR:
        on(
            host,
            f"cd /usr/sbin && mv haproxy haproxy.real && echo '{HAPROXY_THAT_REJECTS}' >haproxy && chmod 755 haproxy",
        )
    done = pair_play("-e", f"overlay_api_ca={LAB_STATE / 'services-ca.crt'}")
    for host in PAIR:
        on(host, "mv /usr/sbin/haproxy.real /usr/sbin/haproxy")
    assert done.code != 0
    assert re.search(r"haproxy rejects its new configuration: .*/none.cfg", joined(done.text))
    assert processes() == before
    assert ledger() == record


def test_names_a_wrong_ca_before_any_change(tmp_path):
    before, record = processes(), ledger()
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n")
    done = pair_play("-e", f"overlay_api_ca={tmp_path / 'ca.crt'}")
    assert done.code != 0
    assert f"overlay_api_ca ({tmp_path / 'ca.crt'}): the text of certificate 1 is damaged" in joined(done.text)
    assert processes() == before
    assert ledger() == record


def test_reports_all_invalid_variables_and_changes_nothing():
    before, record = processes(), ledger()
    files = {host: on(host, "sha256sum /etc/tke-overlay/clb/*") for host in PAIR}
    wrong = {
        "overlay_clb_vrid": 300,
        "overlay_clb_services": [{"name": "a b", "backends": ["x"]}, {"name": "good.example", "backends": []}],
    }
    taken = {"overlay_clb_reserved": ["10.0.2.2", "10.0.9.9"], "overlay_clb_vips": {"services": "10.0.2.9"}}
    limited = ("tke.overlay.site", "--limit", "clb", *CA)
    done, of_vips = at_once(*((*limited, "-e", json.dumps(values)) for values in (wrong, taken)))
    assert done.code != 0
    text = joined(done.text)
    for words in (
        "4 problems",
        "overlay_clb_vrid 300",
        "'a b' is not a host name",
        "'x' is not host:port",
        "no backends",
    ):
        assert words in text
    text = joined(of_vips.text)
    for words in (
        "VIP apiserver 10.0.2.2 (in the ledger) is reserved by 10.0.2.2",
        "10.0.9.9 is not part",
        "10.0.2.9",
    ):
        assert words in text
    assert processes() == before
    assert ledger() == record
    assert {host: on(host, "sha256sum /etc/tke-overlay/clb/*") for host in PAIR} == files


def test_rejects_a_single_host_before_any_change(tmp_path):
    done = play("tke.overlay.site", *CA, inventories=(without(tmp_path, "clb2:"),))
    assert done.code != 0
    assert "group clb has 1 hosts (clb1), and the pair needs exactly two" in joined(done.text)
    assert done.changed() == set()


def test_finishes_a_run_that_was_interrupted():
    """The file is new, but the process runs the old configuration, as the proxy reports."""
    on(
        "clb1",
        "sed -i 's/config=[0-9a-f]*/config=old/' /etc/tke-overlay/clb/haproxy.cfg && "
        "systemctl reload tke-overlay-haproxy",
    )
    while counts("clb1")["config"] != "old":
        time.sleep(0.05)
    on("clb1", "cp /run/tke-overlay-clb/loaded /root/loaded; echo other >/run/tke-overlay-clb/loaded")
    done = pair_play("--diff")
    assert done.changed() == {"clb1"}
    assert counts("clb1")["config"] != "old"
    assert on("clb1", "cmp /root/loaded /run/tke-overlay-clb/loaded") == ""


def test_a_run_for_a_node_does_not_touch_the_pair():
    before = processes()
    done = play("tke.overlay.site", "--limit", "idc1", *CA)
    assert set(done.recap()) == {"idc1"}
    assert processes() == before


def test_an_idle_connection_still_works(idle_client):
    idle_client.stdin.close()
    assert "200 OK" in idle_client.stdout.read()


def test_api_servers_that_are_not_ready_serve_clients_while_no_other_is():
    """As on machines without a free CPU, where the checks of all servers fail. It ends the idle connection, too."""
    not_ready = "sed -i.ready 's/(readyz|/(/' /etc/nginx/nginx.conf && systemctl reload nginx"
    ready = "mv /etc/nginx/nginx.conf.ready /etc/nginx/nginx.conf && systemctl reload nginx"
    servers = ("api1", "api2")
    try:
        for name in servers:
            on(name, not_ready)
        await_counts(0, 5)
        answers = [curl("api.lab.internal", 6443, "-i", vip="apiserver", ca="api-ca.crt") for _number in range(4)]
        assert {each.stdout.split()[1] for each in answers} == {"404"}, answers
        on("api2", ready)
        await_counts(1, 5)
        answers = [curl("api.lab.internal", 6443, vip="apiserver", ca="api-ca.crt") for _number in range(4)]
        assert {each.stdout for each in answers} == {"ok"}, "only the one that is ready"
    finally:
        for name in servers:
            on(name, f"[ ! -e /etc/nginx/nginx.conf.ready ] || {{ {ready}; }}")
    await_counts(2, 5)


def test_installs_the_proxy_without_a_package_index():
    run_script(MIRROR, "clb1", "haproxy")
    on("clb1", "systemctl stop tke-overlay-haproxy; dpkg --remove --force-depends haproxy; ! command -v haproxy")
    try:
        done = pair_play()
        assert done.code == 0, done.text
        assert done.changed() == {"clb1"}
        await_counts(2, 15)
    finally:
        on("clb1", "rm -r /var/local/mirror /etc/apt/sources.list.d/mirror.list")


def test_a_pair_that_is_down_does_not_block_the_nodes():
    """Ansible ends a run after a play that has lost all its hosts, and the endpoint fails on all nodes."""
    lab("exec", "idc1", "--", "ip", "link", "del", "tke0")
    lab("cut", *PAIR)
    try:
        done = play("tke.overlay.site", *CA, *QUICKLY, "-e", "overlay_api_timeout=0")
    finally:
        lab("heal", *PAIR)
    assert done.code != 0
    assert done.changed() == {"idc1"}
    text = joined(done.text)
    assert "4 hosts: 1 changed, 3 unchanged" in text
    # Some nodes get an error from the router and others a timeout, depending on the state of its ARP entry for the VIP.
    node = r"(?:cloud|idc)\d"
    reported = re.findall(rf"({node}(?:, {node})*): api\.lab\.internal \(\S+\) does not answer", text)
    assert sorted(", ".join(reported).split(", ")) == sorted(NODES), "each node once, grouped by error"
    recap = done.recap()
    assert {host for host, counts in recap.items() if counts["failed"]} == {"cloud1", *PAIR}
    assert not any(counts["unreachable"] for counts in recap.values())
    await_counts(2, 15)
    assert play("tke.overlay.site", *CA).code == 0
