# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The guide docs/kubernetes.md of the collection, steps 1 to 7: its files, and its commands as they are written there.

What the guide requires of its reader is prepared: a runtime, kubeadm and kubelet, SSH, and a controller that knows the
name of the API server. The transcript is in .cache/kubernetes/guide.log.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from . import bootstrap
from .hosts import LAB_STATE, PROGRAMS, ROOT, StepError, inventory, on, run, send
from .traffic import Row

DOCS = ROOT / "collections/ansible_collections/tke/overlay/docs"
PAGE = DOCS / "kubernetes.md"
HOME = LAB_STATE / "guide"
LOG = ROOT / ".cache/kubernetes/guide.log"
NODES = ("api1", "api2", "cloud1", "idc1")
STEPS = range(1, 8)
EXPECTED_WARNINGS = ("so a NEW one begins", "overlay_kubernetes_ca_hashes")
"""Those that the guide, or the quick start, describes."""

NOT_REACHED = "cannot be reached"
REPEATED: list[str] = []
"""Commands that were typed twice, for instance because a busy machine stopped the API servers for a moment."""

Block = tuple[str, str]


def blocks(text: str) -> list[Block]:
    """Return the YAML and shell blocks of a text, each with its language."""
    return [(kind, content) for kind, content in re.findall(r"^```(yaml|sh)\n(.*?)^```$", text, re.M | re.S)]


def commands(text: str) -> list[str]:
    """Return the commands of the shell blocks of a text, one a line."""
    shell = [content for kind, content in blocks(text) if kind == "sh"]
    return [line for content in shell for line in content.replace("\\\n", " ").splitlines()]


def between(text: str, start: str, end: str) -> str:
    """Return what is between two headings."""
    return text.partition(f"\n{start}")[2].partition(f"\n{end}")[0]


def step_of(page: str, number: int) -> str:
    """Return the text of a step, which begins with its title."""
    return between(page, f"### {number}. ", "### " if number != max(STEPS) else "## ")


def guide(images: tuple[Path, Path]) -> Iterator[Row]:
    """Follow the guide, and yield a line for each step and for what it promises."""
    page = PAGE.read_text()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.write_text("")
    write_files(between(page, "## What you need", "## kubeadm, step by step"))
    prepare(images)
    outputs: list[str] = []
    for number in STEPS:
        text = step_of(page, number)
        repeated = len(REPEATED)
        done = [output for block in blocks(text) for output in follow(block)]
        row = Row(f"guide, step {number}: {text.partition(chr(10))[0]}", len(done), len(REPEATED) - repeated)
        row.note = "; ".join(REPEATED[repeated:])
        yield row
        outputs += done
        if number == 5:
            yield ready(text)
        if number == 6:
            yield dns()
    warnings = [line for text in outputs for line in text.splitlines() if "[WARNING]" in line]
    others = [line for line in warnings if not any(words in line for words in EXPECTED_WARNINGS)]
    about = "guide: outputs without an unexplained warning"
    yield Row(about, len(outputs), len(others), note="; ".join(others))
    found = re.search(r"healthy: (\d+) of (\d+) tests", outputs[-1])
    passed, tests = (int(found[1]), int(found[2])) if found else (0, 1)
    yield Row("guide: conformance", tests, tests - passed)


# --- what the guide requires -----------------------------------------------------------------------


def write_files(text: str) -> None:
    """Write the files of the guide and of the quick start, and what only the lab needs."""
    quick_start = between((DOCS / "quick-start.md").read_text(), "## 2. The inventory", "## 3.")
    (_hosts, common), (listed, more) = (
        [content for kind, content in blocks(source) if kind == "yaml"] for source in (quick_start, text)
    )
    (HOME / "group_vars").mkdir(parents=True, exist_ok=True)
    (HOME / "hosts.yml").write_text(listed)
    (HOME / "group_vars/all.yml").write_text(common + more)
    (HOME / "vault-password").write_text("of the lab\n")
    for line in commands(text):  # the two secrets
        typed(line)
    variables = inventory()["_meta"]["hostvars"]["api1"]
    extra = {kind: dict(fields) for kind, fields in variables["overlay_kubernetes_extra"].items()}
    for kind in ("InitConfiguration", "JoinConfiguration"):
        extra[kind] = {"nodeRegistration": variables["lab_registration"], "timeouts": variables["lab_timeouts"]}
    own = yaml.safe_load(more)["overlay_kubernetes_extra"]["ClusterConfiguration"]
    extra["ClusterConfiguration"] = {
        **own,
        "imageRepository": "lab.internal",
        "etcd": {"local": {"imageTag": "3.5.16-0"}},
    }
    (HOME / "group_vars/overlay_nodes.yml").write_text(yaml.safe_dump({"overlay_kubernetes_extra": extra}))
    name = yaml.safe_load(more)["overlay_api_name"]
    (HOME / "hosts").write_text(f"{Path('/etc/hosts').read_text()}\n10.0.2.2 {name}\n")


