"""The demo: its walk is as expected under either kind of server, and it leaves nothing behind."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple, cast

import pytest

from examples.demo import __main__ as demo
from examples.demo.children import Child, ChildEnded, Children
from examples.demo.tour import Screen, Tour
from examples.demo.walk import STEPS, wrong_method
from tests import net
from tests.servers import GRACE, ROOT, group_is_alive

LISTED = re.compile(r"    (?P<name>\w+) .* http://127\.0\.0\.1:(?P<port>\d+)   pid (?P<pid>\d+)")
STAYS = "The gateway stays up"
PATIENCE = 30.0


class Part(NamedTuple):
    """One of the demo's processes, as the demo lists it."""

    name: str
    port: int
    pid: int


class Demo:
    """A running demo, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def read_until(self, wanted: Callable[[str], bool]) -> str:
        """The first line from here on for which `wanted` holds."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if wanted(self.lines[-1]):
                return self.lines[-1]
        raise AssertionError("it ended before:\n" + "\n".join(self.lines))

    def finish(self) -> int:
        """Reads to the end; the exit status."""
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.lines += rest.splitlines()
        return self.process.returncode

    def parts(self) -> list[Part]:
        found = filter(None, map(LISTED.fullmatch, self.lines))
        return [Part(one["name"], int(one["port"]), int(one["pid"])) for one in found]

    def all_parts(self) -> list[Part]:
        """Once the last of them, the gateway, is listed."""
        self.read_until(lambda line: line.startswith("    gateway "))
        parts = self.parts()
        assert [part.name for part in parts] == ["catalog", "orders", "accounts", "gateway"]
        return parts


@contextmanager
def running(*options: str) -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "examples.demo", *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    with process:
        try:
            yield Demo(process)
        finally:
            process.kill()


def assert_gone(parts: list[Part]) -> None:
    """None of the processes runs, and none of their ports is open."""
    for part in parts:
        assert not group_is_alive(part.pid), part
        with pytest.raises(ConnectionRefusedError):
            net.connect(part.port)


@pytest.mark.parametrize("options", [[], ["--wsgi"]], ids=["ASGI", "WSGI"])
def test_walk_is_as_expected(options: list[str]) -> None:
    """Every step comes out right under either kind of server, and the demo ends with 0."""
    with running("--once", *options) as started:
        status = started.finish()
        text = "\n".join(started.lines)
        assert status == 0, text
        assert text.count("\n    $ curl ") >= len(STEPS)
        assert text.count("✓") > len(STEPS)
        assert "✗" not in text
        for number, step in enumerate(STEPS, 1):
            assert f"{number:2}. {step.__doc__}" in started.lines
        assert "\x1b" not in text, "colours where nobody watches"
        assert len(started.parts()) == 4
        assert_gone(started.parts())


def test_demo_stays_up_until_ctrl_c() -> None:
    """After the walk the gateway answers and its log is shown; Ctrl-C ends everything with 0."""
    with running() as started:
        parts = started.all_parts()
        started.read_until(lambda line: line.startswith(STAYS))
        line = started.read_until(lambda line: "curl -i " in line)
        port, target = re.findall(r"http://127\.0\.0\.1:(\d+)(\S+)", line)[0]
        assert (
            net.request(int(port), "GET", target, [("X-Correlation-ID", "by-hand")]).status == 200
        )
        started.read_until(lambda line: '"correlation_id": "by-hand"' in line)

        started.process.send_signal(signal.SIGINT)
        assert started.finish() == 0
        assert started.lines[-1] == "Everything is stopped."
        assert_gone(parts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_in_the_middle_leaves_nothing_behind(number: signal.Signals) -> None:
    """A demo that is told to end while it walks ends its processes first."""
    with running("--once") as started:
        parts = started.all_parts()
        started.process.send_signal(number)
        assert started.finish() == 128 + number
        assert_gone(parts)


def test_killed_demo_leaves_nothing_behind() -> None:
    """Even one that had no time to clean up: its processes notice, and end by themselves."""
    with running() as started:
        parts = started.all_parts()
        connections = [net.connect(part.port, timeout=GRACE * 2) for part in parts]
        started.process.kill()
        started.process.wait()
        for connection in connections:
            assert connection.is_closed_by_peer()
            connection.close()


def test_closed_pipe_ends_the_demo() -> None:
    """`make demo | head` ends at once, without a traceback, and leaves nothing behind."""
    with running() as started:
        parts = started.all_parts()
        assert started.process.stdout is not None
        started.process.stdout.close()
        assert started.process.wait(PATIENCE) == 128 + signal.SIGPIPE
        assert_gone(parts)


def test_crash_of_a_service_ends_the_demo() -> None:
    """If one process dies, the demo says which, ends the others, and fails."""
    with running() as started:
        parts = started.all_parts()
        started.read_until(lambda line: line.startswith(STAYS))
        os.kill(parts[1].pid, signal.SIGKILL)
        assert started.finish() == 1
        assert f"orders (pid {parts[1].pid}) has ended with status -9" in "\n".join(started.lines)
        assert_gone(parts)


def test_service_that_does_not_start_is_named_with_its_error() -> None:
    """What a process wrote before it gave up is part of the message."""
    with Children() as children:
        children.start("nothing", "uvicorn", "examples.demo.nothing:app")
        with pytest.raises(ChildEnded) as raised:
            children.wait_until_ready()
    assert "nothing (pid " in str(raised.value)
    assert "No module named 'examples.demo.nothing'" in str(raised.value)


def test_unexpected_answer_makes_the_demo_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is not as expected is marked, and the exit status is 1."""

    class Everything200(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(demo, "STEPS", (wrong_method,))
    shown = io.StringIO()
    with HTTPServer(("127.0.0.1", 0), Everything200) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        gateway = Child("gateway", "http.server", server.server_port, nobody())
        status = demo.walk(Children(), Screen(shown), gateway)
        thread.join()
    assert status == 1
    assert "✗ expected: 405, a problem of type urn:gatekit:method-not-allowed" in shown.getvalue()


def test_gateway_that_does_not_answer_is_one_thing_wrong() -> None:
    """A broken connection fails its step and no more."""
    shown = io.StringIO()
    with Children() as children:
        port = int(children.nobody().rpartition(":")[2])
        tour = Tour(Screen(shown), Child("gateway", "nothing", port, nobody()))
        tour.take(1, wrong_method)
    assert tour.wrong == 1
    assert "ConnectionRefusedError" in shown.getvalue()


def test_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a framework or server the demo says what to install, and starts nothing."""
    monkeypatch.setattr(demo, "NEEDED", ("flask", "no_such_framework"))
    monkeypatch.setattr(sys, "argv", ["demo", "--once"])
    assert demo.main() == 1
    assert "needs no_such_framework too: pip install '.[demo]'" in capsys.readouterr().err


def test_colours_are_for_terminals() -> None:
    """The same line, with colours and without."""
    plain, coloured = io.StringIO(), io.StringIO()
    Screen(plain).good("✓ yes")
    Screen(coloured, colours=True).good("✓ yes")
    assert plain.getvalue() == "✓ yes\n"
    assert coloured.getvalue() == "\x1b[32m✓ yes\x1b[0m\n"


def nobody() -> subprocess.Popen[str]:
    """For a child that is no process of the demo's."""
    return cast("subprocess.Popen[str]", None)
