"""Every example starts by its own command, and each of its curl lines gets the answer it claims."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests import net
from tests.redis_server import executable
from tests.servers import ROOT, Server, run

FOLDER = ROOT / "examples"
BASE = "http://127.0.0.1:8000"
COMMAND = "$ python -m examples."
CLAIM = re.compile(r"# → (?P<status>\d{3}) ?(?P<body>.*)")
FIELD = re.compile(r"#   (?P<name>[\w-]+): (?P<value>.+)")


class Try(NamedTuple):
    """A curl line, and what is claimed of its answer; `…` stands for anything."""

    line: str
    status: int
    body: str
    fields: tuple[tuple[str, str], ...]


class Example(NamedTuple):
    """A module with at least one command."""

    name: str
    commands: tuple[str, ...]
    tries: tuple[Try, ...]


def examples() -> Iterator[Example]:
    """Those modules and packages whose docstring has a command."""
    for path in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py")]):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines = [line.strip() for line in doc.splitlines()]
        if commands := tuple(line[2:] for line in lines if line.startswith(COMMAND)):
            name = path.parent.name if path.stem == "__init__" else path.stem
            yield Example(name, commands, tuple(tries(lines)))


def tries(lines: list[str]) -> Iterator[Try]:
    """The curl lines in order, each with the claims right below it."""
    for number, line in enumerate(lines):
        if not line.startswith("$ curl "):
            continue
        below = [*lines[number + 1 :], ""]
        claim = CLAIM.fullmatch(below[0])
        assert claim, f"nothing is claimed of {line!r}"
        fields: list[tuple[str, str]] = []
        for more in below[1:]:
            if not (field := FIELD.fullmatch(more)):
                break
            fields.append((field["name"], field["value"]))
        yield Try(line[2:], int(claim["status"]), claim["body"], tuple(fields))


def by_socket(line: str, server: Server) -> net.Answer:
    """What curl would send, of the few options that the examples use."""
    words = iter(shlex.split(line)[1:])
    method, target, headers, body = None, None, [("Accept", "*/*")], None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers.append((name, value))
        elif word == "-d":
            body = next(words).encode()
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        elif word.startswith(BASE):
            url = urlsplit(word)
            target = url.path + (f"?{url.query}" if url.query else "")
        elif word != "-i":
            raise AssertionError(f"{line!r}: {word} is none of -i, -X, -H, -d and {BASE}")
    assert target is not None, line
    if not any(name == "Host" for name, _ in headers):
        headers.append(("Host", f"127.0.0.1:{server.port}"))
    method = method or ("GET" if body is None else "POST")
    return net.request(server.port, method, target, headers, body)


def by_curl(line: str, server: Server) -> net.Answer:
    """The line itself, in a shell; only the port is another."""
    line = line.replace(BASE, server.url) + f" --silent --show-error --max-time {net.TIMEOUT}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    return net.Answer(int(status.split()[1]), [net.parse_field(field) for field in fields], body)


CLIENTS: list[Callable[[str, Server], net.Answer]] = [by_socket]
if shutil.which("curl"):
    CLIENTS.append(by_curl)

EXAMPLES = list(examples())
RUNS = [(example, command) for example in EXAMPLES for command in example.commands]
IDS = [re.sub(r" +#.*", "", command).removeprefix(COMMAND[2:]) for _, command in RUNS]


def fits(claimed: str, text: str) -> bool:
    """Whether a text is as claimed, `…` being anything."""
    pattern = ".*".join(map(re.escape, claimed.split("…")))
    return re.fullmatch(pattern, text, re.DOTALL) is not None


@pytest.fixture(autouse=True)
def redis_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """An example starts the Redis that is installed; the tests may have theirs from a wheel."""
    if (program := executable()) is not None:
        folder = str(Path(program).parent)
        monkeypatch.setenv("PATH", os.pathsep.join((os.environ["PATH"], folder)))


@pytest.mark.parametrize(("example", "command"), RUNS, ids=IDS)
def test_example_runs_and_answers_as_it_claims(example: Example, command: str) -> None:
    """An example starts by its command alone, and every curl line is answered as it says."""
    python, *words = shlex.split(command, comments=True)
    assert python == "python"

    with run(lambda port: [sys.executable, *words, "--port", str(port)]) as server:
        for line, status, body, fields in example.tries:
            for ask in CLIENTS:
                answer = ask(line, server)
                where = f"{line} ({ask.__name__})"
                assert answer.status == status, where
                text = answer.body.decode().strip()
                assert fits(body, text) or not body, f"{where}: {text}"
                for name, value in fields:
                    assert any(fits(value, one) for one in answer.values(name)), f"{where}: {name}"


def test_there_is_an_example_for_each_way_to_run() -> None:
    """The frameworks, and none at all, have an example with curl lines to try."""
    assert {example.name for example in EXAMPLES if example.tries} >= {
        "starlette_app",
        "fastapi_app",
        "flask_app",
        "django_project",
        "standalone",
    }


def test_readme_lists_every_example() -> None:
    """Each row of the table names its example, with its own command and one of its curl lines."""
    rows = [
        row
        for row in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
        if row.startswith("| [")
    ]
    for example in EXAMPLES:
        row = next((row for row in rows if f"`python -m examples.{example.name}`" in row), None)
        assert row, f"{example.name} is not in the table"
        path = Path(re.findall(r"\]\(([^)]+)\)", row)[0])
        assert (FOLDER / path).exists()
        shown = [cell for cell in re.findall(r"`([^`]+)`", row) if cell.startswith("curl ")]
        assert shown
        assert set(shown) <= {one.line for one in example.tries}


def test_claims_are_told_apart() -> None:
    """`…` matches anything; all else must be there, and nothing more."""
    assert fits('{"a":"…",…}', '{"a":"1","b":2}')
    assert not fits('{"a":1}', '{"a":1} and more')
    assert not fits("200", "2000")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "examples/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    """What a page links to in this repository is there."""
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
