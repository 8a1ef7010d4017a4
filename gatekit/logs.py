"""A log that never makes a request wait: records go into a bounded queue, and a thread writes them.

    logging.config.dictConfig({
        "version": 1,
        "formatters": {"json": {"()": "gatekit.JSONFormatter"}},
        "handlers": {"out": {"()": "gatekit.QueueSink", "formatter": "json"}},
        "root": {"level": "INFO", "handlers": ["out"]},
    })
    QueueSink(logging.FileHandler("access.log"), capacity=50_000)      # around any other handler

**A queue that is full drops.** What comes then is counted in `dropped`, and a warning tells how
many were lost as soon as there is room again.

**The end.** `flush()` waits for what is in the queue, for `patience` seconds at most; logging calls
it, and `close()`, when the interpreter ends. A record that was made is text by then: nothing of a
request is held.

The thread is begun with the first record, in each process its own; a child of a fork leaves to its
parent what the parent has not written yet.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import TextIO

from gatekit._core.options import integer_problem, known_keywords, seconds_problem
from gatekit.errors import check
from gatekit.middleware._access_record import Sentence
from gatekit.middleware.correlation import correlation_id

__all__ = ["QueueSink"]

# What says the same later.
_CONSTANT = frozenset({str, int, float, bool, type(None), Sentence})


@known_keywords
class QueueSink(logging.Handler):
    """`target` is a handler, or a stream to write to: standard error if there is none.

    `capacity` is in records, `patience` in seconds. A formatter that is set here is the target's.
    """

    def __init__(
        self,
        target: logging.Handler | TextIO | None = None,
        *,
        capacity: int = 10_000,
        patience: float = 5.0,
        level: int | str = logging.NOTSET,
    ) -> None:
        handler = target if isinstance(target, logging.Handler) else None
        check(
            "QueueSink",
            target=None
            if handler is not None or target is None or hasattr(target, "write")
            else f"must be a handler of logging or a stream, not {target!r}",
            capacity=integer_problem(capacity, 1),
            patience=seconds_problem(patience),
            level=_level_problem(level),
        )
        super().__init__(level)
        if handler is None:
            stream = sys.stderr if target is None else target
            handler = logging.StreamHandler(stream)  # type: ignore[arg-type]
        self.target: logging.Handler = handler
        self.dropped = 0
        """Records that found the queue full, in this process."""
        self._capacity = capacity
        self._patience = patience
        self._told = 0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._queue: deque[logging.LogRecord] = deque()
        # It may be entered twice: by a signal's handler that logs, for one.
        self._wake = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._busy = False
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._queue) + self._busy

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 — logging's
        super().setFormatter(fmt)
        self.target.setFormatter(fmt)

    def emit(self, record: logging.LogRecord) -> None:
        if self._pid != os.getpid():
            self._begin()
            self.dropped = self._told = 0
        queue = self._queue
        if len(queue) >= self._capacity:
            self.dropped += 1
            return
        queue.append(_settled(record))
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._start()
        if not self._busy:
            with self._wake:
                self._wake.notify_all()

    def flush(self) -> None:
        """Waits until all is written, or `patience` is over."""
        if self._pid == os.getpid() and self._thread is not None:
            end = time.monotonic() + self._patience
            with self._wake:
                self._wake.notify_all()
                while (self._queue or self._busy) and self._thread.is_alive():
                    left = end - time.monotonic()
                    if left <= 0 or not self._wake.wait(left):
                        break
        self.target.flush()

    def close(self) -> None:
        """Flushes and ends the thread; a record that comes later begins it anew."""
        self.flush()
        if self._pid == os.getpid():
            thread = self._thread
            with self._wake:
                self._stopped = True
                self._wake.notify_all()
            if thread is not None and thread is not threading.current_thread():
                thread.join(self._patience)
        self.target.close()
        super().close()

    def _start(self) -> None:
        self._stopped = False
        self._thread = threading.Thread(target=self._write, name="gatekit log", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        wake, queue = self._wake, self._queue
        while True:
            with wake:
                # Before the queue is looked at: who puts something into it looks here afterwards.
                self._busy = False
                while not queue:
                    wake.notify_all()
                    if self._stopped:
                        return
                    wake.wait()
                self._busy = True
            self._drain(queue)

    def _drain(self, queue: deque[logging.LogRecord]) -> None:
        while queue:
            self._hand_on(queue.popleft())
            lost = self.dropped - self._told
            if lost and len(queue) < self._capacity:
                self._told += lost
                text = f"{lost} records were dropped: the queue of {self._capacity} was full"
                level = logging.WARNING
                self._hand_on(logging.LogRecord("gatekit.logs", level, "logs", 0, text, None, None))

    def _hand_on(self, record: logging.LogRecord) -> None:
        try:
            if record.levelno >= self.target.level:
                self.target.handle(record)
        except Exception:
            # What a handler does not catch itself must not end the thread for all others.
            self.handleError(record)


def _settled(record: logging.LogRecord) -> logging.LogRecord:
    """The record without anything that changes, or is held, once its request is over."""
    current = correlation_id.get()
    changes = record.args and not all(type(value) in _CONSTANT for value in record.args)
    if not changes and record.exc_info is None and current is None:
        return record
    record = copy.copy(record)  # other handlers are given the one that it was
    if changes:
        record.msg, record.args = record.getMessage(), None
    if record.exc_info is not None:
        if record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    if current is not None:
        record.__dict__.setdefault("correlation_id", current)
    return record


def _level_problem(level: object) -> str | None:
    if isinstance(level, str) and level in logging.getLevelNamesMapping():
        return None
    return None if isinstance(level, int) and not isinstance(level, bool) else "is not a level"
