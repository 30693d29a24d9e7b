# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What Pods need of their host: whatever takes it away is drift, which the script and a run correct."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import kernel_change, status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from breakages import broken, document, everything
from world import CLONE_NEWNET, LIBC, NEIGHBOUR

PODS = {"veth0000000a": "10.244.0.3", "veth0000000b": "10.244.0.4"}
ASKING, ANSWERING = PODS
SERVICE, OWN_SERVICE = "10.244.255.10", "10.244.255.11"
KUBE_PROXY = f"""table ip kube-proxy {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        ip daddr {SERVICE} udp dport 53 dnat to {PODS[ANSWERING]}
        ip daddr {OWN_SERVICE} udp dport 53 dnat to {PODS[ASKING]}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {PODS[ASKING]} ip daddr {PODS[ASKING]} masquerade
    }}
}}
"""


def netns(port):
    # Not as a lab named `test` names those of its hosts: it removes the ones that it does not know.
    return f"kernel-test-{os.getpid()}-{port}"


def ip(run, *lines):
    for line in lines:
        code, _out, errors = run(["ip", *line.split()])
        assert code == 0, (line, errors)


@pytest.fixture
def pods(world):
    """The host with kube-proxy's rules and two more Pods, as CNI's bridge plugin and a container runtime make them."""
    run = world.run
    try:
        for port, address in PODS.items():
            ip(
                run,
                f"netns add {netns(port)}",
                f"link add {port} type veth peer name eth0 netns {netns(port)}",
                f"link set {port} master tke-br0 up",
                f"link set {port} type bridge_slave hairpin on",
                f"-n {netns(port)} link set eth0 up",
                f"-n {netns(port)} address add {address}/24 dev eth0",
                f"-n {netns(port)} route add default via 10.244.0.1",
            )
        assert run(["nft", "-f", "-"], KUBE_PROXY)[0] == 0
        node.converge(document(), run, check=False)
        yield world
    finally:
        for port in PODS:
            run(["ip", "netns", "del", netns(port)])


