# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The private keys of WireGuard: made once, for root only, and in no output."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.wireguard_key import (
    ensure_key,
    key_files,
    remove_keys,
)

KEY = "/etc/tke-overlay/wireguard-0.key"


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def path_on(host):
    return host / KEY[1:]


def test_a_key_is_made_once_and_only_root_can_read_it(host, run):
    made = ensure_key(0, run, check=False)
    secret = path_on(host).read_text()
    assert made.changed
    assert made.public_key == run(["wg", "pubkey"], secret)[1].strip()
    assert path_on(host).stat().st_mode & 0o777 == 0o600
    again = ensure_key(0, run, check=False)
    assert (again.public_key, again.changed) == (made.public_key, False)
    assert path_on(host).read_text() == secret
    assert ensure_key(1, run, check=False).public_key != made.public_key


def test_check_mode_makes_no_key_and_shows_the_same_diff(host, run):
    expected = ensure_key(0, run, check=True)
    assert (expected.public_key, expected.changed) == ("-", True)
    assert not path_on(host).exists()
    made = ensure_key(0, run, check=False)
    assert made.diff == expected.diff
    assert ensure_key(0, run, check=True) == (made.public_key, made.diff._replace(before=made.diff.after))


def test_wrong_rights_are_corrected(host, run):
    key = ensure_key(0, run, check=False).public_key
    path_on(host).chmod(0o644)
    expected = ensure_key(0, run, check=True)
    assert "mode 0644" in expected.diff.before
    assert path_on(host).stat().st_mode & 0o777 == 0o644
    corrected = ensure_key(0, run, check=False)
    assert (corrected.diff, corrected.public_key) == (expected.diff, key)
    assert path_on(host).stat().st_mode & 0o777 == 0o600
    assert not ensure_key(0, run, check=False).changed


@pytest.mark.parametrize("content", ["", "not a key\n", "AAAA"])
def test_a_damaged_key_stays_and_the_error_names_the_remedy(host, run, content):
    path_on(host).parent.mkdir(parents=True)
    path_on(host).write_text(content)
    with pytest.raises(ValidationError, match=r"wireguard-0\.key is not a private key.*backup.*tke.overlay.reset"):
        ensure_key(0, run, check=False)
    assert path_on(host).read_text() == content


def test_a_link_in_the_place_of_a_key_is_an_error(host, run):
    path_on(host).parent.mkdir(parents=True)
    path_on(host).symlink_to("/dev/zero")
    with pytest.raises(ValidationError, match="is not a regular file"):
        ensure_key(0, run, check=False)


def test_a_failed_wg_leaves_no_file(host, run):
    def failing(command, text=None):
        return (1, "", "no random numbers") if "genkey" in " ".join(command) else run(command, text)

    with pytest.raises(KernelError, match=r"no private key to .*no random numbers"):
        ensure_key(0, failing, check=False)
    assert key_files() == []


def test_a_full_disk_leaves_no_file(host, run):
    """``wg genkey`` ends with 0 there."""
    full = path_on(host).parent
    full.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)])
    try:
        (full / "other").write_bytes(bytes(4096))
        with pytest.raises(KernelError, match=r"no private key to .*free space"):
            ensure_key(0, run, check=False)
        assert key_files() == []
        (full / "other").unlink()
        assert ensure_key(0, run, check=False).changed
    finally:
        run(["umount", str(full)])


def test_a_host_without_wg_is_one_error(host, run):
    def without_wg(command, text=None):
        return (127, "", "wg: not found") if command[0] == "wg" else run(command, text)

    with pytest.raises(ValidationError, match="install wireguard-tools"):
        ensure_key(0, without_wg, check=True)
    assert not path_on(host).parent.exists()


def test_removing_keys_is_shown_first_and_done_once(host, run):
    for generation in (0, 1, 2, 10):
        ensure_key(generation, run, check=False)
    (host / "etc/tke-overlay/.wireguard-2.key.abc").touch()
    before, kept = key_files(), KEY.replace("0", "2")
    assert before[:2] == ["/etc/tke-overlay/.wireguard-2.key.abc", KEY]
    expected = remove_keys([2, 3], check=True)
    assert expected.generations == [0, 1, 10]
    assert sorted(diff.name for diff in expected.diffs) == [name for name in before if name != kept]
    assert key_files() == before
    assert remove_keys([2, 3], check=False) == expected
    assert key_files() == [kept]
    assert remove_keys([2, 3], check=False) == ([], [])
    with pytest.raises(ValidationError, match="generation -1"):
        remove_keys([-1], check=False)


@pytest.mark.parametrize("generation", [-1, 1_000_001])
def test_a_generation_out_of_range_is_an_error(host, run, generation):
    with pytest.raises(ValidationError, match=f"generation {generation}"):
        ensure_key(generation, run, check=False)


def test_the_module_prints_no_private_key(run, tmp_path):
    """The module itself, as Ansible runs it, with its output and the arguments of its programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"
    (programs / "wg").write_text(f'#!/bin/sh\necho "$0 $*" >>{log}\nexec /usr/bin/wg "$@"\n')
    (programs / "wg").chmod(0o755)
    script = (
        "import sys; from ansible_collections.tke.overlay.plugins.module_utils import _module; "
        "from ansible_collections.tke.overlay.plugins.module_utils._host import files; "
        f"files.ROOT = {str(tmp_path)!r}; "
        f"_module.PROGRAM_PATH = '{programs}:' + _module.PROGRAM_PATH; "
        "from ansible_collections.tke.overlay.plugins.modules import wireguard_key; wireguard_key.main()"
    )
    arguments = {"ANSIBLE_MODULE_ARGS": {"generation": 0, "_ansible_diff": True, "_ansible_verbosity": 4}}
    done = subprocess.run(
        ["python3", "-c", script],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(path for path in __import__("sys").path if path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    secret = path_on(tmp_path).read_text().strip()
    assert json.loads(done.stdout)["changed"] is True
    assert secret not in done.stdout + done.stderr + log.read_text()
    assert "genkey" in log.read_text()
