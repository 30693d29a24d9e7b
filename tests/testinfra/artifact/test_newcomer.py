# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The quick start, as somebody follows it with two bare machines: its files and its commands, from install to verify.

The page's addresses are exchanged for those of the two machines, and the two commands that ask the wider internet for
Ansible and the collection for what is there already: the environment of the project, and the artifact.
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
"""What a bare machine has of the lab's list; an SSH server brings the rest of it along."""
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
def newcomer(machines, tmp_path_factory):  # the machines are there first
    """An empty home directory, and the files that the page says to write."""
    home = tmp_path_factory.mktemp("home")
    for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        path = home / text.split(maxsplit=2)[1]
        path.parent.mkdir(exist_ok=True)
        for former, address in ADDRESSES.items():
            text = text.replace(former, address)  # noqa: PLW2901 # the text with one more address exchanged
        path.write_text(text)
    return home


def typed(command, home):
    """What a command of the page prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    environment |= {"HOME": str(home), "NO_COLOR": "1", "TMPDIR": str(home)}
    # What somebody with two machines has in his ~/.ssh already.
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
    assert "WARNING" not in done.stdout, f"{command}\n{done.stdout}"
    return done.stdout


def shown(word):
    """The indented lines of the page that begin with this one."""
    (block,) = re.findall(rf"^    {word}.*\n(?:    .*\n)*", PAGE, re.MULTILINE)
    return [line[4:] for line in block.splitlines()]


def test_the_page_leads_from_install_to_verify(newcomer):
    (artifact,) = (ROOT / ".cache/artifact").glob("*.tar.gz")
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    _venv, pip, galaxy, *commands = [line for block in blocks for line in block.splitlines()]
    assert pip == "pip install ansible-core netaddr", "what the environment of the project has, too"
    said = {galaxy: typed(galaxy.replace("tke.overlay", str(artifact)), newcomer)}
    assert "tke.overlay:" in said[galaxy]
    assert not (set(newcomer.iterdir()) - {newcomer / name for name in (".ansible", "hosts.yml", "group_vars")})
    said |= {command: typed(command, newcomer) for command in commands}
    site = "ansible-playbook -i hosts.yml tke.overlay.site"
    assert "2 hosts: 2 would change" in said[f"{site} --check --diff"]
    assert "2 hosts: 2 changed, 0 as they should be" in said[site]
    assert "2 hosts: 0 changed, 2 as they should be" in typed(site, newcomer), "a second run changes nothing"
    assert (newcomer / "overlay-ledger.json").exists()
    (healthy,) = shown("healthy: ")
    verified = said["ansible-playbook -i hosts.yml tke.overlay.verify"]
    assert re.search(re.escape(healthy).replace(r"0\.8\ ms\ cloud1\ \->\ idc1", r"[\d.]+ ms \w+ -> \w+"), verified)
    status = said["ansible-playbook -i hosts.yml tke.overlay.status"].splitlines()
    assert [line for line in shown("HOST ") if line not in status] == []
    assert "VTEP: 10.244.1.0" in said["ansible -i hosts.yml overlay_nodes -a 'cat /etc/tke-overlay/summary'"]
