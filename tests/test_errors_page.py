"""The pages on errors and flags say what the source does: no type, no flag is forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gatekit._core.flags import FLAGS, URN
from gatekit.middleware.auth._challenges import _TYPES as CREDENTIALS
from gatekit.proxy.failures import FAILURES
from tests.servers import ROOT

SOURCE = ROOT / "gatekit"
NAME = re.compile(r"[a-z]+(-[a-z]+)*")

# What follows the URN where the source puts a type together.
PUT_TOGETHER = {
    *(failure.type for failure in FAILURES.values()),
    *CREDENTIALS.values(),
    "rate-limited",
    "rate-limited-key",
    "quota-exceeded",
    "quota-exceeded-key",
    "upstream-error",
}


def literals(path: Path) -> Iterator[str]:
    """Every string of a module that is no docstring, those inside f-strings included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value  # type: ignore[attr-defined]


def types() -> set[str]:
    """What follows the URN, wherever it stands in the source."""
    ends = {
        text.removeprefix(URN)
        for path in SOURCE.rglob("*.py")
        for text in literals(path)
        if text.startswith(URN)
    }
    return {end for end in ends if NAME.fullmatch(end)} | PUT_TOGETHER


def test_types_are_found() -> None:
    """The search is not blind."""
    assert {"body-too-large", "internal-error", "upstream-timeout", "no-route"} <= types()
    assert len(types()) > 40


def test_every_type_has_a_section() -> None:
    """`docs/errors.md` tells of each under its full name, which is what a client looks for."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### urn:gatekit:([a-z-]+)$", page, re.MULTILINE))
    assert types() - sections == set()
    assert sections - types() == set()


def test_every_type_has_a_flag() -> None:
    """One each, and no flag stands for a type that there is not."""
    assert types() == {flag.type for flag in FLAGS.values() if flag.type}


def test_every_flag_is_on_the_page() -> None:
    """`docs/response-flags.md` has a row for each, with its source, meaning and problem."""
    page = (ROOT / "docs" / "response-flags.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z0-9]{3})` \| (\w+) \| (.+?) \| (.*?) \|$", page, re.MULTILINE)
    said = {code: (source, meaning, problem) for code, source, meaning, problem in rows}
    assert len(said) == len(rows)
    assert said == {
        flag.code: (flag.source, flag.meaning, f"[`{flag.type}`](errors.md#urngatekit{flag.type})"
                    if flag.type else "")
        for flag in FLAGS.values()
    }  # fmt: skip


def test_no_problem_goes_without_a_type() -> None:
    """Wherever gatekit refuses, it says as what: `Rejected` and `problem` are given a type."""
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Rejected", "problem")
        and node.args
        and not any(keyword.arg in ("type", None) for keyword in node.keywords)
    ]
    assert missing == []