def prepare(images: tuple[Path, Path]) -> None:
    """Prepare containerd, kubelet and kubeadm on the nodes."""
    for name in NODES:
        bootstrap.prepare(name, images[0])
        on(name, f"ln -sf {PROGRAMS}/kubeadm {PROGRAMS}/kubectl {PROGRAMS}/kubelet /usr/local/bin/")
        if name.startswith("api"):
            send(name, images[1], "ctr -n k8s.io images import -")


# --- the reader ------------------------------------------------------------------------------------


def follow(block: Block) -> list[str]:
    """Do what a block says: add variables, or run its commands; return the outputs of the commands."""
    kind, text = block
    if kind == "yaml":
        with (HOME / "group_vars/all.yml").open("a") as file:
            file.write(text)
        return []
    found = []
    for line in commands(f"```sh\n{text}```"):
        if not line.startswith("kubeadm"):
            found.append(typed(line))
        elif line.startswith("kubeadm init"):
            found.append(logged(f"api1# {line}", on("api1", f"{line} 2>&1", seconds=600)))
        else:
            found += [logged(f"{name}# {line}", on(name, f"{line} 2>&1", seconds=600)) for name in NODES[1:]]
    return found


def typed(line: str) -> str:
    """Run a command; once more if the API server did not answer, as its error advises."""
    try:
        return typed_once(line)
    except StepError as error:
        if NOT_REACHED not in str(error):
            raise
    REPEATED.append(f"typed again, because the API server did not answer: {line}")
    bootstrap.await_ready([*NODES])
    return typed_once(line)


def typed_once(line: str) -> str:
    """Run a command in the directory of the inventory, on a controller that finds the API server by its name."""
    environment = {key: value for key, value in os.environ.items() if key != "ANSIBLE_CONFIG"}
    # Replaces the ~/.ssh of a user who can log in to the hosts.
    environment["ANSIBLE_SSH_ARGS"] = f"-F {LAB_STATE}/ssh/config -o ControlMaster=auto -o ControlPersist=20s"
    environment["ANSIBLE_VAULT_PASSWORD_FILE"] = str(HOME / "vault-password")
    hosts = HOME / "hosts"
    script = f'[ ! -e {hosts} ] || mount --bind {hosts} /etc/hosts; cd {HOME} && eval "$0" 2>&1'
    try:
        output = run(["unshare", "--mount", "bash", "-c", script, line], seconds=900, env=environment)
    except StepError as error:
        logged(f"$ {line}", str(error))
        raise
    return logged(f"$ {line}", output)


def logged(command: str, output: str) -> str:
    """Write a command with its output to the transcript; return the output."""
    with LOG.open("a") as file:
        file.write(f"{command}\n{output}\n")
    return output


# --- what it promises ------------------------------------------------------------------------------


def ready(text: str) -> Row:
    """Does the command of the page show every node Ready."""
    (command,) = re.findall(r"`(kubectl [^`]*get nodes)`", text)
    bootstrap.await_ready([*NODES])
    listing = logged(f"api1# {command}", on("api1", command))
    late = [name for name in NODES if not re.search(rf"^{name} +Ready ", listing, re.MULTILINE)]
    return Row("guide: nodes Ready in both sites", len(NODES), len(late), note=", ".join(late))


def dns() -> Row:
    """Does the DNS of kubeadm become ready once the Service kubernetes leads to the VIP."""
    row = Row("guide: Pods of CoreDNS ready after step 6", 1)
    command = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system rollout status deployment/coredns"
    try:
        logged(f"api1# {command}", on("api1", f"{command} --timeout=180s", seconds=200))
    except (StepError, subprocess.SubprocessError) as error:
        row.lost, row.note = 1, str(error)[-300:]
    return row
