# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what keeps a container runtime from starting Pods of the overlay."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import kubelet
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE, conflist
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni_checks import check_cni
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import (
    BAD,
    NOTE,
    WARNING,
    planned_network,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import CniPlugins
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import RESERVED

OWN = conflist("10.244.0.0/24", "tke-br0", 1400)
FLANNEL = json.dumps({"cniVersion": "0.4.0", "name": "cbr0", "plugins": [{"type": "flannel"}]})
CHAINED = json.dumps({**json.loads(OWN), "plugins": [*json.loads(OWN)["plugins"], {"type": "linkerd-cni"}]})
DIRECTORY = "/etc/cni/net.d"


def answering(_command, _text, versions=("0.3.1", "0.4.0")):
    """Answer as a plugin that is asked for its version."""
    return 0, json.dumps({"cniVersion": versions[-1], "supportedVersions": versions}), ""


@pytest.fixture
def network(document):
    return planned_network(document)._replace(bridge="tke-br0")


class Host:
    """The files of a host below a directory."""

    def __init__(self, root):
        self.root = root

    def write(self, path, text="", mode=0o644):
        there = self.root / path[1:]
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        there.chmod(mode)

    def remove(self, path):
        (self.root / path[1:]).unlink()

    def plugins(self, directory, *names):
        for name in names:
            self.write(f"{directory}/{name}", "#!/bin/sh\n", 0o755)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A node with its CNI file and plugins."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(kubelet, "PROC", str(tmp_path))
    there = Host(tmp_path)
    there.write(CNI_FILE, OWN)
    there.write("/etc/tke-overlay/summary", "node_cidr: 10.244.0.0/24\n")
    there.plugins("/usr/lib/cni", "bridge", "host-local", "portmap", "loopback")
    return there


def test_a_complete_host_has_no_finding(host, network):
    assert check_cni(network, answering) == []


def test_the_missing_file_is_a_finding_once_it_was_saved(host, network):
    host.remove(CNI_FILE)
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("cni_file", BAD)
    assert CNI_FILE in finding.text
    host.remove("/etc/tke-overlay/summary")
    assert check_cni(network, answering) == [], "the first run writes the file last"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("10-containerd-net.conflist", "{}"),
        ("05-cilium.conflist", "not JSON"),
        ("00-old.conf", json.dumps({"type": "bridge", "bridge": "cni0"})),
        ("0.json", "[]"),
        (".hidden.conf", json.dumps({"type": "bridge", "bridge": "cni0"})),
        (
            "09-old.conflist",
            conflist("10.244.7.0/24", "tke-br0", 1400),
        ),
    ],
)
def test_names_a_foreign_file_that_the_runtime_uses_instead(host, network, name, text):
    host.write(f"{DIRECTORY}/{name}", text)
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("foreign_cni", BAD)
    assert f"{DIRECTORY}/{name} sorts before 10-tke-overlay.conflist" in finding.text
    assert f"mv {DIRECTORY}/{name} {DIRECTORY}/{name}.off" in finding.remedy


def test_flannels_file_is_removed_with_its_other_leftovers(host, network):
    host.write(f"{DIRECTORY}/10-flannel.conflist", FLANNEL)
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("flannel", BAD)
    assert f"{DIRECTORY}/10-flannel.conflist sorts before" in finding.text
    assert "overlay_remove_flannel=true" in finding.remedy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("87-podman-bridge.conflist", FLANNEL),
        ("10-flannel.conflist.bak", FLANNEL),
        ("05-cilium.conflist.cilium_bak", FLANNEL),
        (".10-tke-overlay.conflist.x1", FLANNEL),
        ("00-multus.conf", json.dumps({"type": "multus", "clusterNetwork": "tke-overlay"})),
        ("01-linkerd-cni.conflist", CHAINED),
    ],
)
def test_a_file_that_does_not_win_or_leads_here_is_no_fault(host, network, name, text):
    host.write(f"{DIRECTORY}/{name}", text)
    assert check_cni(network, answering) == []