@contextlib.contextmanager
def inside(world, where):
    """Move this thread to the namespace of a Pod, or of a process of ``world``, and back."""
    if where not in PODS:
        with world.inside(where):
            yield
        return
    with open(f"/run/netns/{netns(where)}", "rb") as there:
        assert LIBC.setns(there.fileno(), CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert LIBC.setns(world.home, CLONE_NEWNET) == 0


def answered(world, target, where):
    """Return whether a server in a namespace is asked by the Pod, and the Pod gets the answer from where it asked."""
    with contextlib.ExitStack() as stack:
        with inside(world, where):
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with inside(world, ASKING):
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.settimeout(0.1)
        client.settimeout(0.1)
        server.bind(("0.0.0.0", 53))
        try:
            client.connect((target, 53))
            client.send(b"?")
            _data, source = server.recvfrom(100)
            server.sendto(b"!", source)
            return client.recv(100) == b"!"
        except OSError:
            return False


def reached(world):
    """Return what the Pod reaches."""
    targets = {
        "a Pod of this host": (PODS[ANSWERING], ANSWERING),
        "a Service of a Pod of this host": (SERVICE, ANSWERING),
        "itself through a Service": (OWN_SERVICE, ASKING),
        "outside": (NEIGHBOUR, "neighbour"),
    }
    return {name for name, (target, where) in targets.items() if answered(world, target, where)}


ALL = {"a Pod of this host", "a Service of a Pod of this host", "itself through a Service", "outside"}


def restored():
    """Run the restore script, which must succeed, and return what it prints."""
    done = subprocess.run(
        ["sh", f"{files.ROOT}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{files.ROOT}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


SERVICES = {"a Service of a Pod of this host", "itself through a Service"}
LOSSES = {
    "sysctl net/bridge/bridge-nf-call-iptables 0": ({"a Service of a Pod of this host"}, "bridge-nf-call-iptables"),
    "sysctl net/bridge/bridge-nf-call-ip6tables 0": (set(), "bridge-nf-call-ip6tables"),
    "sysctl net/ipv4/conf/tke-br0/forwarding 0": (SERVICES | {"outside"}, "conf/tke-br0/forwarding"),
    "sysctl net/ipv4/conf/eth0/forwarding 0": ({"outside"}, "conf/eth0/forwarding"),
    "sysctl net/ipv4/conf/tke0/forwarding 0": (set(), "conf/tke0/forwarding"),
    "sysctl net/ipv4/conf/all/forwarding 0": ({"outside"}, "ip_forward"),
    "sysctl net/ipv4/conf/default/forwarding 0 && ip link del tke0": (set(), "tke0"),
    "ip link set tke-br0 down": (ALL, "down"),
    "ip address del 10.244.0.1/24 dev tke-br0": ({"outside"}, "10.244.0.1/24"),
    "ip address flush dev tke-br0": ({"outside"}, "10.244.0.1/24"),
    "ip route del 10.244.0.0/24 dev tke-br0": ({"outside"}, "route 10.244.0.0/24"),
    f"ip link set {ASKING} nomaster": (ALL, "port"),
    f"ip link set {ANSWERING} nomaster && ip link set {ANSWERING} down": ({"a Pod of this host"}, "port"),
    " && ".join(f"ip link set {port} nomaster" for port in PODS): (ALL, "bridge"),
    f"ip link set {ASKING} type bridge_slave hairpin off": ({"itself through a Service"}, "hairpin"),
    "ip link del tke-br0": (ALL, "tke-br0"),
    "ip link set tke-br0 down && ip address flush dev tke-br0 && "
    + " && ".join(f"ip link set {port} nomaster" for port in PODS): (ALL, "10.244.0.1/24"),
}


@pytest.mark.parametrize("line", LOSSES)
def test_what_pods_lose_is_drift_and_comes_back(pods, line):
    run, (lost, words) = pods.run, LOSSES[line]
    routes = routes_of(run)
    broken(run, line)
    assert lost.isdisjoint(reached(pods))
    for wanted in (document(), None):
        assert words in " ".join(status.read_status(run, wanted, ())["drift"])
    text = restored()
    assert text.startswith("tke-overlay: restored: ")
    assert words in text
    assert text.count("\n") == 1
    assert_intact(pods, routes)
    broken(run, line)
    forecast = node.converge(document(), run, check=True)
    outcome = node.converge(document(), run, check=False)
    assert list(outcome.diffs()) == list(forecast.diffs())
    assert outcome.kernel
    assert_intact(pods, routes)


def routes_of(run):
    """Return all routes of IPv4. Those of IPv6 links appear only when the kernel has checked their addresses."""
    return [row for row in everything(run)["ip -json route show table all"] if "::" not in row]


def assert_intact(world, routes):
    """Assert that Pods reach all, that nothing is left to correct, and that the routes are as before."""
    deadline = time.monotonic() + 5  # an ARP request that was lost before is repeated after a second
    while reached(world) != ALL:
        assert time.monotonic() < deadline, reached(world)
    assert restored() == ""
    for wanted in (document(), None):
        assert status.read_status(world.run, wanted, ())["drift"] == []
    assert routes_of(world.run) == routes


FOREIGN = {
    "the link of a container of another program": "link add vethc type veth peer name eth0 netns {}",
    "a Pod of CNI's plugin ptp": "route add 10.244.0.9 dev {port}",
    "a Pod with another prefix length, as Calico's": "-n {} address replace 10.244.0.9/32 dev eth0",
    "a Pod of another network": "-n {} address replace 10.99.0.9/24 dev eth0",
    "a Pod on another bridge": "link set {port} master br0",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_links_that_are_not_of_its_pods_stay_off_the_bridge(pods, kind):
    run, port, name = pods.run, "veth0000000c", f"{netns('other')}"
    ip(run, "link add br0 type bridge", f"netns add {name}")
    try:
        ip(run, f"link add {port} type veth peer name eth0 netns {name}", f"link set {port} up")
        ip(run, f"-n {name} link set eth0 up")
        if "prefix" not in kind and "network" not in kind and "container" not in kind:
            ip(run, f"-n {name} address add 10.244.0.9/24 dev eth0")
        ip(run, FOREIGN[kind].replace("name eth0", "name eth1").format(name, port=port))
        before = everything(run)
        assert restored() == ""
        assert status.read_status(run, None, ())["drift"] == []
        if "ptp" in kind:
            with pytest.raises(ValidationError, match=r"the foreign route 10\.244\.0\.9/32 dev veth0000000c"):
                node.converge(document(), run, check=False)
        else:
            assert not node.converge(document(), run, check=False).changed
        assert everything(run) == before
    finally:
        run(["ip", "netns", "del", name])


def test_without_pods_no_bridge_is_wanted(pods):
    """CNI's bridge plugin creates the bridge with the first Pod."""
    ip(pods.run, "link del tke-br0", *(f"link del {port}" for port in PODS))
    assert restored() == ""
    assert not node.converge(document(), pods.run, check=False).changed
    assert status.read_status(pods.run, None, ())["drift"] == []


def test_another_kind_of_link_with_the_name_of_the_bridge_is_reported(pods):
    ip(pods.run, "link del tke-br0", "link add tke-br0 type veth peer name other")
    done = subprocess.run(
        ["sh", f"{files.ROOT}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{files.ROOT}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "tke-br0 is not a bridge" in done.stderr
    assert "10.244.0.1" not in pods.run(["ip", "address", "show", "dev", "tke-br0"])[1]


def test_every_link_by_which_pods_leave_forwards(pods):
    """Several default routes, and the route to the load balancer; a link that is gone is left out."""
    run = pods.run
    for name in ("up1", "up2", "up3", "other"):
        ip(run, f"link add {name} type bridge", f"link set {name} up")
    ip(
        run,
        "route add default metric 7 nexthop dev up1 weight 1 nexthop dev up2 weight 1",
    )
    files.write_file(
        f"{STATE}/endpoint.batch", "route replace 10.9.0.0/28 via 10.9.9.1 dev up3 onlink proto 144\n", durable=False
    )
    ip(run, "route add 10.9.0.0/28 via 10.9.9.1 dev up3 onlink proto 144")
    for name in ("up1", "up2", "up3", "other"):
        broken(run, f"sysctl net/ipv4/conf/{name}/forwarding 0")
    drift = " ".join(status.read_status(run, document(), ())["drift"])
    text = restored()
    for name in ("up1", "up2", "up3"):
        assert f"conf/{name}/forwarding" in drift
        assert f"sysctl net/ipv4/conf/{name}/forwarding: was 0" in text
    assert "other" not in text + drift
    assert files.read_sysctls(["net/ipv4/conf/other/forwarding"]) == {"net/ipv4/conf/other/forwarding": "0"}
    assert restored() == ""


def test_a_run_that_cannot_set_a_sysctl_is_an_error(pods, monkeypatch):
    """The kernel's state is read back, the sysctls as well."""
    broken(pods.run, "sysctl net/ipv4/conf/tke-br0/forwarding 0")
    monkeypatch.setattr(kernel_change, "write_sysctl", lambda _key, _value: None)
    with pytest.raises(KernelError, match=r"net/ipv4/conf/tke-br0/forwarding is not 1"):
        node.converge(document(), pods.run, check=False)


# --- a kernel without br_netfilter: /proc/sys/net/bridge is hidden in a mount namespace ---

HIDE = """
mkdir "$1/empty" "$1/bin"
printf '#!/bin/sh\\n%s\\n' "$2" >"$1/bin/modprobe"
chmod +x "$1/bin/modprobe"
mount --bind "$1/empty" /proc/sys/net/bridge
mount -o remount,bind,ro /proc/sys/net/bridge
mount -t overlay -o "lowerdir=$1/bin:/usr/sbin" overlay /usr/sbin
TKE_OVERLAY_RUN="$3/run/tke-overlay" sh "$3/etc/tke-overlay/restore"
"""


def without_bridge_netfilter(tmp_path, modprobe):
    """Run the restore script where the module is not loaded; ``modprobe`` is the text of that program."""
    command = ["unshare", "--mount", "sh", "-c", HIDE, "sh", str(tmp_path), modprobe, files.ROOT]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_loads_the_module_at_boot(pods, tmp_path):
    broken(pods.run, "sysctl net/bridge/bridge-nf-call-iptables 0")
    done = without_bridge_netfilter(tmp_path, '[ "$*" = br_netfilter ] && umount /proc/sys/net/bridge')
    assert (done.returncode, done.stderr) == (0, "")
    assert "module br_netfilter: missing; sysctl net/bridge/bridge-nf-call-iptables: was 0" in done.stdout


def test_the_script_reports_a_module_that_cannot_be_loaded(pods, tmp_path):
    done = without_bridge_netfilter(tmp_path, "exit 1")
    assert done.returncode == 1
    assert "net/bridge/bridge-nf-call-iptables cannot be set" in done.stderr
    assert reached(pods) == ALL


def test_a_kernel_without_the_module_is_reported_and_no_failure(pods, tmp_path, monkeypatch):
    """Every other part of the host converges, and a second run changes nothing."""
    (tmp_path / "sys/net").mkdir(parents=True)
    (tmp_path / "sys/net/ipv4").symlink_to("/proc/sys/net/ipv4")
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path / "sys"))

    def run(command, text=None):
        return (1, "", "no such module") if command[0] == "modprobe" else pods.run(command, text)

    outcome = node.converge(document(), run, check=False)
    assert not outcome.bridge_netfilter
    assert not node.converge(document(), run, check=False).changed
    assert "net/bridge" not in files.read_files([f"{STATE}/sysctl"])[f"{STATE}/sysctl"]
    for wanted in (document(), None):
        (sentence,) = status.read_status(run, wanted, ())["drift"]
        assert "br_netfilter" in sentence
        assert "modprobe br_netfilter" in sentence
    assert restored() == ""
