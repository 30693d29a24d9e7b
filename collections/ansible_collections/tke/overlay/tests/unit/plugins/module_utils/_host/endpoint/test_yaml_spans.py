# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the YAML parser: positions of values, and syntax that it rejects."""

from __future__ import annotations

import contextlib
import json
import time

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


@pytest.mark.parametrize("start", ["[", '{"a": ', "- ", "a:\n- "])
def test_an_error_names_what_is_nested_too_deep(start):
    with pytest.raises(UnsupportedYamlError, match=r"^line \d+: more than 50 levels"):
        parse_yaml(start * 3000 if "\n" not in start else "".join(f"{' ' * n}- a:\n" for n in range(0, 600, 2)))
    assert parse_yaml("[" * 50 + "]" * 50)


@pytest.mark.parametrize("text", ["'a{}b'", '"a{}b"', "{{a: b{}c}}", "a{}b: c", "[a,{}b]"])
@pytest.mark.parametrize("blanks", [" ", "\n "])
def test_the_time_grows_with_the_length_and_not_with_its_square(text, blanks):
    start = time.process_time()
    with contextlib.suppress(UnsupportedYamlError):
        parse_yaml(f"- {text.format(blanks * (1 << 17))}\n")
    assert time.process_time() - start < 5  # 20 ms here; a square of it takes minutes


def test_tabs_are_blanks_in_json_only():
    text = json.dumps({"a": [{"b": "c\td"}], "e": 1}, indent="\t")
    assert parse_yaml(text)["a"][0]["b"].value == "c\td"
    with pytest.raises(UnsupportedYamlError, match="line 2: a tab"):
        parse_yaml("a:\n\tb: 1\n")


def test_joins_the_lines_of_a_quoted_value():
    assert parse_yaml('a: "b\\\n  c"\n')["a"].value == "bc"
