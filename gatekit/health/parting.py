"""A signal that ends the process takes effect a little later, when nobody sends requests any more.

drain_on(signal.SIGTERM, health.drain, delay=5.0)
"""

from __future__ import annotations

import os
import signal as signals
import threading
from collections.abc import Callable
from types import FrameType

from gatekit._core.options import seconds_problem
from gatekit.errors import check


def drain_on(signal: signals.Signals, drain: Callable[[], None], delay: float) -> None:
    """Sets a handler that calls `drain`, and hands on to the one before after `delay` seconds."""
    check(
        "drain_on",
        delay=None if delay == 0 and delay is not False else seconds_problem(delay),
        signal=_signal_problem(signal),
    )
    before = signals.getsignal(signal)
    told = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            drain()
            if delay:
                # What arrives meanwhile, from the timer or from somebody impatient, goes on.
                timer = threading.Timer(delay, os.kill, (os.getpid(), number))
                timer.daemon = True
                timer.start()
                return
        if callable(before):
            before(number, frame)
        else:
            signals.signal(number, signals.SIG_DFL if before is None else before)
            os.kill(os.getpid(), number)

    signals.signal(signal, handle)


def _signal_problem(signal: object) -> str | None:
    if isinstance(signal, signals.Signals):
        return None
    return f"must be a signal such as signal.SIGTERM, not {signal!r}"
