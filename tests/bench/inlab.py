# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Functions for the sections: commands on hosts of the lab, and Ansible on its controller."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.bench.report import BenchError
from tkelab import lab
from tkelab.model import ROUTER
from tkelab.system import NETNS, STATE

ROOT = Path(__file__).resolve().parents[2]
LAB = (sys.executable, str(ROOT / "tests" / "lab" / "lab"))
INVENTORY = ROOT / "inventories" / "lab" / "hosts.yml"


def require_controller() -> None:
    """Check that this process runs on the controller, because outside of the lab its addresses belong to other hosts.

    :raises BenchError: when this is not the network of the lab's controller.
    """
    controller = lab.current().controller.netns
    if not os.path.samefile("/proc/self/ns/net", NETNS / controller):
        raise BenchError("this is not the lab's controller: run `make bench`, or `tests/lab/lab run` this command")


def call(
    *command: str, seconds: float = 60, env: Mapping[str, str] | None = None, stdin: IO[bytes] | None = None
) -> str:
    """Run a command and return its output.

    :raises BenchError: when it fails; the error contains its last lines.
    """
    try:
        done = subprocess.run(
            command,
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"`{short(command)}` did not end within {seconds:.0f} s") from None
    out, errors = done.stdout.decode(), done.stderr.decode()
    if done.returncode:
        output = "\n    ".join((out + errors).strip().splitlines()[-12:])
        raise BenchError(f"`{short(command)}` ended with {done.returncode}:\n    {output}")
    return out


def short(command: tuple[str, ...]) -> str:
    """Return a command for an error, without the directory of this checkout."""
    return " ".join(command).replace(f"{ROOT}/", "")[:200]


def on(host: str, *command: str, seconds: float = 60) -> str:
    """Run a command on a host of the lab, as root, and return its output."""
    return call(*LAB, "exec", host, "--", *command, seconds=seconds)


def on_router(*command: str) -> str:
    """Run a command in the network namespace of the router between the sites."""
    return call("ip", "netns", "exec", ROUTER, *command)


def over_ssh(host: str, *command: str, seconds: float = 60, stdin: IO[bytes] | None = None) -> str:
    """Run a command on a host over SSH, like Ansible; the shell of the host splits the words."""
    ssh = ("ssh", "-F", str(STATE / "ssh" / "config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
    return call(*ssh, host, *command, seconds=seconds, stdin=stdin)


def playbook(name: str, limit: str = "all", *arguments: str) -> None:
    """Run a playbook in the lab."""
    call("ansible-playbook", "-i", str(INVENTORY), "--limit", limit, name, *arguments, seconds=300)


def copy(directory: Path, host: str, to: str) -> None:
    """Copy the files of a directory to a directory of a host."""
    with tempfile.TemporaryFile() as archive:
        subprocess.run(["tar", "-C", str(directory), "-c", "."], stdout=archive, check=True)
        archive.seek(0)
        over_ssh(host, "tar", "-C", to, "-x", "--no-same-owner", stdin=archive)
