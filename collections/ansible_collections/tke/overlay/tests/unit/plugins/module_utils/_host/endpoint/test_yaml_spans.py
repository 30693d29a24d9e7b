# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the YAML parser: positions of values, and syntax that it rejects."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.yaml_spans import (
    Scalar,
    UnsupportedYamlError,
    parse_yaml,
)


@pytest.mark.parametrize(
    "text", ["a: &x 1", "? a", "a: b: c", "- a\nb: c", "a: {b: c", "a:\n   b: 1\n  c: 2", 'a: "\\q"']
)
def test_rejects_unsupported_syntax_with_its_line(text):
    with pytest.raises(UnsupportedYamlError, match=r"^line [123]: "):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 'b' c\n", "line 1: unexpected text after a value"),
        ("a: {'b\n c': 1}\n", "line 1: a key spans several lines"),
        ("a: |9x\n  b\n", "line 1: unsupported header of a block scalar"),
        ("a: b # c\n  d\n", "line 2: a value continues after a comment"),
        ("a: b\tc\n", "line 1: a tab"),
        ("a: [b,", "line 1: '[' is not closed"),
        ("a: {b: 1, b: 2}\n", "line 1: duplicate key"),
        ("a: [*b]\n", "line 1: unsupported value"),
        ("a: b\x07\n", "line 1: the character U+0007 is not allowed"),
    ],
)
def test_an_error_names_line_and_cause(text, words):
    with pytest.raises(UnsupportedYamlError) as caught:
        parse_yaml(text)
    assert str(caught.value).startswith(words)


def test_returns_the_position_of_each_value():
    text = "a:\n- 'x y'\n- b: [1, {c: d}]  # e\n"
    document = parse_yaml(text)
    values = [document["a"][0], document["a"][1]["b"][0], document["a"][1]["b"][1]["c"]]
    assert all(isinstance(value, Scalar) for value in values)
    assert [text[value.start : value.end] for value in values] == ["'x y'", "1", "d"]


def test_reads_an_empty_document_and_empty_values():
    assert parse_yaml("# only a comment\n") == {}
    document = parse_yaml("a:\n-\n- b\nc: |\n  text\n\n")
    assert [node.value for node in document["a"]] == ["", "b"]
    assert isinstance(document["c"], Scalar)
    assert not document["c"].single_line


def test_joins_the_lines_of_a_quoted_value():
    assert parse_yaml('a: "b\\\n  c"\n')["a"].value == "bc"
