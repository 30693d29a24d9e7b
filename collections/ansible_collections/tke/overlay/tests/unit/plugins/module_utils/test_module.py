# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules run programs, and what they require of a host."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils import _module
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._module import Runner


@pytest.fixture
def run():
    return Runner()


@pytest.mark.parametrize("text", ["a line\n", "route \udcff \u00e4\n", 30_000 * "neighbour\n"])
def test_a_program_gets_its_input_unchanged(run, text):
    assert run(["cat"], text) == (0, text, "")


def test_errors_of_a_program_that_ends_early_are_kept(run):
    result = run(["sh", "-c", "read -r line; echo refused $line >&2; exit 1"], "first\n" + 300_000 * "a line\n")
    assert result == (1, "", "refused first\n")


def test_output_errors_and_exit_code_are_separate(run):
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], None) == (3, "out\n", "err\n")


def test_arguments_are_not_expanded(run):
    assert run(["printf", "%s %s", "$HOME", "~"], None) == (0, "$HOME ~", "")


def test_a_missing_program_is_exit_code_127(run):
    for text in (None, "a line\n"):
        assert run(["no-such-program", "-x"], text) == (127, "", "no-such-program: No such file or directory")


def test_a_process_in_the_background_is_not_awaited(run, tmp_path):
    """The process holds the output of the program until this test creates a file, or for ten seconds at most."""
    wait = """
        left=1000
        ( while [ ! -e "$1" ] && [ "$left" -gt 0 ]; do left=$((left - 1)); sleep 0.01; done; touch "$1.over" ) &
        echo started
    """
    ended = tmp_path / "ended"
    assert run(["sh", "-c", wait, "sh", str(ended)], None) == (0, "started\n", "")
    assert not (tmp_path / "ended.over").exists()
    ended.touch()


def test_programs_run_with_a_fixed_locale_and_path(run, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["sh", "-c", "echo $LC_ALL $PATH"], None)[1] == "C /usr/sbin:/usr/bin:/sbin:/bin\n"


def test_several_programs_run_at_the_same_time(run, tmp_path):
    """Each program waits up to ten seconds for a file that the other one creates."""
    wait = """
        touch "$1.$2"
        left=1000
        while [ ! -e "$1.$3" ] && [ "$left" -gt 0 ]; do left=$((left - 1)); sleep 0.01; done
        [ -e "$1.$3" ] || exit 9
        echo "$2 '$4'"; echo err >&2; exit "$2"
    """
    orders = (("3", "4"), ("4", "3"))
    jobs = [(["sh", "-c", wait, "sh", str(tmp_path / "there"), *order, "a b $HOME"], None) for order in orders]
    assert run.together(jobs) == [(3, "3 'a b $HOME'\n", "err\n"), (4, "4 'a b $HOME'\n", "err\n")]
    assert run.together([]) == []
    large = ["sh", "-c", "yes neighbour | head -n 30000"]
    jobs = [(large, None), (large, None), (["cat"], None), (["cat"], "a\n")]
    assert [len(out) for _code, out, _errors in run.together(jobs)] == [300_000, 300_000, 0, 2]
    assert run.together([(["no-such-program"], None)])[0][0] == 127


@pytest.mark.parametrize(
    ("there", "missing", "packages"),
    [
        ((), "ip, bridge, ss, nft", "iproute2 and nftables"),
        (("ip", "bridge", "ss"), "nft", "nftables"),
        (("ip", "ss", "nft"), "bridge", "iproute2"),
    ],
)
def test_missing_programs_are_named_with_their_packages(monkeypatch, tmp_path, there, missing, packages):
    for name in there:
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr(_module, "PROGRAM_PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ValidationError, match=f"^this host has no {missing}: install {packages}$"):
        _module.runner()


def test_a_module_without_root_names_the_setting(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ValidationError, match="become: true"):
        _module.runner()
