# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import inventory, lab
from .system import LabError, Progress, check_name

_INTERRUPTED = 130

_ABOUT = """\
Runs the hosts of an Ansible inventory on this machine: a systemd container with its own network
namespace for every host, a router between their networks, and a controller that runs Ansible.
The machine's own network namespace does not change. TKE_LAB=NAME in the environment selects a
separate lab; several labs can run at the same time. TKE_LAB_CACHE=DIR keeps the base trees elsewhere.
"""

_UP = """\
Starts every host of the inventory whose ansible_host lies in one of lab_networks. A further run
starts missing hosts, repairs broken ones and removes hosts that are no longer in the inventory.
The first run builds a base tree for each Debian suite of the hosts (two minutes).
"""

_TREE = """\
Prints the directory of the base tree of a Debian suite, after building it if it is missing. Nothing
may be written there: hosts use it.
"""

_DOWN = """\
Stops all hosts and removes every process, mount, namespace and file of the lab. It does not read
the inventory, and works after `lab up` was killed. The base trees stay in the cache.
"""

_RUN = """\
Runs a command on the controller: with the files of this machine, the network of the lab, and
the checkout's .venv/bin first in PATH. For example:
  lab run ansible -i inventories/lab all -m ping
"""

_EXEC = """\
Runs a command on a host as root, also while the host is cut off. Exits with the exit code of the
command.
"""

_REBOOT = """\
Powers hosts off, gives each a new network namespace and boots them in parallel. As after a real
reboot, only files are kept and no state of the kernel. Without a name: every host.
"""

_POWEROFF = """\
Switches hosts off like a power failure: no service is stopped, and the links are removed at once.
`lab reboot` or `lab up` boots them again.
"""

_CUT = """\
Isolates hosts from all others: their links stay up, but no packet passes. The cut persists over a
reboot of the host, until `lab heal`.
"""


def main(argv: list[str]) -> int:
    """Run the verb of a command line and return the exit code."""
    options = _parser().parse_args(argv)
    try:
        check_name()
        verb: Callable[[argparse.Namespace], int | None] = options.verb
        return verb(options) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:  # such as a full disk or a read-only cgroup; the error names the file
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `lab up` continues, `lab down` cleans up", file=sys.stderr)
        sys.stdout.flush()
        os._exit(_INTERRUPTED)  # does not wait for hosts that are booting


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="lab", description=_ABOUT, formatter_class=raw)
    parser.add_argument(
        "-i", "--inventory", action="append", type=Path, metavar="INVENTORY",
        help=f"an inventory for `up`; can be repeated (default: {inventory.DEFAULT})",
    )  # fmt: skip
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(
        name: str, function: Callable[[argparse.Namespace], int | None], text: str, about: str
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=about, formatter_class=raw)
        made.set_defaults(verb=function)
        return made

    verb("up", _up, "start the lab, or its missing parts", _UP)
    tree = verb("tree", _tree, "print the base tree of a Debian suite", _TREE)
    tree.add_argument("suite", metavar="SUITE")
    down = verb("down", _down, "stop the lab and remove everything it created", _DOWN)
    down.add_argument("--purge", action="store_true", help="delete the cached base trees, too")
    status = verb("status", _status, "print the hosts", "Prints every host of the running lab.")
    status.add_argument("--json", action="store_true", help="as JSON")
    run = verb("run", _run, "run a command on the controller", _RUN)
    run.add_argument("command", metavar="CMD", nargs=argparse.REMAINDER)
    execute = verb("exec", _exec, "run a command on a host", _EXEC)
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("command", metavar="CMD", nargs=argparse.REMAINDER)
    reboot = verb("reboot", _reboot, "reboot hosts", _REBOOT)
    reboot.add_argument("hosts", metavar="HOST", nargs="*")
    poweroff = verb("poweroff", _poweroff, "switch hosts off like a power failure", _POWEROFF)
    poweroff.add_argument("hosts", metavar="HOST", nargs="+")
    cut = verb("cut", _cut, "isolate hosts from the network", _CUT)
    cut.add_argument("hosts", metavar="HOST", nargs="+")
    heal = verb("heal", _heal, "reconnect hosts", "Reconnects hosts that `lab cut` has isolated.")
    heal.add_argument("hosts", metavar="HOST", nargs="+")
    return parser


def _up(options: argparse.Namespace) -> None:
    lab.up(options.inventory or [inventory.DEFAULT], Progress())


def _tree(options: argparse.Namespace) -> None:
    lab.tree(options.suite, Progress())


def _down(options: argparse.Namespace) -> None:
    lab.down(options.purge, Progress())


def _reboot(options: argparse.Namespace) -> None:
    lab.reboot(options.hosts, Progress())


def _poweroff(options: argparse.Namespace) -> None:
    lab.poweroff(options.hosts, Progress())


def _cut(options: argparse.Namespace) -> None:
    lab.cut(options.hosts, True, Progress())


def _heal(options: argparse.Namespace) -> None:
    lab.cut(options.hosts, False, Progress())


def _run(options: argparse.Namespace) -> None:
    lab.run(_command(options))


def _exec(options: argparse.Namespace) -> None:
    lab.execute(options.host, _command(options))


def _command(options: argparse.Namespace) -> list[str]:
    words: list[str] = options.command
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise LabError("the command is missing; see --help")
    return words


def _status(options: argparse.Namespace) -> int:
    entries = lab.status()
    if options.json:
        print(json.dumps(entries, indent=2))
    else:
        print(table(entries))
    return 0 if all(entry["state"] == "up" for entry in entries) else 1


def table(entries: list[dict[str, Any]]) -> str:
    """Return the rows as a table with columns as wide as their widest cell."""
    rows = [[key.upper() for key in entries[0]]]
    rows += [[_cell(value) for value in entry.values()] for entry in entries]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return "-" if value is None else str(value)
