# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of names and texts, at its borders."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._names import (
    INVENTORY_NAME,
    LABEL,
    MOST_SHOWN,
    is_host_name,
    is_one_line,
    path_problems,
    shown,
)


@pytest.mark.parametrize("name", ["a", "1", "node-1.example_x", "10.0.0.1", "a" * 253])
def test_names_of_hosts_have_letters_digits_and_three_signs(name):
    assert INVENTORY_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", ".a", "_a", "a b", "a\n", "a;b", "\u00fc", "\u0661", "a" * 254])
def test_other_names_of_hosts_are_invalid(name):
    assert not INVENTORY_NAME.fullmatch(name)


@pytest.mark.parametrize(("label", "valid"), [("a", True), ("A-1_", True), ("a" * 63, True), ("a" * 64, False)])
def test_labels_have_at_most_63_characters(label, valid):
    assert bool(LABEL.fullmatch(label)) is valid


@pytest.mark.parametrize(
    "name", ["a", "a.b", "A-1.example", "1.a", "x" * 63, ".".join(["x" * 63] * 3 + ["y" * 61]), "10.0.0.a1"]
)
def test_host_names_of_the_dns_are_accepted(name):
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a\n", "\u00fc", "x" * 64),
        *("10.0.0.1", "10.0.0.256", "1", "a.1", ".".join(["x" * 63] * 3 + ["y" * 62])),
    ],
)
def test_other_texts_are_no_host_names(name):
    """A name that ends with a number is a mistyped address."""
    assert not is_host_name(name)


@pytest.mark.parametrize(("text", "valid"), [("a", True), ("a b", True), ("\u00fc", True), ("a\u00a0b", False)])
def test_a_line_is_printable(text, valid):
    assert is_one_line(text) is valid


@pytest.mark.parametrize(
    "text", ["", " ", "a ", " a", "a\n", "a\tb", "a\0", "a\x85b", "a\u2028b", "a\u202eb", "\udcff"]
)
def test_other_texts_are_not_one_line(text):
    assert not is_one_line(text)


def test_a_long_value_is_cut_off_in_an_error():
    longest = "a" * (MOST_SHOWN - 2)
    assert shown(longest) == f"'{longest}'"
    assert shown(f"{longest}a") == f"'{longest}a... ({MOST_SHOWN + 1} characters)"
    assert shown("a\n\u202e") == r"'a\n\u202e'"
    assert shown(["a"]) == "['a']"


@pytest.mark.parametrize(
    ("path", "problems"),
    [
        ("/etc/a b", []),
        ("etc", ["x: 'etc' is not an absolute path"]),
        ("", ["x: '' is not an absolute path"]),
        ("/a\nb", [r"x: '/a\nb' has characters that cannot be printed: remove them"]),
    ],
)
def test_paths_are_absolute_and_printable(path, problems):
    assert path_problems("x:", path) == problems
