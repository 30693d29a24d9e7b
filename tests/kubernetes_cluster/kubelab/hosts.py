# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Commands on the hosts of the lab, and the files that the test writes there."""

from __future__ import annotations

import concurrent.futures
import json
import os
import string
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tkelab.lab import entrance
from tkelab.system import LabError

ROOT = Path(__file__).resolve().parents[3]
LAB = ROOT / "tests/lab/lab"
FILES = Path(__file__).parents[1] / "files"
INVENTORIES = [ROOT / "inventories/lab/hosts.yml", ROOT / "inventories/lab_kubernetes/hosts.yml"]
ADDED = ROOT / "inventories/lab_kubernetes/added.yml"  # in the lab from the start, in the cluster later
LAB_STATE = Path(os.environ.get("TKE_LAB_STATE", "/var/lib/tke-overlay-lab"))  # `lab run` sets it
PROGRAMS = "/opt/kubernetes"  # on a host
CONTROL = "api1"
KUBECTL = f"{PROGRAMS}/kubectl --kubeconfig=/etc/kubernetes/admin.conf"


class StepError(Exception):
    """A step of the test that failed; the text names the command and its output."""


def run(
    command: list[str], *, stdin: str | None = None, seconds: float = 300, env: dict[str, str] | None = None
) -> str:
    """Run a command, which must succeed, and return its output."""
    try:
        done = subprocess.run(
            command, input=stdin or "", env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StepError(f"{' '.join(command)[:300]}: no end after {seconds:.0f} s: {error.stdout!r}") from None
    if done.returncode:
        raise StepError(f"{' '.join(command)[:300]}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def lab(*words: str, seconds: float = 300) -> str:
    """Run a verb of the lab."""
    return run([str(LAB), *words], seconds=seconds)


def entered(name: str, script: str) -> tuple[list[str], dict[str, str]]:
    """Return a command that runs a shell script on a host, and its environment. It does not use SSH."""
    try:
        words, environment = entrance(name)
    except LabError as error:
        raise StepError(str(error)) from None
    return [*words, "sh", "-c", script], environment


def on(name: str, script: str, *, stdin: str | None = None, seconds: float = 300) -> str:
    """Run a shell script on a host and return its output."""
    command, environment = entered(name, script)
    return run(command, stdin=stdin, seconds=seconds, env=environment)


def send(name: str, source: Path, script: str) -> None:
    """Run a shell script on a host with a file as its standard input."""
    command, environment = entered(name, script)
    with source.open("rb") as file:
        done = subprocess.run(command, stdin=file, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(f"{name}: {script}: {done.stdout}{done.stderr}")


def write(name: str, path: str, text: str) -> None:
    """Write a file on a host."""
    on(name, f"mkdir -p $(dirname {path}) && cat >{path}", stdin=text)


def filled(file: str, /, **values: str) -> str:
    """Return a file of this test with its variables replaced."""
    return string.Template((FILES / file).read_text()).substitute(values)


def kubectl(words: str, *, stdin: str | None = None, seconds: float = 120) -> str:
    """Run kubectl on the first API server, with the administrator's kubeconfig."""
    return on(CONTROL, f"{KUBECTL} {words}", stdin=stdin, seconds=seconds)


def apply(text: str) -> None:
    """Create or change objects; an API server that has just started refuses that for a while."""
    until("kubectl apply", lambda: bool(kubectl("apply --validate=false -f -", stdin=text)), 120)


def objects(words: str) -> dict[str, Any]:
    """Return what `kubectl get` finds."""
    found: dict[str, Any] = json.loads(kubectl(f"get {words} -o json"))
    return found


def each(work: Callable[[str], Any], names: Iterable[str]) -> dict[str, Any]:
    """Call a function for several hosts at the same time, and return its results by host."""
    names = list(names)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(work, names), strict=True))


def until(what: str, condition: Callable[[], bool], seconds: float) -> float:
    """Wait until a condition holds, and return how long it took."""
    start = time.monotonic()
    error = ""
    while time.monotonic() < start + seconds:
        try:
            if condition():
                return time.monotonic() - start
        except StepError as raised:
            error = f": {raised}"
        time.sleep(0.5)
    raise StepError(f"after {seconds:.0f} s not yet: {what}{error}")


def inventory() -> dict[str, Any]:
    """Return the inventory as Ansible reads it."""
    sources = [word for path in INVENTORIES for word in ("-i", str(path))]
    listing: dict[str, Any] = json.loads(run(["ansible-inventory", *sources, "--list"]))
    return listing


def play(playbook: str, *arguments: str) -> str:
    """Run a playbook as a user does, and return its output, with its warnings, which Ansible writes to stderr."""
    sources = [word for path in INVENTORIES for word in ("-i", str(path))]
    command = ["ansible-playbook", *sources, playbook, *arguments]
    return run(["sh", "-c", 'exec "$@" 2>&1', "sh", *command], seconds=900)


def screen(playbook: str, *arguments: str) -> str:
    """Run a playbook that may find faults, and return its complete output."""
    sources = [word for path in INVENTORIES for word in ("-i", str(path))]
    command = ["ansible-playbook", *sources, playbook, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False).stdout
