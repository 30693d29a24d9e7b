# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that run on a host share: arguments, running programs, results and errors."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import PROGRAM_PATH
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Job, Output, Run

if t.TYPE_CHECKING:
    from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import Entry, TableTask

Result = t.Dict[str, t.Any]

PROGRAMS = {"ip": "iproute2", "bridge": "iproute2", "ss": "iproute2", "nft": "nftables"}
"""Program -> package. Every module requires all of them, because a node needs all of them."""

DOCUMENT = {
    "schema": {"type": "int", "required": True},
    "cluster": {"type": "str", "required": True},
    "device": {"type": "str", "required": True},
    "vni": {"type": "int", "required": True},
    "port": {"type": "int", "required": True},
    "mtu": {"type": "int", "required": True},
    "bridge": {"type": "str", "required": True},
    "container_cidr": {"type": "list", "elements": "str", "required": True},
    "service_cidr": {"type": "str", "required": True},
    "fleet": {"type": "str", "required": True},
    "former": {"type": "str"},
    "ledger_versions": {"type": "str"},
    "links": {"type": "str"},
    "wireguard_port": {"type": "int"},
    "wireguard_generation": {"type": "int"},
    "wireguard_next_port": {"type": "int"},
}
"""The argument ``document`` of the modules that apply the plan; it lacks only ``node``, the name of the host."""


def document_of(params: t.Mapping[str, t.Any]) -> NodeDocument:
    """Return the node document of this host, from the arguments ``document`` and ``name``."""
    given = {key: value for key, value in params["document"].items() if value is not None or key == "former"}
    return t.cast(NodeDocument, {**given, "node": params["name"]})


def run_module(argument_spec: dict[str, t.Any], work: t.Callable[[AnsibleModule, Run], Result], **rules: t.Any) -> None:
    """Run the ``main`` of a module: parse the arguments, do the work, and return its result or one error.

    :param rules: further rules of ``AnsibleModule`` about the arguments, such as ``required_if``.
    """
    # This process is short, and none of the objects of 5,000 peers becomes garbage before its end.
    gc.disable()
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **rules)
    try:
        result = work(module, runner())
    except (ValidationError, KernelError) as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(invocation={"module_args": _short(module.params)}, **result)


def _short(params: t.Mapping[str, t.Any]) -> Result:
    """Return the arguments for the result without long texts: otherwise each of 5,000 hosts returns 190 KB of fleet."""
    short = {key: value for key, value in params.items() if key != "confirmation"}
    if params.get("document"):
        short["document"] = {**params["document"], "fleet": "(omitted)", "former": "(omitted)"}
    if params.get("sites"):
        short["sites"] = dict.fromkeys(params["sites"], "(omitted)")
    return short


def run_bulk_module(entry: dict[str, t.Any], tasks_of: t.Callable[[str, t.Sequence[Entry]], list[TableTask]]) -> None:
    """Run the ``main`` of a module that manages one kind of entry.

    :param entry: the argument specification of one entry.
    :param tasks_of: returns the tables and their desired entries, from device and entries.
    """

    # Only these modules need it, and Python compiles a module at each import on a host.
    from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import (  # noqa: PLC0415
        BulkOptions,
        converge,
    )

    def work(module: AnsibleModule, run: Run) -> Result:
        params = module.params
        tasks = tasks_of(params["device"], params["entries"])
        options = BulkOptions(params["device"], params["state"], params["purge"])
        deltas = converge(tasks, options, run, module.check_mode)
        lines = [delta.lines() for delta in deltas]
        diffs = [
            Diff(f"{task.table.name} of {params['device']}", delta.before(), delta.after())
            for task, delta in zip(tasks, deltas)
            if delta
        ]
        return {
            "changed": any(deltas),
            "added": [text for each in lines for text in each["added"]],
            "changed_entries": [text for each in lines for text in each["changed"]],
            "removed": [text for each in lines for text in each["removed"]],
            "foreign": [text for each in lines for text in each["foreign"]],
            **diff_of(module, diffs),
        }

    run_module(
        {
            "device": {"type": "str", "required": True},
            "entries": {"type": "list", "elements": "dict", "options": entry, "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "bool", "default": False},
        },
        work,
    )


def diff_of(module: AnsibleModule, diffs: t.Iterable[Diff]) -> Result:
    """Return the ``diff`` of a result, in diff mode."""
    if not module._diff:
        return {}
    headers = [
        {"before_header": diff.name, "after_header": diff.name, "before": diff.before, "after": diff.after}
        for diff in diffs
    ]
    return {"diff": headers}


class Runner:
    """Runs programs; a :data:`Run`.

    Not by ``run_command`` of ``AnsibleModule``: that copies the process with ``fork`` for each program, which takes
    several milliseconds in a process with 5,000 peers; :mod:`subprocess` without a function to run before the program
    does not, from Python 3.10 on.

    Input and output are files in memory. A pipe as input would break when a batch ends at its first failure; the end of
    a pipe as output would wait for processes that a program leaves in the background.
    """

    def __call__(self, command: t.Sequence[str], text: str | None) -> Output:
        """Run one program. The exit code for a program that does not exist is 127, as in a shell."""
        return self.together([(command, text)])[0]

    def together(self, programs: t.Sequence[Job]) -> list[Output]:
        """Run several listings at the same time."""
        environment = {**os.environ, "LC_ALL": "C", "PATH": PROGRAM_PATH}
        with contextlib.ExitStack() as stack:
            started = [_start(job, environment, stack) for job in programs]
            return [result() for result in started]


def _start(job: Job, environment: t.Mapping[str, str], stack: contextlib.ExitStack) -> t.Callable[[], Output]:
    """Start a program; return a function that awaits its end and returns its result.

    :param stack: ends what this function has begun.
    """
    command, text = job
    stdin, out, errors = (stack.enter_context(_memory_file(each)) for each in (text or "", "", ""))
    words = [word.encode("utf-8", "surrogateescape") for word in command]
    try:
        process = stack.enter_context(subprocess.Popen(words, stdin=stdin, stdout=out, stderr=errors, env=environment))
    except OSError as error:
        missing = f"{command[0]}: {error.strerror}"
        return lambda: (127, "", missing)
    return lambda: (process.wait(), _text_of(out), _text_of(errors))


def runner() -> Run:
    """Return the function that runs programs on this host.

    :raises ValidationError: a required program is missing, or the module does not run as root.
    """
    if os.geteuid() != 0:
        raise ValidationError(
            "only root can change the tables of the kernel: set 'become: true', or ansible_become for the host"
        )
    missing = [name for name in PROGRAMS if shutil.which(name, path=PROGRAM_PATH) is None]
    if missing:
        packages = sorted({PROGRAMS[name] for name in missing})
        raise ValidationError(f"this host has no {', '.join(missing)}: install {' and '.join(packages)}")
    return Runner()


def _memory_file(text: str) -> t.BinaryIO:
    stream = open(os.memfd_create("tke-overlay"), "w+b")  # noqa: SIM115 - its user closes it
    stream.write(text.encode("utf-8", "surrogateescape"))
    stream.seek(0)
    return stream


def _text_of(stream: t.BinaryIO) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "surrogateescape")
