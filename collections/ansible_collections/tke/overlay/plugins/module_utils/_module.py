# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that run on a host share: arguments, running programs, results and errors."""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import PROGRAM_PATH
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Job, Run

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
        result = work(module, runner(module))
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
    """Runs programs with ``run_command`` of ``AnsibleModule``; a :data:`Run`."""

    def __init__(self, run_command: t.Callable[..., tuple[int, str, str]]) -> None:
        self._run_command = run_command

    def __call__(self, command: t.Sequence[str], text: str | None) -> tuple[int, str, str]:
        """Run one program. The exit code for a program that does not exist is 127, as in a shell.

        Its standard input is a file: a pipe breaks when a batch ends at its first failure, and ``run_command`` then
        discards the errors of the program.
        """
        if not text:
            return self._run(command)
        with _memory_file() as stdin:
            _write(stdin, text)
            shell = ["/bin/sh", "-c", f'exec "$@" <{_path_of(stdin)}', "sh"]
            return self._run([*shell, *command], pass_fds=[stdin.fileno()])

    def together(self, programs: t.Sequence[Job]) -> list[tuple[int, str, str]]:
        """Run several listings at the same time.

        One shell starts all of them, because each ``run_command`` forks the whole module: threads would cost one fork
        each. Input and output are files in memory.
        """
        with contextlib.ExitStack() as stack:
            files = [[stack.enter_context(_memory_file()) for _each in range(4)] for _program in programs]
            jobs = []
            for (command, text), four in zip(programs, files):
                _write(four[0], text)
                jobs.append("{{ {} <{} >{} 2>{}; echo $? >{}; }} &".format(shlex.join(command), *map(_path_of, four)))
            descriptors = [stream.fileno() for four in files for stream in four]
            self._run(["/bin/sh", "-c", " ".join([*jobs, "wait"])], pass_fds=descriptors)
            texts = [[_text_of(stream) for stream in four[1:]] for four in files]
        return [(int(code or 127), out, errors) for out, errors, code in texts]

    def _run(self, command: t.Sequence[str], **options: t.Any) -> tuple[int, str, str]:
        try:
            return self._run_command(
                list(command),
                environ_update={"LC_ALL": "C", "PATH": PROGRAM_PATH},
                expand_user_and_vars=False,
                handle_exceptions=False,
                errors="surrogateescape",
                **options,
            )
        except OSError as error:
            return 127, "", f"{command[0]}: {error.strerror}"


def runner(module: AnsibleModule) -> Run:
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
    return Runner(module.run_command)


def _memory_file() -> t.BinaryIO:
    return open(os.memfd_create("tke-overlay"), "w+b")


def _write(stream: t.BinaryIO, text: str | None) -> None:
    stream.write((text or "").encode("utf-8", "surrogateescape"))
    stream.flush()


def _path_of(stream: t.BinaryIO) -> str:
    return f"/proc/self/fd/{stream.fileno()}"  # dash does not support descriptors of two digits


def _text_of(stream: t.BinaryIO) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "surrogateescape")
