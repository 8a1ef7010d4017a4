"""The benchmarks' own arithmetic, and the loader that stands in where `wrk` is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import Mock, call

import pytest

from tests.benchmarks import harness
from tests.benchmarks.load import LoadError, by_loader, paced
from tests.benchmarks.pace import Pace
from tests.benchmarks.report import Line, at_least, at_most, below, table, write_json
from tests.benchmarks.resident import growth, is_available
from tests.servers import serve


def test_every_topic_is_found_and_says_what_it_measures() -> None:
    """A module in `topics` is enough to be listed, with the first line of its docstring."""
    names = harness.names()
    assert {"onion", "asgi_proxy", "wsgi_proxy", "routes", "importtime", "memory"} <= set(names)
    assert all(len(harness.title(name)) > 20 for name in names)


@pytest.mark.parametrize(
    ("line", "met"),
    [
        pytest.param(Line("", ours=30, peer=1, budget=at_least(30)), True, id="as fast as asked"),
        pytest.param(Line("", ours=29, peer=1, budget=at_least(30)), False, id="too slow"),
        pytest.param(Line("", ours=5, peer=4, budget=at_most(1.25)), True, id="as dear as allowed"),
        pytest.param(Line("", ours=6, peer=4, budget=at_most(1.25)), False, id="too dear"),
        pytest.param(Line("", ours=81, peer=900, budget=below(80)), False, id="absolutely too big"),
        pytest.param(Line("", ours=6, peer=4), None, id="nothing was promised"),
        pytest.param(Line("", budget=at_most(1)), None, id="nothing was measured"),
        pytest.param(Line("", ours=6, budget=at_most(1)), None, id="no peer"),
    ],
)
def test_budget_is_kept_or_missed(line: Line, met: bool | None) -> None:
    """A budget bounds the ratio, or our own figure; without a figure it is neither."""
    assert line.met is met


def test_contenders_take_turns_and_the_first_round_is_not_counted() -> None:
    """The order is A B A B, and a ratio is the median of the rounds' ratios."""
    order: list[str] = []
    figures = {"a": iter([99.0, 2.0, 6.0, 40.0]), "b": iter([1.0, 1.0, 2.0, 10.0])}

    def contender(name: str) -> float:
        order.append(name)
        return next(figures[name])

    samples = harness.Bench().alternate(
        {"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=3
    )
    assert order == list("abababab")
    assert samples.median("a") == 6.0
    assert samples.ratio("a", "b") == 3.0
    assert samples.added("a", "b") == 4.0


def test_table_and_json_tell_the_same(tmp_path: Path) -> None:
    """Each line shows both figures, the ratio and the verdict, and JSON holds them unrounded."""
    line = Line("it", ours=1.23456, peer=2.46912, budget=at_most(0.4), topic="onion")
    write_json(tmp_path / "bench.json", "a machine", [line])
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["machine"] == "a machine"
    assert document["lines"][0]["ours"] == 1.23456
    assert document["lines"][0]["met"] is False
    row = " ".join(table([line]).splitlines()[2].split())
    assert row == "onion it 1.23 µs 2.47 µs 0.5 × ≤ 0.4 × NO"


def test_loader_counts_answers() -> None:
    """The loader without third parties loads a real server over several connections."""
    with serve("uvicorn", "tests.benchmarks.apps.static_asgi:app") as server:
        assert by_loader(server.url, seconds=0.3, connections=4) > 10


def test_loader_refuses_errors_that_look_fast(tmp_path: Path) -> None:
    """A server that answers 404 is an error of the load, however quick it is."""
    (tmp_path / "missing_app.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 404, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b''})\n"
    )
    with (
        serve("uvicorn", "missing_app:app", cwd=tmp_path, options=["--lifespan", "off"]) as server,
        pytest.raises(LoadError, match="errors"),
    ):
        by_loader(server.url, seconds=0.2, connections=2)


def test_pace_is_kept() -> None:
    """A real server at a rate far below its most answers all of it, and soon."""
    with serve("uvicorn", "tests.benchmarks.apps.static_asgi:app") as server:
        assert 0 < paced(server.port, rate=200, seconds=0.3) < 1000


def test_request_that_waits_for_a_connection_has_begun() -> None:
    """Its latency counts from its own moment, not from when a connection was free."""
    pace = Pace(b"")
    client = Mock()
    pace.ask(1.0)
    pace.ask(2.0)
    pace.answered(client, 0.0, True)
    pace.answered(client, 1.0, True)
    assert client.ask.mock_calls == [call(1.0), call(2.0)]
    assert pace.free == []
    pace.answered(client, 2.0, False)
    assert pace.free == [client]
    first, second, third = pace.latencies
    assert first > second > third
    assert pace.errors == 1


@pytest.mark.skipif(not is_available(), reason="there is no /proc here")
def test_growth_sees_what_is_held_only_for_a_while() -> None:
    """The peak counts: 64 MiB taken and given back again are 64 MiB of growth."""
    assert 60 < growth([os.getpid()], lambda: touch(64)) < 80


def touch(mebibytes: int) -> None:
    """Take memory and write to each page of it."""
    block = bytearray(mebibytes * 2**20)
    block[::4096] = b"x" * len(block[::4096])
