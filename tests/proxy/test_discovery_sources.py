"""Each way to find destinations: functions, variables, lists and files."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatekit import Cluster, ConfigurationError
from gatekit._core.io import AsyncIO
from gatekit.proxy.clusters.destination import Destination
from gatekit.proxy.discovery import Environment, File, Function, Static, file
from tests.proxy.discovered import Site


def test_function() -> None:
    """A function is called in a thread of its own, an async one is awaited."""
    threads: list[str] = []

    def find() -> list[str]:
        threads.append(threading.current_thread().name)
        return ["http://a"]

    async def afind() -> list[str]:
        return find()

    functions: list[Callable[[], Any]] = [find, afind]
    for function in functions:
        site = Site(Function(function))
        site.run()
        assert site.names == ["http://a"]
        site = Site(Function(function))
        asyncio.run(_resolve_once(site))
        assert site.names == ["http://a"]
    assert threads[:3] == ["gatekit aside"] * 3
    assert threads[3] == threading.current_thread().name


async def _resolve_once(site: Site) -> None:
    await site.discovery.arrive(site.cluster.state, AsyncIO(), None)


def test_function_that_hangs_is_not_called_again() -> None:
    """One thread is lost, not one for each interval; when it is done, all goes on."""
    go = threading.Event()
    calls: list[None] = []

    def find() -> list[str]:
        calls.append(None)
        go.wait(10.0)
        return ["http://a"]

    site = Site(Function(find, timeout=0.01))
    site.run(60.0)
    assert len(calls) == 1
    assert site.told == ["resolver_failed"]
    go.set()
    for thread in threading.enumerate():
        if thread.name == "gatekit aside":
            thread.join(10.0)
    site.cluster.state.discovery._resolver.timeout = 10.0  # type: ignore[union-attr]
    site.run(31.0)
    assert site.names == ["http://a"]


def test_environment() -> None:
    """Commas between, blanks around; missing is a failure, and so is empty."""
    environ = {"ORDERS_URLS": " http://a:8002, http://b:8002 ,"}
    site = Site(Environment("ORDERS_URLS", environ=environ))
    site.run()
    assert site.names == ["http://a:8002", "http://b:8002"]
    environ["ORDERS_URLS"] = ""
    site.run(31.0 * 1.1)
    del environ["ORDERS_URLS"]
    site.run(5.0)
    assert site.names == ["http://a:8002", "http://b:8002"]
    environ["ORDERS_URLS"] = "http://c:8002"
    site.run(31.0)
    assert site.names == ["http://c:8002"]


def test_static() -> None:
    """A list is a resolver, too; a wrong one is found at construction."""
    site = Site(Static(["http://a", "http://b"]))
    site.run(10_000.0)
    assert site.names == ["http://a", "http://b"]
    with pytest.raises(ConfigurationError, match="two are named"):
        Static(["http://a", "http://a"])


def test_file_of_lines(tmp_path: Path) -> None:
    """One URL to a line; blank lines and comments are nothing."""
    path = tmp_path / "orders.txt"
    path.write_text("# ours\n\nhttp://a:1  # the first\r\nhttp://b:2\n")
    site = Site(File(path))
    site.run()
    assert site.names == ["http://a:1", "http://b:2"]


def test_file_of_json(tmp_path: Path) -> None:
    """URLs and objects, which say all that a Destination does."""
    path = tmp_path / "orders.json"
    described = {
        "url": "http://b:2",
        "weight": 0.5,
        "priority": 1,
        "zone": "eu",
        "name": "b",
        "host": "orders.test",
        "metadata": {"version": "v2"},
    }
    path.write_text(json.dumps(["http://a:1", described]))
    site = Site(File(path))
    site.run()
    a, b = (member.destination for member in site.cluster.state.members)
    assert (a.name, a.weight) == ("http://a:1", 1)
    assert (b.name, b.weight, b.priority, b.zone, b.host) == ("b", 0.5, 1, "eu", "orders.test")
    assert b.metadata == {"version": "v2"}


@pytest.mark.parametrize(
    "text",
    [
        '["http://a:1", "http://b',
        '["http://a:1", {"url": "http://b:2", "weight": 1',
        "http://a:1\nhttp://b",
        "",
        "\n# nothing yet\n",
        '{"url": "http://a:1"}',
        '[{"url": "http://a:1", "wieght": 2}]',
        '[{"weight": 2}]',
        '[{"url": "http://a:1", "weight": "2"}]',
        '[{"url": "http://a:1", "metadata": {"v": 2}}]',
        "[3]",
        "http://a:1\nnot a url\n",
        '["http://a:1", "http://a:1"]',
        "\xff\xfe\x00",
        "http://a:1\n" * 10_000,
        "[" * 5_000,
    ],
    ids=range(16),
)
def test_wrong_file_changes_nothing(tmp_path: Path, text: str) -> None:
    """Half-written, empty, misspelt, too large or not text: the last good list stays."""
    path = tmp_path / "orders"
    path.write_text("http://a:1\nhttp://b:1\n")
    site = Site(File(path, max_bytes=100_000))
    site.run()
    path.write_text(text, encoding="latin-1")
    site.run(30.0)
    assert site.names == ["http://a:1", "http://b:1"]
    assert site.told[2:] == ["resolver_failed"]
    path.write_text("http://c:1\n")
    site.run(30.0)
    assert site.names == ["http://c:1"]


def test_file_replaced_and_deleted(tmp_path: Path) -> None:
    """A rename is seen at the next look, of the same size and time too; a deletion is a failure."""
    path, other = tmp_path / "orders", tmp_path / "new"
    path.write_text("http://a:1\n")
    site = Site(File(path))
    site.run()
    other.write_text("http://b:1\n")
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    site.run(6.0)
    assert site.names == ["http://b:1"]
    path.unlink()
    site.run(30.0)
    assert site.names == ["http://b:1"]
    assert site.told[-1] == "resolver_failed"
    path.write_text("http://c:1\n")
    site.run(6.0)
    assert site.names == ["http://c:1"]


def test_file_that_stays_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at, no more."""
    path = tmp_path / "orders"
    path.write_text("http://a:1\n")
    site = Site(File(path))
    parsed: list[str] = []
    parse = file.parse

    def noted(text: str) -> tuple[Destination, ...]:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(file, "parse", noted)
    site.run(60.0)
    assert parsed == ["http://a:1\n"]


def _none() -> list[str]:
    return []


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Environment(""), ["name"]),
        (lambda: Environment("A=B", interval=0), ["name", "interval"]),
        (lambda: Function(None), ["function"]),  # type: ignore[arg-type]
        (lambda: Function(list), ["function"]),
        (lambda: Function(_none, timeout=0, allow_empty=1), ["timeout", "allow_empty"]),  # type: ignore[arg-type]
        (lambda: File("", interval=0, max_bytes=0), ["path", "interval", "max_bytes"]),
        (lambda: File(7), ["path"]),  # type: ignore[arg-type]
        (lambda: Cluster("c", resolver=Static), ["resolver"]),  # type: ignore[arg-type]
    ],
)
def test_wrong_options_are_named(make: Callable[[], object], names: list[str]) -> None:
    """All that is wrong is found at construction, and in one error."""
    with pytest.raises(ConfigurationError) as error:
        make()
    assert list(error.value.problems) == names
