# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Every test of the repository can fail: it asserts something, and it uses the values it is parametrised with."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from product import COLLECTION, ROOT

FILES = sorted(
    path
    for directory in (COLLECTION / "tests/unit", ROOT / "tests", ROOT / "molecule")
    for path in directory.rglob("*.py")
)
TREES = {path: ast.parse(path.read_text()) for path in FILES}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TEST_FILES = [path for path in FILES if path.name.startswith("test_")]


def functions_of(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def cases_in(path):
    return [function for function in functions_of(TREES[path]) if function.name.startswith("test")]


def called_by(function):
    """Return the names of the functions and methods that a function calls."""
    calls = (ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call))
    return {call.rpartition(".")[2] for call in calls}


def asserts(function):
    """Return whether the function itself can fail a test."""
    return any(isinstance(node, (ast.Assert, ast.Raise)) for node in ast.walk(function)) or bool(
        {"raises", "fail", "warns"} & called_by(function)
    )


def asserting_helpers():
    """Return the names of functions in the tests that assert something, or that call such a function."""
    by_name = defaultdict(list)
    for tree in TREES.values():
        for function in functions_of(tree):
            by_name[function.name].append(function)
    found = {name for name, functions in by_name.items() if any(map(asserts, functions))}
    while more := {
        name
        for name, functions in by_name.items()
        if name not in found and any(called_by(function) & found for function in functions)
    }:
        found |= more
    return found


HELPERS = asserting_helpers()


def parameters_of(function):
    """Yield the arguments that ``parametrize`` gives to a test, except those with a leading underscore."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parametrize":
            if any(keyword.arg == "indirect" for keyword in decorator.keywords):
                continue
            given = ast.literal_eval(decorator.args[0])
            names = given.split(",") if isinstance(given, str) else given
            yield from (name.strip() for name in names if not name.strip().startswith("_"))


def test_finds_the_tests_of_all_directories():
    assert len(TEST_FILES) > 50
    assert all(any(directory in path.parents for path in TEST_FILES) for directory in (COLLECTION, ROOT / "tests"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_asserts_something(path):
    hollow = [test.name for test in cases_in(path) if not asserts(test) and not called_by(test) & HELPERS]
    assert not hollow


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_assertion_compares_a_value_with_itself(path):
    hollow = [
        f"line {node.lineno}: {ast.unparse(node.test)}"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)
        for other in node.test.comparators
        if ast.dump(node.test.left) == ast.dump(other)
    ]
    assert not hollow


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_uses_each_of_its_parameters(path):
    unused = [
        f"{test.name}: {name}"
        for test in cases_in(path)
        for name in parameters_of(test)
        if not any(isinstance(node, ast.Name) and node.id == name for part in test.body for node in ast.walk(part))
    ]
    assert not unused
