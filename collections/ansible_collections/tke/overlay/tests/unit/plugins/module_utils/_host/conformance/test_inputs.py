# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a conformance test reads: CNI configurations, the rules of kube-proxy, answers of a name server, its options."""

from __future__ import annotations

import json
import socket
import struct
import threading
import types

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance import dns, kube_proxy, pods, task
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.cni_chain import address_of, winning_chain
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.connections import connect_all
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.run import ApiServer, Targets

DIRECTORY = "/etc/cni/net.d"
BRIDGE = {"type": "bridge", "bridge": "br0", "ipam": {"type": "host-local", "ranges": []}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """Return the chain of a directory with these files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    directory = tmp_path / DIRECTORY[1:]
    directory.mkdir(parents=True)

    def read(contents):
        for name, content in contents.items():
            (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return winning_chain(["/opt/cni/bin"])

    return read


def conflist(*plugins, **more):
    return {"cniVersion": "0.4.0", "name": "net", "plugins": list(plugins), **more}


def test_the_first_file_by_name_wins(chain):
    found = chain({"20-b.conflist": conflist(BRIDGE), "10-a.conf": {"name": "a", "type": "ptp"}, "00-x.txt": "{"})
    assert (found.path, found.name, found.plugins) == (f"{DIRECTORY}/10-a.conf", "a", [{"name": "a", "type": "ptp"}])
    assert (found.version, found.bridge, found.leases, found.with_host_ports) == ("0.1.0", "", "", False)


@pytest.mark.parametrize(
    ("more", "version"),
    [
        ({}, "0.4.0"),
        ({"cniVersion": "1.0.0"}, "1.0.0"),
        ({"cniVersions": ["0.3.1", "1.0.0", "1.1.0", "2.0.0"]}, "1.1.0"),
    ],
)
def test_the_highest_known_version_is_used(chain, more, version):
    assert chain({"a.conflist": conflist(BRIDGE, PORTMAP, **more)}).version == version


def test_a_plugin_reads_what_the_specification_says(chain):
    found = chain({"a.conflist": conflist(BRIDGE, PORTMAP)})
    ports = [{"hostPort": 1, "containerPort": 2, "protocol": "tcp"}]
    first, second = (json.loads(found.standard_input(each, {"ips": []}, ports)) for each in found.plugins)
    assert first == {**BRIDGE, "cniVersion": "0.4.0", "name": "net", "prevResult": {"ips": []}}
    assert second["runtimeConfig"] == {"portMappings": ports}
    assert "capabilities" not in second
    assert "prevResult" not in json.loads(found.standard_input(BRIDGE, None, []))


@pytest.mark.parametrize(
    ("ipam", "directory"),
    [
        ({"type": "host-local"}, "/var/lib/cni/networks/net"),
        ({"type": "host-local", "dataDir": "/run/cni/"}, "/run/cni/net"),
        ({"type": "dhcp"}, ""),
    ],
)
def test_where_the_leases_are(chain, ipam, directory):
    assert chain({"a.conflist": conflist({**BRIDGE, "ipam": ipam})}).leases == directory


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ({"plugins": [{}], "name": "x"}, "has no 'type'"),
        ({"plugins": [BRIDGE]}, "has no 'name'"),
        ({"plugins": [{"type": "../../bin/sh"}], "name": "x"}, "'../../bin/sh' is no name of a plugin"),
        ({"plugins": [BRIDGE], "name": "../x"}, "'../x' is no name of a network"),
        ({"plugins": [BRIDGE] * 17, "name": "x"}, "17 plugins"),
        (conflist(BRIDGE, cniVersion="9.0.0"), "version 9.0.0"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(chain, content, words):
    with pytest.raises(KernelError, match=r"a\.conflist, the first CNI configuration by name") as error:
        chain({"a.conflist": content, "b.conflist": conflist(BRIDGE)})
    assert words in str(error.value)


def test_a_directory_without_a_configuration_is_an_error(chain):
    with pytest.raises(KernelError, match=r"/etc/cni/net.d has no CNI configuration"):
        chain({"README": "x"})


@pytest.mark.parametrize(
    ("result", "words"),
    [({}, "no IPv4"), ({"ips": [{"address": "fd00::1/64"}]}, "no IPv4"), ({"ips": [1]}, "cannot be read")],
)
def test_a_result_without_an_address_is_an_error(result, words):
    with pytest.raises(KernelError, match=words):
        address_of(result)


# --- kube-proxy ---

IPTABLES_BY_NFT = """table ip nat {
    chain KUBE-SERVICES {
        meta l4proto tcp ip daddr 10.96.0.1  tcp dport 443 counter packets 0 bytes 0 jump KUBE-SVC-NPX46M4PTMTKRN6Y
        meta l4proto udp ip daddr 10.96.0.10  udp dport 53 counter packets 0 bytes 0 jump KUBE-SVC-TCOU7JCQXEZGVUNU
        meta l4proto tcp ip daddr 10.96.0.10  tcp dport 53 counter packets 0 bytes 0 jump KUBE-SVC-ERIFXISQEP7F7OF4
    }
}
"""
NFTABLES = """table ip kube-proxy {
    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 10.96.0.10 . udp . 53 : goto service-FY5PMXPG-kube-system/kube-dns/udp/dns,
                 10.96.0.1 . tcp . 443 : goto service-2QRHZV4L-default/kubernetes/tcp/https,
                 10.96.0.10 . tcp . 53 : goto service-NWBZK7IH-kube-system/kube-dns/tcp/dns-tcp }
    }
}
"""


def host(**outputs):
    def run(command, _text):
        out = next((out for word, out in outputs.items() if word.replace("_", "-") in command), None)
        return (0, out, "") if out is not None else (1, "", "No such file")

    return run


@pytest.mark.parametrize("outputs", [{"service_ips": NFTABLES}, {"KUBE_SERVICES": IPTABLES_BY_NFT}])
def test_services_are_found_in_both_modes(outputs):
    found = kube_proxy.find_services(host(**outputs))
    assert found == (("10.96.0.1", 443), [("10.96.0.10", 53)], "")


@pytest.mark.parametrize(("outputs", "words"), [({}, "no kube-proxy"), ({"kube_ipvs0": "8: kube-ipvs0"}, "IPVS")])
def test_without_rules_the_reason_is_named(outputs, words):
    found = kube_proxy.find_services(host(**outputs))
    assert (found.kubernetes, list(found.services)) == (None, [])
    assert words in found.missing


# --- the name server, and connections ---


def answered(code, answers):
    """Ask a name server that answers with this code and number of addresses."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    seen = []

    def answer():
        query, sender = server.recvfrom(512)
        seen.append(query)
        server.sendto(query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, answers, 0, 0) + query[12:], sender)

    class Client:
        """The socket of the client, which connects to the port of this server instead of port 53."""

        def __enter__(self):
            return self

        def __exit__(self, *_error):
            client.close()

        def __getattr__(self, name):
            return getattr(client, name)

        def connect(self, address):
            client.connect((address[0], server.getsockname()[1]))

    thread = threading.Thread(target=answer)
    thread.start()
    with server:
        result = dns.ask(Client(), "127.0.0.1", "a.example")
        thread.join()
    assert b"\1a\7example\0\0\1\0\1" in seen[0]
    return result


