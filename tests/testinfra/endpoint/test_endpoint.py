# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of a host of the data centre and its API server: real clients, every failing stage, and a reboot."""

from __future__ import annotations

import base64
import datetime
import itertools
import json
import pathlib
import re
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stories import LAB, LAB_STATE, ROOT, joined, lab, ledger, play, site, until

testinfra_hosts = ["local://"]

VARIABLES = ("-e", f"@{ROOT}/molecule/endpoint/vars/main.yml")
KUBECONFIG = "/etc/kubernetes/kubelet.conf"
API, SERVICES = (ledger()["vips"][name] for name in ("apiserver", "services"))


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def tried(name, script):
    """Return the exit code and all output of a script that may fail."""
    done = subprocess.run(
        [LAB, "exec", name, "--", "sh", "-c", f"exec 2>&1; {script}"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def kubectl(name, *words):
    return tried(name, f"kubectl --kubeconfig {KUBECONFIG} --request-timeout 5 {' '.join(words)}")


def test_a_node_that_has_not_joined_can_join():
    """It has names and route, and no kubeconfig; a client that knows only the CA reaches the API server."""
    on("idc2", "test ! -e /etc/kubernetes")
    assert f"{API} api.lab.internal" in on("idc2", "getent hosts api.lab.internal | tr -s ' '")
    assert "10.0.2.0/24" in on("idc2", "ip route show proto 144")
    on("idc2", f"cat > /tmp/api-ca.crt <<'END'\n{(LAB_STATE / 'api-ca.crt').read_text()}END")
    assert on("idc2", "curl -sS -m 5 --cacert /tmp/api-ca.crt https://api.lab.internal:6443/readyz") == "ok"


@pytest.mark.parametrize("name", ["idc1", "cloud1"])
def test_kubectl_reaches_the_api_server_through_the_vip(name):
    assert "server: https://api.lab.internal:6443  # as when the node joined\n" in on(name, f"cat {KUBECONFIG}")
    assert on(name, f"stat -c '%a %U' {KUBECONFIG}") == "600 root\n"
    assert kubectl(name, "get --raw /readyz") == (0, "ok")
    code, text = kubectl(name, "get namespace default -o jsonpath={.metadata.name}:{.status.phase}")
    assert (code, text) == (0, "default:Active")
    assert on(name, "cat /etc/tke-overlay/api-endpoint") == f"{API}:6443\n"


def test_the_data_centre_reaches_api_servers_only_by_the_vip():
    code, text = kubectl("idc1", "--server https://10.0.1.21:6443 --request-timeout 1 get --raw /readyz")
    assert code != 0
    assert "ok" not in text


def test_services_answer_by_name_and_others_are_rejected():
    on("idc1", f"cat > /tmp/services-ca.crt <<'END'\n{(LAB_STATE / 'services-ca.crt').read_text()}END")
    curl = "curl -sS -m 5 --cacert /tmp/services-ca.crt"
    for name in ("registry", "objects"):
        assert f"{name}.lab.internal on " in on("idc1", f"{curl} https://{name}.lab.internal/")
    unknown = "unlisted.lab.internal"
    code, text = tried("idc1", f"{curl} --resolve {unknown}:443:{SERVICES} https://{unknown}/")
    assert code == 35, text


# --- every failing stage --------------------------------------------------------------------------

NOW = datetime.datetime.now(datetime.UTC)
SERVER = """
import http.server, ssl
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(500, explain="[-]etcd failed")
server = http.server.HTTPServer(("", {port}), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/{name}.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def pem(name, ends):
    """Return a key and a certificate of the lab's CA with this name and this end, as PEM."""
    authority = x509.load_pem_x509_certificate((LAB_STATE / "api-ca.crt").read_bytes())
    signing = serialization.load_pem_private_key((LAB_STATE / "api-ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder(authority.subject, x509.Name([]), key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=9))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(signing, hashes.SHA256())
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (key.private_bytes(*plain) + certificate.public_bytes(serialization.Encoding.PEM)).decode()


@pytest.fixture(scope="class")
def answers(tmp_path_factory):
    """Return the result of the module for endpoints that fail, some on clb1, which the data centre reaches."""
    servers = {
        "expired": (7441, pem("api.lab.internal", NOW - datetime.timedelta(days=1))),
        "unready": (7442, pem("api.lab.internal", NOW + datetime.timedelta(days=1))),
    }
    for name, (port, text) in servers.items():
        on("clb1", f"cat > /tmp/{name}.pem <<'END'\n{text}END")
        code = base64.b64encode(SERVER.format(port=port, name=name).encode()).decode()
        on("clb1", f"echo {code} | base64 -d > /tmp/{name}.py; systemd-run -q --unit {name} python3 /tmp/{name}.py")
    on("idc1", "ip address add 203.0.113.8/32 dev lo; ip route add blackhole 203.0.113.7")
    lines = f"{API} other.lab.internal\n10.0.1.21 far.lab.internal\n203.0.113.9 lost.lab.internal"
    lines += "\n203.0.113.8 own.lab.internal\n203.0.113.7 hole.lab.internal"
    on("idc1", f"cp -p /etc/hosts /tmp/hosts; echo '{lines}' >> /etc/hosts; ip route add unreachable 203.0.113.9")
    on("idc1", f"sed -i 's/^{API} api.lab.internal$/10.0.2.11 api.lab.internal/' /etc/hosts")
    cases = {
        "no name": {"name": "none.lab.internal", "address": API},
        "another address": {"name": "api.lab.internal", "address": API},
        "no route": {"name": "lost.lab.internal", "address": "203.0.113.9"},
        "own link": {"name": "own.lab.internal", "address": "203.0.113.8"},
        "blackhole": {"name": "hole.lab.internal", "address": "203.0.113.7"},
        "closed": {"name": "other.lab.internal", "address": API, "port": 7440},
        "dropped": {"name": "far.lab.internal", "address": "10.0.1.21"},
        "another name": {"name": "other.lab.internal", "address": API},
        "another CA": {"name": "other.lab.internal", "address": API, "ca": str(LAB_STATE / "services-ca.crt")},
        "expired": {"name": "api.lab.internal", "address": "10.0.2.11", "port": 7441},
        "unready": {"name": "api.lab.internal", "address": "10.0.2.11", "port": 7442},
    }
    file = tmp_path_factory.mktemp("stages") / "answers.json"
    given = json.dumps({"cases": cases, "answers": str(file)})
    for number in (7441, 7442):
        deadline = time.monotonic() + 20
        while f":{number}" not in on("clb1", "ss -Htln"):
            assert time.monotonic() < deadline
    done = play("molecule/endpoint/stages.yml", *VARIABLES, "-e", given)
    on("idc1", "cat /tmp/hosts > /etc/hosts; ip route del unreachable 203.0.113.9")
    on("idc1", "ip address del 203.0.113.8/32 dev lo; ip route del blackhole 203.0.113.7")
    on("clb1", "systemctl stop expired unready")
    assert done.code == 0, done.text
    return json.loads(file.read_text())


STAGES = {
    "no name": ("name", "none.lab.internal does not resolve ("),
    "another address": ("name", "api.lab.internal resolves to 10.0.2.11, expected"),
    "no route": ("route", "the kernel has no route to 203.0.113.9: "),
    "own link": ("tcp", "203.0.113.8 is an address of link lo of this host itself"),
    "blackhole": ("route", "the route 'blackhole 203.0.113.7' of this host discards the packets"),
    "closed": ("tcp", "tcp: Connection refused: no program listens there"),
    "dropped": ("tcp", "tcp: no answer within 5 s: a firewall drops the packets, or no host has this address"),
    "another name": ("tls", "Hostname mismatch, certificate is not valid for 'other.lab.internal'"),
    "another CA": ("tls", "by CN=lab-ca"),
    "expired": (
        "tls",
        "certificate has expired, verified with ca; the server presented subject (no name), for api.lab.internal",
    ),
    "unready": ("http", "GET /readyz: 500 Internal Server Error"),
}


class TestStages:
    @pytest.mark.parametrize("case", STAGES)
    def test_names_the_failing_stage_and_what_it_saw(self, answers, case):
        stage, words = STAGES[case]
        answer = answers[case]
        assert words in answer["msg"], answer["msg"]
        assert answer["failed_stage"] == stage
        assert f" does not answer. {stage}: " in answer["msg"]
        order = ["name", "route", "tcp", "tls", "http"]
        assert list(answer["stages"]) == order[: order.index(stage) + 1]
        assert all(f"{each}: {seen}" in answer["msg"] for each, seen in answer["stages"].items())


def test_verify_reports_that_all_api_servers_are_down():
    for name in ("api1", "api2"):
        on(name, "systemctl stop nginx")
    try:
        deadline = time.monotonic() + 20
        while kubectl("idc1", "get --raw /readyz")[0] == 0:
            assert time.monotonic() < deadline
        done = play("tke.overlay.verify", *VARIABLES, "-e", "overlay_api_timeout=0")
    finally:
        for name in ("api1", "api2"):
            on(name, "systemctl start nginx")
    assert done.code != 0
    words = f"cloud1, cloud2, idc1, idc2: api.lab.internal ({API}:6443) does not answer. "
    assert words in joined(done.text)
    assert "all servers behind it are down" in joined(done.text) or "no program listens there" in joined(done.text)
    deadline = time.monotonic() + 20
    while kubectl("idc1", "get --raw /readyz")[0] != 0:
        assert time.monotonic() < deadline


def test_verify_summarises_a_healthy_endpoint_in_a_line(tmp_path):
    """The CA is in a file as a mail program left it."""
    text = f"# M\u00fcller\n{(LAB_STATE / 'api-ca.crt').read_text()}".replace("\n", "\r\n")
    (tmp_path / "ca.crt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    done = play("tke.overlay.verify", *VARIABLES, "-e", f"overlay_api_ca={tmp_path / 'ca.crt'}")
    assert done.code == 0, done.text
    assert "API endpoint: 4 nodes reach the API server and every service through the load balancer" in joined(done.text)
    assert f"idc2: kubeconfig {KUBECONFIG} is not there yet" in joined(done.text)
    assert done.changed() == set()


# --- again, and after a reboot --------------------------------------------------------------------


def secrets():
    """Return pieces of the user's key that no output may show: as in the kubeconfig, and in clear."""
    key = (LAB_STATE / "api-user.key").read_text()
    encoded = base64.b64encode(key.encode()).decode()
    return [line for line in key.splitlines()[1:-1] if line] + [encoded[at : at + 24] for at in range(40, 200, 24)]


PID_OF_KUBELET = "systemctl show -p MainPID --value kubelet"
NO_KUBELET = "systemctl stop kubelet 2>/dev/null; rm -f /run/systemd/transient/kubelet.service; systemctl daemon-reload"
"""After a restart, a transient unit stays loaded when it ends."""
LOG_OF_KUBELET = "/run/stand-in-kubelet.log"
FORMER = "10.0.2.11:7443"
"""A server on clb1, which every node reaches."""


def start(name, unit, program, *arguments):
    """Start a program of Python as a service."""
    code = base64.b64encode(program.encode()).decode()
    path = f"/run/{unit}.py"
    words = " ".join(arguments)
    on(name, f"echo {code} | base64 -d > {path}; systemd-run -q --unit {unit} python3 {path} {words}")


def start_kubelet(name):
    """Start a service with the name of kubelet, which never reads its kubeconfig again; return its process."""
    program = (pathlib.Path(__file__).parent / "stand_in_kubelet.py").read_text()
    on(name, f"{NO_KUBELET}; rm -f {LOG_OF_KUBELET}")
    start(name, "kubelet", program, LOG_OF_KUBELET, KUBECONFIG)
    return on(name, PID_OF_KUBELET)


def connections(name):
    """Return the servers to which kubelet has connected, one after the other."""
    return re.findall(r"connected \d+ (\S+)", on(name, f"cat {LOG_OF_KUBELET} || true"))


def interruption(name):
    """Return when kubelet stopped, and when its successor was connected."""
    (times,) = re.findall(r"stops (\d+)\nconnected (\d+)", on(name, f"cat {LOG_OF_KUBELET}"))
    return tuple(map(int, times))


@pytest.fixture
def former_server():
    """Run a server that accepts connections and keeps them, as the API server before the load balancer did."""
    listen = f"import socket, time\ns = socket.create_server(('', {FORMER.rpartition(':')[2]}))\n"
    start("clb1", "former-server", f"{listen}kept = []\nwhile True:\n    kept.append(s.accept())\n")
    until("clb1", "ss -Htln | grep -q :7443", 10)
    yield FORMER
    on("clb1", "systemctl stop former-server")


def join(name, server):
    """Let a node join: its kubeconfig appears with the former server, and kubelet connects to it."""
    text = on("cloud1", f"cat {KUBECONFIG}").replace("https://api.lab.internal:6443", f"https://{server}")
    on(name, f"mkdir -p /etc/kubernetes; umask 77; cat > {KUBECONFIG} <<'END'\n{text}END")
    pid = start_kubelet(name)
    until(name, f"grep -q connected {LOG_OF_KUBELET}", 10)
    return pid


def test_a_run_fixes_drift_and_shows_no_secret(former_server):
    text = on("idc1", f"cat {KUBECONFIG}")
    assert any(piece in text for piece in secrets()), "the file holds the secret"
    on("idc1", f"sed -i 's,https://api.lab.internal:6443,https://me:verysecret@10.9.9.9:1,' {KUBECONFIG}")
    on("idc1", "sed -i '/api.lab.internal/d' /etc/hosts; ip route del 10.0.2.0/24")
    on("idc1", f"sed 's,https://me:verysecret@10.9.9.9:1,https://10.9.9.9:1,' {KUBECONFIG} >/etc/kubernetes/admin.conf")
    before = start_kubelet("idc1")
    done = site(*VARIABLES, "--limit", "idc1", "--diff", "-vvv", "-e", "overlay_kubeconfig_backup=true")
    assert done.changed() == {"idc1"}
    text_of_run = joined(done.text)
    assert "/etc/kubernetes/admin.conf (https://10.9.9.9:1)" in text_of_run, "it still has the former server"
    assert "idc1: kubelet.service uses the former server of its kubeconfig" in text_of_run
    assert "1 host: 1 changed, 0 unchanged" in text_of_run
    assert on("idc1", PID_OF_KUBELET) == before
    assert "+server of cluster lab: https://api.lab.internal:6443" in done.text
    assert "-server of cluster lab: https://10.9.9.9:1" in done.text
    assert [piece for piece in [*secrets(), "verysecret"] if piece in done.text] == []
    assert on("idc1", f"cat {KUBECONFIG}") == text
    assert "600 root" in on("idc1", f"stat -c '%a %U' {KUBECONFIG}.*~; rm {KUBECONFIG}.*~")
    on("idc1", "rm /etc/kubernetes/admin.conf")
    nodes = {"idc1": before, **{name: join(name, former_server) for name in ("idc2", "cloud2")}}
    done = site(*VARIABLES, "-e", '{"overlay_kubeconfig_services": ["kubelet"]}')
    assert done.changed() == set(nodes), "idc1 has only a restart"
    for name, pid in nodes.items():
        assert on(name, PID_OF_KUBELET) not in (pid, "0\n")
        assert connections(name)[-1] == f"{API}:6443"
        assert "server: https://api.lab.internal:6443" in on(name, f"cat {KUBECONFIG}")
    assert connections("idc2") == [former_server, f"{API}:6443"]
    interruptions = sorted(interruption(name) for name in nodes)
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(interruptions)), interruptions
    done = site(*VARIABLES, "-e", '{"overlay_kubeconfig_services": ["kubelet"]}')
    assert done.changed() == set()
    assert "uses the former server" not in done.text
    assert "not there yet" not in done.text
    for name in nodes:
        on(name, NO_KUBELET)


def test_status_shows_what_keeps_sudo_from_running_a_module():
    keys = "mkdir -p ~ops/.ssh; cp /root/.ssh/authorized_keys ~ops/.ssh/; chown -R ops ~ops"
    rights = "ops ALL=(ALL) NOPASSWD: ALL\\nDefaults:ops requiretty\\n"
    on(
        "idc1",
        f"useradd -m -s /bin/bash ops; {keys}; printf '{rights}' >/etc/sudoers.d/ops; chmod 440 /etc/sudoers.d/ops",
    )
    done = play("tke.overlay.status", "--limit", "idc1", "-e", "ansible_user=ops", "-e", "ansible_become=true")
    on("idc1", "rm /etc/sudoers.d/ops; userdel -f -r ops 2>/dev/null || true")
    assert "idc1: sudo: sorry, you must have a tty to run sudo: remove 'requiretty'" in joined(done.text)


def test_a_rebooted_host_reaches_the_api_server():
    lab("reboot", "idc1")
    deadline = time.monotonic() + 30
    while kubectl("idc1", "get --raw /readyz") != (0, "ok"):
        assert time.monotonic() < deadline
    assert re.search(r"10.0.2.0/24 via 192.168.1.1 dev eth0 onlink", on("idc1", "ip route show proto 144"))
    assert site(*VARIABLES, "--limit", "idc1").changed() == set()


def test_reset_removes_names_route_and_the_noted_endpoint():
    done = play("tke.overlay.reset", "--limit", "idc1", "-e", "overlay_reset_confirmed=true", "--diff")
    assert done.code == 0, done.text
    assert f"-/etc/hosts: {API} api.lab.internal" in done.text
    assert "lab.internal" not in on("idc1", "cat /etc/hosts")
    assert on("idc1", "ip route show proto 144; ls /etc/tke-overlay 2>&1 || true").startswith("ls: cannot access")
    assert site(*VARIABLES, "--limit", "idc1").changed() == {"idc1"}
    assert kubectl("idc1", "get --raw /readyz") == (0, "ok")
