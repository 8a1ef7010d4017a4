"""Every example in the documentation runs, each page in an interpreter of its own."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import ROOT

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]

FENCE = re.compile(r"^(?P<indent>[ ]{0,12})(?P<mark>`{3,})(?P<info>[^`\n]*)$")
NO_RUN = re.compile(r"<!-- no-run:(?P<reason>.*)-->")
EXAMPLE = re.compile(r"examples/[\w/.-]*\w")


class Block(NamedTuple):
    """A block marked `python`; `line` is that of its first line of code, counted from 1."""

    line: int
    code: str
    no_run: str | None


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page in order; those shown inside another block are not examples."""
    found: list[Block] = []
    lines = text.splitlines()
    start, opening = 0, None
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if opening is None:
            start, opening = number, fence
        elif fence and not fence["info"] and len(fence["mark"]) >= len(opening["mark"]):
            if opening["info"].strip() == "python":
                indent = len(opening["indent"])
                code = "".join(f"{body[indent:]}\n" for body in lines[start + 1 : number])
                mark = NO_RUN.search(lines[start - 1]) if start else None
                found.append(Block(start + 2, code, mark["reason"].strip() if mark else None))
            opening = None
    return found


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def has_examples(page: Path) -> bool:
    """Whether some block runs; a page that is missing is a failure of its own."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return any(block.no_run is None for block in blocks(text))


def script(page: Path) -> str:
    """A module that runs the page's blocks, with the page's own line numbers in its tracebacks."""
    runnable = [block for block in blocks(page.read_text(encoding="utf-8")) if block.no_run is None]
    return f"""
import ast, asyncio, inspect
space = {{"__name__": "page"}}
async def main():
    for line, code in {[(block.line, block.code) for block in runnable]!r}:
        source = chr(10) * (line - 1) + code
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        result = eval(compile(source, {str(page)!r}, "exec", flags), space)
        if inspect.isawaitable(result):
            await result
asyncio.run(main())
for name, test in list(space.items()):
    if name.startswith("test_"):
        result = test()
        if inspect.isawaitable(result):
            asyncio.run(result)
"""


def run(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script(page)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )


@pytest.mark.parametrize("page", [page for page in PAGES if has_examples(page)], ids=name)
def test_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """The blocks of a page run one after another, sharing their names, without a warning."""
    done = run(page, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_that_do_not_run_say_why_and_parse(page: Path) -> None:
    """A block is left out for a stated reason only, and is Python all the same."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.no_run is not None:
            assert len(block.no_run) > 8, f"{page}:{block.line}: no reason given"
            compile(block.code, f"{page}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_that_are_mentioned_exist(page: Path) -> None:
    """A path below `examples/` leads to a file or folder of this repository."""
    paths = set(EXAMPLE.findall(page.read_text(encoding="utf-8")))
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_blocks_are_found_where_they_stand() -> None:
    """Indented blocks lose their indentation; a block inside a longer fence is only shown."""
    page = """
- item

  ```python
  if True:
      one = 1
  ```

<!-- no-run: needs a network -->
```python
two
```
````md
```python
never
```
````
```{code-block} toml
```
"""
    assert blocks(page) == [
        Block(5, "if True:\n    one = 1\n", None),
        Block(11, "two\n", "needs a network"),
    ]


def test_failing_example_names_its_line(tmp_path: Path) -> None:
    """An error points into the page itself, and a later block sees the names of an earlier one."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nfour = 4\n```\n\n```python\nassert four == 5\n```\n")
    assert f'File "{page}", line 8' in run(page, tmp_path).stderr


def test_test_functions_of_a_page_are_called(tmp_path: Path) -> None:
    """What a page shows as a test is run as one, after the last block."""
    page = tmp_path / "page.md"
    first, second = "async def test_it():\n    assert late", "late = 0"
    page.write_text(f"```python\n{first}\n```\n\n```python\n{second}\n```\n")
    done = run(page, tmp_path)
    assert done.returncode == 1
    assert f'File "{page}", line 3, in test_it' in done.stderr