def test_names_all_files_that_sort_before(host, network):
    for name in ("05-cilium.conflist", "10-flannel.conflist"):
        host.write(f"{DIRECTORY}/{name}", FLANNEL)
    (finding,) = check_cni(network, answering)
    assert f"{DIRECTORY}/05-cilium.conflist, {DIRECTORY}/10-flannel.conflist sort before" in finding.text


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        ("/etc/containerd/config.toml", '[cni]\n  conf_dir = "/srv/net.d"\n', "/srv/net.d"),
        ("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "  conf_dir = '/srv/net.d'\n", "/srv/net.d"),
        ("/etc/crio/crio.conf.d/10.conf", '[crio.network]\nnetwork_dir = "/srv/crio/"\n', "/srv/crio"),
    ],
)
def test_names_another_directory_of_the_runtime(host, network, path, text, named):
    host.write(path, text)
    (finding,) = check_cni(network, answering)
    assert finding.check == "foreign_cni"
    assert f"reads the CNI files of {named}, and not those of {DIRECTORY}" in finding.text


IMPORTS = f'imports = ["conf.d/*.toml"]\nconf_dir = "{DIRECTORY}"\n'
DROP_IN = "/etc/containerd/conf.d/cni.toml"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"/etc/containerd/config.toml": IMPORTS, DROP_IN: 'conf_dir = "/srv/a"\n'}, "/srv/a"),
        ({"/etc/containerd/config.toml": IMPORTS, DROP_IN: 'bin_dir = "/usr/lib/cni"\n'}, None),
        ({"/etc/containerd/config.toml": IMPORTS, f"{DROP_IN}.bak": 'conf_dir = "/srv/a"\n'}, None),
        ({"/etc/containerd/config.toml": "version = 2\n", DROP_IN: 'conf_dir = "/srv/a"\n'}, None),
        ({"/etc/containerd/config.toml": 'conf_dir = "/srv/a"\nimports = ["/etc/x.toml"]\n'}, "/srv/a"),
        (
            {
                "/etc/containerd/config.toml": 'conf_dir = "/srv/a"\nimports = ["/etc/x.toml"]\n',
                "/etc/x.toml": f"conf_dir = '{DIRECTORY}'\n",
            },
            None,
        ),
        (
            {
                "/etc/crio/crio.conf": f'network_dir = "{DIRECTORY}"\n',
                "/etc/crio/crio.conf.d/50-x.rpmsave": 'network_dir = "/srv/b"\n',
            },
            "/srv/b",
        ),
        ({"/etc/crio/crio.conf": f'network_dir = "{DIRECTORY}"\n', DROP_IN: 'conf_dir = "/srv/a"\n'}, None),
    ],
)
def test_the_last_file_of_a_runtime_that_sets_a_key_counts(host, network, written, named):
    for path, text in written.items():
        host.write(path, text)
    findings = check_cni(network, answering)
    assert [f"reads the CNI files of {named}, and not" in each.text for each in findings] == ([True] if named else [])


@pytest.mark.parametrize(
    "text", ['# conf_dir = "/srv"\n', 'conf_dir = "/etc/cni/net.d/"\n', 'conf_dir = ""\n', 'my_conf_dir = "/srv"\n']
)
def test_other_settings_of_the_runtime_are_no_fault(host, network, text):
    host.write("/etc/containerd/config.toml", text)
    assert check_cni(network, answering) == []


