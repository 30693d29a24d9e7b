# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has happened to a text that should be a ledger: each kind of damage has its own words and cure."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.damage import (
    has_conflict,
    normalized,
    reason_of,
    reason_of_binary,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request

LEDGER = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
LEDGER.assign([Request("a"), Request("b")], "2026-01-02T03:04:05Z")
TEXT = LEDGER.text()
CONFLICT = TEXT.replace(' "cursor"', '<<<<<<< HEAD\n "cursor": 1,\n=======\n "cursor"').replace(
    ' "applied"', '>>>>>>> other\n "applied"'
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["it is empty"]),
        (" \n", ["it is empty"]),
        (CONFLICT, ["conflict markers of git"]),
        (CONFLICT.replace("\n", "\r\n"), ["conflict markers of git"]),
        ("<<<<<<< HEAD\n{}\n=======\n", ["conflict markers of git"]),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", ["ansible-vault decrypt /the/ledger"]),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["git lfs pull"]),
        ("<!DOCTYPE html>\n<html>", ["HTML or XML"]),
        ("---\nall:\n  hosts:\n", ["YAML", "overlay_ledger"]),
        (TEXT[:-3], ["it is truncated"]),
        (TEXT[: len(TEXT) // 2], ["it is truncated"]),
        ("[defaults]\ninventory = x\n", ["not the JSON document"]),
        ('{"sops": {"mac": "x"}, "schema": "ENC"}', ["sops decrypt -i /the/ledger"]),
        ('{"version": 4, "terraform_version": "1.9"}', ["another JSON document", "terraform_version, version"]),
        ("[]", ["another JSON document", "overlay_ledger"]),
    ],
)
def test_each_kind_of_damage_has_its_cure(text, words):
    reason = reason_of(text, "/the/ledger")
    assert [word for word in words if word not in reason] == []
    assert "{" not in reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TEXT.encode("utf-16"), "UTF-16"),
        (TEXT.encode("utf-16-be").join([b"\xfe\xff", b""]), "UTF-16"),
        (b"\0GITCRYPT\0\x80", "git-crypt unlock"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x80\x81", "binary"),
    ],
)
def test_binary_content_is_named(content, words):
    assert words in reason_of_binary(content)


def test_a_line_that_only_mentions_a_marker_is_no_conflict():
    assert not has_conflict(TEXT)
    assert not has_conflict('{\n "a": "<<<<<<< b"\n}')
    assert not has_conflict("<<<<<<<<<< b")


def test_only_a_leading_bom_and_cr_before_lf_are_removed():
    assert normalized("\ufeffa\r\nb\rc\ufeff\n") == "a\nb\rc\ufeff\n"
