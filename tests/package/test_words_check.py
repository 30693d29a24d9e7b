# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The check of words (tests/tools/words.py): it finds each rejected word in each kind of file, and nothing else."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest

from product import ROOT

SPEC = importlib.util.spec_from_file_location("words_check", ROOT / "tests/tools/words.py")
words = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(words)

REJECTED = [
    "told", "tell", "tells", "telling", "somebody else", "somebody else's", "not ours", "is ours", "are ours",
    "be ours", "anew", "is whole", "not whole", "mend", "mends", "mended", "segment", "segments", "floor", "wing",
    "be so", "now and then", "who has", "picture", "ear", "undo", "undoes", "undone", "undid", "homecoming", "astray",
    "resting", "settle", "tke-ear", "tke-overlay-undo.timer", "overlay_pod_cidr", "forgotten_by", "into_tunnel",
    "hear_every_mac",
]  # fmt: skip
SAMPLES = {
    "page.md": "# Title\n\nSome text has {} in it.\n",
    "screen.md": "A screen:\n\n    host has {} here\n",
    "docstring.py": '"""Some text.\n\nIt has {} in it.\n"""\n',
    "message.py": 'import sys\n\nsys.exit(f"{{sys.argv}} has {} in it")\n',
    "comment.py": "import sys\n\nsys.exit()  # it has {} in it\n",
    "comment.yml": "---\nkey: 1\nother: 2 # it has {} in it\n",
    "task.yml": "---\n\n- name: Task with {} in it\n",
    "spec.yml": "options:\n  description:\n    - It has {} in it.\n",
    "folded.yml": "fail_msg: >-\n\n  It has {} in it\n",
    "script.sh": "#!/bin/sh\n\n# It has {} in it.\n",
    "haproxy.cfg.template": "global\n\n    # It has {} in it.\n",
    "page.html.j2": "<p>\n\nIt has {} in it.\n",
}
ACCEPTED = {
    "page.md": (
        "The network is healthy; Kubernetes' own table is replaced as a whole, and the rest stays.\n"
        "TCP segments are clamped to a maximum segment size; TCP\nsegments. The year is near.\n"
        "See https://example.net/picture/undo and [this](told.md#segment).\n"
        "`segment` and ``mend`` are code.\n"
    ),
    "code.py": "segment = picture = undo = 1\nprint(segment, 'forwarded, unsettled', picture.whole)\n",
    "values.yml": "undo: segment\nname: Read host state\nloop: [picture, told]\n",
    "fragment.yml": "breaking_changes:\n  - The link tke-ear is now tke-alt.\n",
    "script.sh": 'undo() { echo "$1#told"; }\n',
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("word", REJECTED)
def test_finds_a_rejected_word_in_each_kind_of_file(name, word):
    found = words.findings_in(pathlib.Path(name), SAMPLES[name].format(word))
    assert [(each.line, each.found) for each in found] == [(3, word)]


@pytest.mark.parametrize("before", ["```text\ncode\n```\n`a` and", "one ` alone\n\n", "``a`` and `b`,"])
def test_code_before_a_word_does_not_hide_it(before):
    page = f"{before} this is told in `c`.\n"
    assert [each.found for each in words.findings_in(pathlib.Path("page.md"), page)] == ["told"]


def test_ignores_case():
    assert words.findings_in(pathlib.Path("page.md"), "Told is this.")


def test_finds_words_across_a_line_break():
    assert [each.line for each in words.findings_in(pathlib.Path("page.md"), "This is not\n  ours.")] == [1]


def test_finds_the_start_of_a_screen():
    assert [each.found for each in words.findings_in(pathlib.Path("page.md"), "whole: 12 of 12")] == ["whole"]


def test_samples_cover_the_whole_table():
    unused = [word.pattern.pattern for word in words.WORDS if not any(word.pattern.search(text) for text in REJECTED)]
    assert [pattern for pattern in unused if "whole(?=:)" not in pattern] == []


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_good_text_and_code(name):
    assert words.findings_in(pathlib.Path(name), ACCEPTED[name]) == []


def test_names_are_found_inside_code():
    found = words.findings_in(pathlib.Path("page.md"), "Set `overlay_pod_cidr`.")
    assert [each.instead for each in found] == ['"overlay_node_cidr"']


def test_only_the_glossary_explains_the_word_of_tke():
    assert words.findings_in(pathlib.Path("glossary.md"), "TKE calls it segment.") == []
    assert words.findings_in(pathlib.Path("concepts.md"), "TKE calls it segment.")


def test_prints_file_line_word_and_replacement(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("fine\nmend it\n")
    assert words.main([str(page)]) == 1
    assert capsys.readouterr().out == f'{page}:2: \'mend\': use "fix" or "repair"\n'


def test_rejects_a_malformed_table():
    with pytest.raises(ValueError, match="verse"):
        words.read_words("verse | a | b\n")


def test_checks_every_kind_of_file_of_the_repository():
    suffixes = {path.suffix for path in words.files()}
    assert suffixes == {".j2", ".md", ".py", ".sh", ".template", ".yml"}