def test_names_plugins_that_are_missing_or_not_executable(host, network):
    host.remove("/usr/lib/cni/portmap")
    host.write("/usr/lib/cni/bridge", "", 0o644)
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("plugins", BAD)
    for word in ("the CNI plugins bridge, portmap, which", CNI_FILE, "/opt/cni/bin, /usr/lib/cni, /usr/libexec/cni"):
        assert word in finding.text
    for word in ("containernetworking-plugins", "overlay_cni_bin_dirs"):
        assert word in finding.remedy


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/containerd/config.toml", '[plugins."io.containerd.grpc.v1.cri".cni]\n      bin_dir = "/opt/cni/bin"\n'),
        ("/etc/containerd/config.toml", "bin_dirs = ['/opt/cni/bin', \"/srv/bin\"]\n"),
        ("/etc/containerd/conf.d/a.toml", 'bin_dir = "/opt/cni/bin"\n'),
        ("/etc/crio/crio.conf", '[crio.network]\nplugin_dirs = [\n\t"/opt/cni/bin/",\n]\n'),
    ],
)
def test_looks_where_the_runtime_looks(host, network, path, text):
    """Debian installs the plugins in /usr/lib/cni, and upstream's containerd looks in /opt/cni/bin."""
    host.write(path, text)
    (finding,) = check_cni(network, answering)
    assert "bridge, host-local, portmap" in finding.text
    assert "are not in /opt/cni/bin" in finding.text
    assert "look in /usr/lib/cni, or copy from there to /opt/cni/bin" in finding.remedy
    host.plugins("/opt/cni/bin", "bridge", "host-local", "portmap")
    assert check_cni(network, answering) == []


def test_the_variable_overrides_the_configuration(host, network):
    host.write("/etc/containerd/config.toml", 'bin_dir = "/opt/cni/bin"\n')
    assert check_cni(network._replace(bin_dirs=["/usr/lib/cni"]), answering) == []
    (finding,) = check_cni(network._replace(bin_dirs=["/srv/bin"]), answering)
    assert "/srv/bin" in finding.text


def test_missing_plugins_are_a_note_before_kubernetes_is_installed(host, network):
    for name in ("bridge", "host-local", "portmap", "loopback"):
        host.remove(f"/usr/lib/cni/{name}")
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("plugins", NOTE)
    host.write("/var/lib/kubelet/config.yaml")
    (finding,) = check_cni(network, answering)
    assert finding.severity == BAD


def test_reads_the_plugins_from_the_file_itself(host, network):
    host.write(CNI_FILE, CHAINED)
    (finding,) = check_cni(network, answering)
    assert "the CNI plugin linkerd-cni, which" in finding.text
    host.write(CNI_FILE, "edited by hand")
    assert check_cni(network, answering) == [], "status shows it as drift"


def test_all_addresses_reserved(host, network):
    small = network._replace(node_cidr="10.244.0.0/29")
    for number in range(2, 6):
        host.write(f"{RESERVED}/10.244.0.{number}")
    for name in ("lock", "last_reserved_ip.0", "10.244.9.2", "1.2.3.4.5"):
        host.write(f"{RESERVED}/{name}")
    assert check_cni(small, answering) == []
    host.write(f"{RESERVED}/10.244.0.6")
    (finding,) = check_cni(small, answering)
    assert finding.check == "addresses"
    assert "all 5 Pod addresses of 10.244.0.0/29" in finding.text
    assert RESERVED in finding.remedy


# --- plugins that come and go ---


def test_a_plugin_that_came_later_is_named(host, network):
    host.plugins("/usr/lib/cni", "bandwidth")
    (finding,) = check_cni(network, lambda *_: answering(*_, versions=["0.4.0", "1.0.0"]))
    assert (finding.check, finding.severity) == ("cni_file", NOTE)
    for words in (CNI_FILE, "has no bandwidth", "has version 0.4.0, and they support 1.0.0"):
        assert words in finding.text
    assert "tke.overlay.site" in finding.remedy
    offered = CniPlugins(["portmap", "bandwidth"], ["0.4.0", "1.0.0"])
    host.write(CNI_FILE, conflist("10.244.0.0/24", "tke-br0", 1400, offered))
    assert check_cni(network, lambda *_: answering(*_, versions=["0.4.0", "1.0.0"])) == []


