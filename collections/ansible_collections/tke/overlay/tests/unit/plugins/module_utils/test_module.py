# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""How the modules run the programs of a host."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils import _module
from ansible_collections.tke.overlay.plugins.module_utils._addressing import Refusal
from ansible_collections.tke.overlay.plugins.module_utils._module import run_program


@pytest.mark.parametrize("text", [None, "", "a line\n", "route \udcff \u00e4\n", 300_000 * "neighbour\n"])
def test_what_a_program_is_given_comes_back_to_the_last_byte(text):
    assert run_program(["cat"], text) == (0, text or "", "")


def test_exit_code_and_errors_are_told_apart_from_the_output():
    assert run_program(["sh", "-c", "echo out; echo err >&2; exit 3"], None) == (3, "out\n", "err\n")


def test_a_program_that_is_not_there_is_an_exit_code_and_its_name():
    assert run_program(["no-such-program", "-x"], None) == (127, "", "no-such-program: No such file or directory")


def test_programs_speak_english_and_come_from_the_directories_of_the_system(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", "/nowhere")
    assert run_program(["sh", "-c", "echo $LC_ALL $PATH"], None)[1] == "C /usr/sbin:/usr/bin:/sbin:/bin\n"


@pytest.mark.parametrize(
    ("there", "missing", "packages"),
    [
        ((), "ip, bridge, ss, nft", "iproute2 and nftables"),
        (("ip", "bridge", "ss"), "nft", "nftables"),
        (("ip", "ss", "nft"), "bridge", "iproute2"),
    ],
)
def test_what_a_host_lacks_is_named_with_its_package(monkeypatch, tmp_path, there, missing, packages):
    for name in there:
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr(_module, "_PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(Refusal, match=f"^this host has no {missing}: install {packages}$"):
        _module.runner()


def test_without_being_root_it_says_what_to_set(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Refusal, match="become: true"):
        _module.runner()
