# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The quick start with two minimal hosts: the test writes the files of the page and runs its commands.

The addresses of the page are replaced by those of the two hosts. The two commands that download Ansible and the
collection are replaced by the project's environment and the artifact.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess

import pytest

from stories import INVENTORY, LAB_STATE, MIRROR, ROOT, lab, run_script

testinfra_hosts = ["local://"]

PAGE = (ROOT / "collections/ansible_collections/tke/overlay/docs/quick-start.md").read_text()
BARE = pathlib.Path(__file__).with_name("bare.sh")
MACHINES = ROOT / "inventories/lab_newcomer/hosts.yml"
ADDRESSES = {"10.0.1.11": "10.0.1.19", "192.168.1.11": "192.168.1.19"}
KEPT = ("systemd", "systemd-sysv", "dbus", "openssh-server", "openssl", "procps", "python3", "iproute2")
"""The packages of the lab's list that stay on a minimal host; the others of such a host are their dependencies."""
MIRRORED = (
    "nftables", "libnftables1", "libnftnl11", "libjansson4", "libedit2", "libbsd0", "libmd0", "libmnl0", "libxtables12",
    "python3-apt", "python-apt-common", "distro-info-data",
)  # fmt: skip


@pytest.fixture(scope="module")
def machines():
    lab("-i", str(INVENTORY), "-i", str(MACHINES), "up")
    listed = [line.split("#")[0].strip() for line in (ROOT / "tests/lab/base-packages.txt").read_text().splitlines()]
    others = [name for name in listed if name and name not in KEPT]

    def make_bare(name):
        run_script(MIRROR, name, *MIRRORED)
        run_script(BARE, name, *others)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(make_bare, ("new1", "new2")))
    yield
    lab("-i", str(INVENTORY), "up")


@pytest.fixture(scope="module")
def newcomer(machines, tmp_path_factory):  # requires the machines
    """Return an empty home directory with the files that the page describes."""
    home = tmp_path_factory.mktemp("home")
    for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        path = home / text.split(maxsplit=2)[1]
        path.parent.mkdir(exist_ok=True)
        for former, address in ADDRESSES.items():
            text = text.replace(former, address)  # noqa: PLW2901 # the text with one more address exchanged
        path.write_text(text)
    return home


def typed(command, home):
    """Run a command of the page and return its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    environment |= {"HOME": str(home), "NO_COLOR": "1", "TMPDIR": str(home)}
    # Replaces the ~/.ssh of a user who can log in to the hosts.
    environment |= {"ANSIBLE_SSH_ARGS": f"-F {LAB_STATE}/ssh/config -o ControlMaster=auto -o ControlPersist=20s"}
    done = subprocess.run(
        shlex.split(command),
        check=False,
        cwd=home,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    warnings = [line for line in done.stdout.splitlines() if "[WARNING]" in line and NO_LEDGER not in line]
    assert not warnings, f"{command}\n{done.stdout}"
    return done.stdout


NO_LEDGER = "so a NEW one begins"
"""The page describes this warning: before the first run there is no ledger."""


def shown(word):
    """Return the indented block of the page that begins with this word."""
    (block,) = re.findall(rf"^    {word}.*\n(?:    .*\n)*", PAGE, re.MULTILINE)
    return [line[4:] for line in block.splitlines()]


def test_the_quick_start_leads_from_install_to_verify(newcomer):
    (artifact,) = (ROOT / ".cache/artifact").glob("*.tar.gz")
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    _venv, pip, galaxy, *commands = [line for block in blocks for line in block.splitlines()]
    assert pip == "pip install ansible-core netaddr", "the environment of the project contains the same packages"
    outputs = {galaxy: typed(galaxy.replace("tke.overlay", str(artifact)), newcomer)}
    assert "tke.overlay:" in outputs[galaxy]
    assert not (set(newcomer.iterdir()) - {newcomer / name for name in (".ansible", "hosts.yml", "group_vars")})
    outputs |= {command: typed(command, newcomer) for command in commands}
    site = "ansible-playbook -i hosts.yml tke.overlay.site"
    assert "2 hosts: 2 would change" in outputs[f"{site} --check --diff"]
    assert "2 hosts: 2 changed, 0 unchanged" in outputs[site]
    assert "2 hosts: 0 changed, 2 unchanged" in typed(site, newcomer), "a second run changes nothing"
    assert (newcomer / "overlay-ledger.json").exists()
    (healthy,) = shown("healthy: ")
    verified = outputs["ansible-playbook -i hosts.yml tke.overlay.verify"]
    assert re.search(re.escape(healthy).replace(r"0\.8\ ms\ cloud1\ \->\ idc1", r"[\d.]+ ms \w+ -> \w+"), verified)
    status = outputs["ansible-playbook -i hosts.yml tke.overlay.status"].splitlines()
    assert [line for line in shown("HOST .* PLAN") if line not in status] == []
    assert "VTEP: 10.244.1.0" in outputs["ansible -i hosts.yml overlay_nodes -a 'cat /etc/tke-overlay/summary'"]
