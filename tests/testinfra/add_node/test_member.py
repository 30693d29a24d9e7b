# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""An API server becomes a member without Pods (``overlay_pods: false``), as docs/hosts.md describes it."""

from __future__ import annotations

import base64
import json
import pathlib
import re

import pytest

from stories import INVENTORY, NODES, ROOT, joined, lab, ledger, on, play, site, state, states, until

testinfra_hosts = ["local://"]

MEMBER = ROOT / "inventories/lab_api_member/hosts.yml"
BOTH = (INVENTORY, MEMBER)
PROGRAM = pathlib.Path(__file__).parent / "https.py"
HTTPS = "/run/member-https.py"


@pytest.fixture
def pod():
    """Return name and address of a Pod in the data centre."""
    name, address = sorted(json.loads(on("idc1", "lab-pod list")).items())[0]
    yield name, address
    on("idc1", "systemctl stop member-https 2>/dev/null; true")


@pytest.fixture
def member():
    """Return the state of the first API server; afterwards the host leaves the overlay and has this state again."""
    before = state("api1")
    yield before
    gone = play("tke.overlay.release", "-e", "overlay_release=api1 overlay_release_confirmed=true", inventories=BOTH)
    assert gone.code == 0, gone.text
    assert without_underlay(state("api1")) == without_underlay(before)


def without_underlay(lines):
    """Return a state without the link of the underlay, which has another index after a reboot."""
    return {line for line in lines if '"ifname": "eth0"' not in line}


def serve(name, address, enter=""):
    """Start the server on a host, in a Pod with ``enter``; return its certificate."""
    copy_program(name)
    certificate = f"/run/member-{address}.pem"
    on(
        name,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=webhook "
        f"-addext subjectAltName=IP:{address} -keyout {certificate} -out {certificate}.crt 2>/dev/null; "
        f"cat {certificate}.crt >> {certificate}; systemctl stop member-https 2>/dev/null; "
        f"systemd-run --quiet --collect --unit=member-https {enter} python3 {HTTPS} serve {address} {certificate}",
    )
    until(name, f"{enter} ss -Hltn 'sport = 8443' | grep -q .", 10)
    return on(name, f"cat {certificate}.crt")


def copy_program(name):
    on(name, f"echo {base64.b64encode(PROGRAM.read_bytes()).decode()} | base64 -d > {HTTPS}")


def ask(name, address, certificate, enter=""):
    """Send a request from a host, from a Pod with ``enter``; return the address that the server saw."""
    copy_program(name)
    on(name, f"cat > /run/member-ca.crt <<'END'\n{certificate}END\n")
    return on(name, f"{enter} python3 {HTTPS} ask {address} /run/member-ca.crt").strip()


def vtep(name):
    return ledger()["nodes"][name]["node_cidr"].partition("/")[0]


def test_api_server_without_pods_reaches_pods(pod, member):
    name, address = pod
    done = site(inventories=BOTH)
    assert done.changed() == {*NODES, "api1"}
    assert_has_nothing_of_pods(member)

    inside = f"ip netns exec {name}"
    certificate = serve("idc1", address, inside)
    assert ask("api1", address, certificate) == vtep("api1")
    mtu = int(on("api1", "cat /sys/class/net/tke0/mtu"))
    on("api1", f"ping -n -q -M do -c 3 -i 0.2 -W 2 -s {mtu - 28} {address}")
    certificate_of_member = serve("api1", vtep("api1"))
    assert ask("idc1", vtep("api1"), certificate_of_member, inside) == address

    assert site(inventories=BOTH).changed() == set()
    shown = play("tke.overlay.verify", inventories=BOTH)
    assert shown.code == 0, shown.text
    assert "healthy: 20 of 20 pairs reachable" in joined(shown.text)

    lab("reboot", "api1")
    until("api1", f"ping -n -q -c 1 -W 1 {address} >/dev/null", 20)
    assert ask("api1", address, certificate) == vtep("api1")
    assert_has_nothing_of_pods(member)


def assert_has_nothing_of_pods(before):
    """Assert that the member has the entries of its peers, and neither bridge nor CNI file nor forwarding."""
    after = state("api1")
    assert len([line for line in after - before if "tke0" in line and "neigh" in line]) == len(NODES)
    assert not [line for line in after if "tke-br0" in line or "10-tke-overlay.conflist" in line]
    forwarding = re.compile("[01]")
    assert {line for line in after if forwarding.fullmatch(line)} == {
        line for line in before if forwarding.fullmatch(line)
    }


def test_node_with_running_pods_does_not_become_a_member(pod):
    _name, address = pod
    before = states()
    done = play("tke.overlay.site", "--limit", "idc1", "-e", "overlay_pods=no")
    assert done.code == 2
    for words in ("overlay_pods is false", "2 Pods of the overlay run on this host", address, "nothing was changed"):
        assert words in joined(done.text)
    assert states() == before