@pytest.mark.parametrize(
    ("code", "answers", "result"),
    [(0, 1, ""), (0, 0, "a.example has no address"), (3, 0, "a.example: NXDOMAIN"), (9, 0, "a.example: error 9")],
)
def test_the_answer_of_a_name_server(code, answers, result):
    assert answered(code, answers) == result


def test_many_connections_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        good, bad = server.getsockname(), closed.getsockname()
        results = connect_all("127.0.0.1", [good, bad, good], 2)
    assert sorted(results) == sorted([(good, ""), (good, ""), (bad, "Connection refused")])


# --- options ---


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "x:1", ":1", "10.0.0.1:\u0661"])
def test_a_service_is_an_address_and_a_port(text):
    assert task.read_services(["10.0.0.1:53"]) == [("10.0.0.1", 53)]
    with pytest.raises(ValidationError, match="overlay_conformance_services"):
        task.read_services(["10.0.0.1:53", text])


def test_every_wrong_target_is_named_by_its_variable():
    targets = Targets(ApiServer(), dns="x", dns_names=["a b", "good.example."], outside=["10.0.0.1", "y"])
    problems = " ".join(task.target_problems(targets))
    for word in ("overlay_conformance_dns)", "'x'", "overlay_conformance_dns_names", "'a b'", "outside", "'y'"):
        assert word in problems
    assert "good.example" not in problems


@pytest.mark.parametrize("ranges", [5, "text", {"a": 1}, [5], ["text"], [None], [[5, "x", None]]], ids=repr)
def test_ranges_of_another_form_are_not_counted(chain, ranges):
    """Another program than host-local may have anything in that place."""
    plugin = {**BRIDGE, "ipam": {"type": "host-local", "ranges": ranges}}
    found = chain({"10-a.conflist": {"cniVersion": "1.0.0", "name": "a", "plugins": [plugin]}})
    network = types.SimpleNamespace(node_cidr="10.244.0.0/24")
    assert pods.plan_pods(network, found, lambda _command, _text: (0, "", "")).free is None
