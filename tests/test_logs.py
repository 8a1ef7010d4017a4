"""A sink that never makes a request wait."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from gatekit import AccessLog, ConfigurationError, QueueSink
from gatekit.middleware.correlation import correlation_id
from gatekit.testing import exercise
from tests.servers import ROOT


class Gate(logging.Handler):
    """A handler that stands still until it is opened, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.entered = threading.Event(), threading.Event()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        self.open.wait(5)
        self.messages.append(self.format(record))


def record(text: str = "hello", *args: Any, **attributes: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "args": args, "levelno": 20, **attributes})


def test_records_arrive_in_order() -> None:
    """`flush` returns when all of them are written."""
    gate = Gate()
    gate.open.set()
    sink = QueueSink(gate)
    for number in range(100):
        sink.handle(record("%d", number))
    sink.flush()
    assert gate.messages == [str(number) for number in range(100)]
    assert (sink.waiting, sink.dropped) == (0, 0)
    sink.close()


def test_a_full_queue_drops_and_tells() -> None:
    """Nobody waits; how many were lost is counted and, when there is room again, written."""
    gate = Gate()
    sink = QueueSink(gate, capacity=3)
    sink.handle(record("first"))
    gate.entered.wait(5)
    for number in range(5):
        sink.handle(record("%d", number))
    assert (sink.dropped, sink.waiting) == (2, 4)
    gate.open.set()
    sink.flush()
    assert gate.messages == [
        "first",
        "0",
        "2 records were dropped: the queue of 3 was full",
        "1",
        "2",
    ]
    sink.close()


def test_a_handler_that_is_stuck_holds_nobody() -> None:
    """`flush` and `close` give up when their patience is over."""
    gate = Gate()
    sink = QueueSink(gate, patience=0.01)
    sink.handle(record())
    started = time.monotonic()
    sink.flush()
    sink.close()
    assert time.monotonic() - started < 3
    gate.open.set()


def test_a_record_is_what_it_was_when_it_was_made() -> None:
    """What changes later, the exception and the request's id are settled in the caller's thread."""
    gate = Gate()
    gate.setFormatter(logging.Formatter("%(message)s %(correlation_id)s"))
    sink, things = QueueSink(gate), [1]

    def log() -> None:
        correlation_id.set("abc")
        try:
            raise KeyError("lost")
        except KeyError:
            sink.handle(record("%s", things, exc_info=sys.exc_info()))

    thread = threading.Thread(target=log)
    thread.start()
    thread.join()
    things.append(2)
    gate.open.set()
    sink.flush()
    (message,) = gate.messages
    assert message.startswith("[1] abc\nTraceback")
    assert "KeyError: 'lost'" in message
    sink.close()


def test_a_record_is_not_changed_for_others() -> None:
    """Another handler of the same logger still has the exception and the arguments."""
    gate = Gate()
    gate.open.set()
    sink = QueueSink(gate)
    try:
        raise KeyError
    except KeyError:
        one = record("%s", [1], exc_info=sys.exc_info())
    sink.handle(one)
    assert (one.args, one.exc_info is not None) == (([1],), True)
    sink.close()


def test_a_handler_that_raises_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The records after it are written all the same."""
    seen: list[str] = []

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            seen.append(record.getMessage())
            if len(seen) == 1:
                raise OSError("disk full")
            return True

    sink = QueueSink(Broken())
    sink.handle(record("1"))
    sink.handle(record("2"))
    sink.flush()
    assert seen == ["1", "2"]
    assert "disk full" in capsys.readouterr().err
    sink.close()


def test_it_begins_anew_after_its_end() -> None:
    """A record after `close` is not lost."""
    stream = io.StringIO()
    sink = QueueSink(stream)
    sink.handle(record("1"))
    sink.close()
    sink.handle(record("2"))
    sink.flush()
    assert stream.getvalue() == "1\n2\n"
    sink.close()


def test_it_is_configured_by_a_dict() -> None:
    """Its formatter is the target's, and an access log writes through it."""
    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": "gatekit.JSONFormatter"}},
            "handlers": {"out": {"()": "gatekit.QueueSink", "target": stream, "formatter": "json"}},
            "loggers": {"test.sink": {"level": "INFO", "handlers": ["out"], "propagate": False}},
        }
    )
    exercise(AccessLog("test.sink"), target="/orders")
    (sink,) = logging.getLogger("test.sink").handlers
    sink.close()
    line = json.loads(stream.getvalue())
    assert (line["path"], line["logger"]) == ("/orders", "test.sink")
    assert line["message"].startswith("GET /orders 200 ")


def test_no_thread_before_the_first_record() -> None:
    """Nor one more for each record."""
    before = threading.active_count()
    sink = QueueSink(io.StringIO())
    assert threading.active_count() == before
    for _ in range(10):
        sink.handle(record())
    assert threading.active_count() <= before + 1
    sink.close()
    assert threading.active_count() == before


def test_the_interpreter_ends_when_all_is_written() -> None:
    """Nobody has to call `close`."""
    script = """
import logging, sys
from gatekit import QueueSink
logging.basicConfig(handlers=[QueueSink(sys.stdout)], level="INFO", format="%(message)s")
for number in range(1000):
    logging.info("%d", number)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(number) for number in range(1000)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_each_process_has_a_thread_of_its_own() -> None:
    """What the parent has not written is written once, by the parent."""
    script = """
import logging, os, sys, threading
from gatekit import QueueSink
gate = threading.Event()
class Slow(logging.StreamHandler):
    def emit(self, record):
        gate.wait()
        super().emit(record)
sink = QueueSink(Slow(sys.stdout))
logging.basicConfig(handlers=[sink], level="INFO", format="%(message)s")
logging.info("parent 1")
logging.info("parent 2")
pid = os.fork()
gate.set()
if pid == 0:
    logging.info("child")
    logging.shutdown()
    os._exit(0)
os.waitpid(pid, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20,
        check=True,
    )  # fmt: skip
    assert sorted(done.stdout.splitlines()) == ["child", "parent 1", "parent 2"]


def test_all_wrong_options_are_named() -> None:
    """One error names every parameter that is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        QueueSink(7, capacity=0, patience=-1, level="LOUD", size=1)  # type: ignore[arg-type,call-arg]
    assert set(caught.value.problems) == {"target", "capacity", "patience", "level", "size"}
