# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what can be at the path of a kubeconfig, and of the addresses of a former server."""

from __future__ import annotations

import os

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig_change import (
    read_kubeconfigs,
    server_addresses,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.spec import EndpointSpec

PATH = "/etc/kubernetes/kubelet.conf"
TEXT = """\
kind: Config
clusters:
- name: a
  cluster: {server: "https://10.9.9.9:6443"}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The path of the kubeconfig, which does not exist."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    place = tmp_path / PATH[1:]
    place.parent.mkdir(parents=True)
    return place


def read(required):
    problems = []
    spec = EndpointSpec({"api.x": "10.0.2.2"}, "api.x", 6443, kubeconfigs=[PATH], kubeconfigs_required=required)
    return read_kubeconfigs(spec, problems), problems


def loop(place):
    place.symlink_to(place)


def file_as_directory(place):
    place.parent.rmdir()
    place.parent.write_text("")


def linked(place):
    (place.parent / "real.conf").write_text(TEXT)
    place.symlink_to("real.conf")


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda place: place.mkdir(), "is a directory: correct the path in kubeconfigs (overlay_kubeconfigs)"),
        (lambda place: place.symlink_to("/none"), "is a symbolic link to /none, which leads to no file"),
        (loop, "is a symbolic link to "),
        (os.mkfifo, "is no regular file"),
        (lambda place: place.write_text(""), "is empty, as after a loss of power: restore it, or remove it and join"),
        (lambda place: place.write_text(" \n\n"), "is empty"),
        (file_as_directory, "cannot be read: Not a directory"),
        (lambda place: place.write_bytes(b"\xff"), "is not encoded in UTF-8"),
        (lambda place: place.write_text("kind: Pod"), "is no kubeconfig"),
    ],
)
def test_what_is_no_kubeconfig_is_an_error(place, make, words, required):
    make(place)
    changes, problems = read(required)
    (problem,) = problems
    assert PATH in problem
    assert words in problem
    assert (changes.missing, changes.edits) == ([], [])


def test_an_unreadable_one_is_an_error(place, monkeypatch):
    place.write_text(TEXT)

    def fails(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "read_foreign", fails)
    changes, problems = read(False)
    assert problems == [f"kubeconfig {PATH} cannot be read: Permission denied"]
    assert changes.missing == []


@pytest.mark.parametrize("parent", [True, False])
def test_a_missing_one_is_an_error_only_where_it_is_required(place, parent):
    if not parent:
        place.parent.rmdir()
    changes, problems = read(False)
    assert (changes.missing, changes.edits, problems) == ([PATH], [], [])
    changes, problems = read(True)
    (problem,) = problems
    for words in (PATH, "is not there", "overlay_kubeconfigs_required", "join the host"):
        assert words in problem
    assert changes.missing == []


@pytest.mark.parametrize("make", [lambda place: place.write_text(TEXT), linked])
def test_a_kubeconfig_is_changed(place, make):
    make(place)
    changes, problems = read(True)
    assert (changes.missing, problems, changes.former) == ([], [], ["https://10.9.9.9:6443"])
    assert "https://api.x:6443" in changes.edits[0].after


@pytest.mark.parametrize("second", [PATH, "/etc/kubernetes//kubelet.conf", "/etc/link.conf"])
def test_a_kubeconfig_that_is_listed_twice_is_changed_once(place, second):
    place.write_text(TEXT)
    (place.parents[1] / "link.conf").symlink_to("kubernetes/kubelet.conf")
    for paths in ([PATH, second], [second, PATH]):
        problems = []
        spec = EndpointSpec({"api.x": "10.0.2.2"}, "api.x", 6443, kubeconfigs=paths)
        changes = read_kubeconfigs(spec, problems)
        assert ([edit.path for edit in changes.edits], problems) == (paths[:1], [])


HOSTS = "127.0.0.1 localhost\n10.9.9.7 Api.Old other # api.new\n10.9.9.8 api.old\n# 10.1.1.1 api.old\n"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://10.9.9.9:6443", ["10.9.9.9:6443"]),
        ("https://10.9.9.9", ["10.9.9.9:443"]),
        ("https://[fd00::1]:6443/", ["[fd00::1]:6443"]),
        ("https://api.old:6443", ["10.9.9.7:6443", "10.9.9.8:6443"]),
        ("https://api.new:6443", []),
        ("https://x:port", []),
        ("nothing", []),
    ],
)
def test_addresses_of_a_former_server_are_found_without_dns(url, found):
    assert server_addresses([url], HOSTS) == found