def test_an_optional_plugin_that_went_away_has_two_remedies(host, network):
    host.remove("/usr/lib/cni/portmap")
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("cni_file", BAD)
    assert "the CNI plugin portmap, which" in finding.text
    assert "Install in /opt/cni/bin" in finding.remedy
    assert "To do without it: ansible-playbook tke.overlay.site" in finding.remedy
    host.write(CNI_FILE, conflist("10.244.0.0/24", "tke-br0", 1400, CniPlugins([], ["0.4.0"])))
    (finding,) = check_cni(network, answering)
    assert (finding.check, finding.severity) == ("plugins", NOTE)
    assert "the CNI plugin portmap is not in" in finding.text
    assert "no Pod gets a host port" in finding.text


# --- kubelet ---

CONFIG = "/var/lib/kubelet/config.yaml"


@pytest.mark.parametrize(
    ("path", "text", "number", "origin"),
    [
        (CONFIG, "kind: KubeletConfiguration\nmaxPods: 250\n", 250, CONFIG),
        (CONFIG, '{"kind":"KubeletConfiguration","maxPods": 200}', 200, CONFIG),
        (CONFIG, "kind: KubeletConfiguration # of {x, maxPods: 9}\n", 110, "its default"),
        (CONFIG, "kind: KubeletConfiguration\n", 110, "its default"),
        ("/var/lib/kubelet/kubeadm-flags.env", 'KUBELET_KUBEADM_ARGS="--v=2 --max-pods=99"\n', 99, "kubeadm-flags.env"),
        ("/etc/default/kubelet", "#--max-pods=1\nKUBELET_EXTRA_ARGS='--max-pods 98'\n", 98, "/etc/default/kubelet"),
        ("/etc/rancher/k3s/config.yaml", "kubelet-arg:\n  - max-pods=97\n", 97, "/etc/rancher/k3s/config.yaml"),
        ("/etc/rancher/rke2/config.yaml.d/9.yaml", 'kubelet-arg+: ["max-pods=96"]\n', 96, "config.yaml.d/9.yaml"),
    ],
)
def test_more_pods_than_addresses_are_a_warning(host, network, path, text, number, origin):
    if path != CONFIG:
        host.write("/etc/rancher/rke2/config.yaml" if "rke2" in path else CONFIG, "maxPods: 7\n")
    host.write(path, text)
    small = network._replace(node_cidr="10.244.0.0/26")
    (finding,) = [each for each in check_cni(small, answering) if each.check == "max_pods"]
    assert finding.severity == WARNING
    for words in (f"kubelet accepts {number} Pods (", origin, "10.244.0.0/26 has 61 addresses"):
        assert words in finding.text
    assert "Set maxPods to 61 or less" in finding.remedy
    if number <= 253:
        assert [each for each in check_cni(network, answering) if each.check == "max_pods"] == []


def test_the_running_kubelet_counts_before_its_files(host, network):
    host.write("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--max-pods=98\n")
    host.write("/srv/kubelet.yaml", "maxPods: 300\n")
    host.write("/77/cmdline", "/usr/bin/kubelet\0--config=/srv/kubelet.yaml\0--max-pods\x00500\0")
    (finding,) = check_cni(network, answering)
    assert "kubelet accepts 500 Pods (flag --max-pods)" in finding.text
    host.write("/77/cmdline", "/usr/bin/kubelet\0--config\0/srv/kubelet.yaml\0--config-dir=/srv/d\0")
    host.remove("/etc/default/kubelet")
    (finding,) = check_cni(network, answering)
    assert "kubelet accepts 300 Pods (/srv/kubelet.yaml)" in finding.text
    host.write("/srv/d/10.conf", "maxPods: 200\n")
    host.write("/srv/d/README", "maxPods: 999\n")
    assert check_cni(network, answering) == []


def test_a_host_without_kubelet_has_no_limit(host, network):
    assert check_cni(network._replace(node_cidr="10.244.0.0/28"), answering) == []
