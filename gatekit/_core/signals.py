"""What an onion says to its door: see `flow` for the whole of it."""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any


class Signal:
    """What an onion yields to its door; everything else it yields belongs to the event loop."""

    __slots__ = ()


class AppBody(Signal):
    """Stands for the body that the app is still to send."""

    __slots__ = ()


class ReadBody(Signal):
    """Asks the door to hold the app's body, up to `limit` bytes."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit


APP = Signal()
APP_BODY = AppBody()


@types.coroutine
def call_app() -> Generator[Signal, Any, Any]:
    """The bottom of the onion: stands until the door has the head of the app's answer."""
    return (yield APP)


@types.coroutine
def read_app_body(limit: int) -> Generator[Signal, Any, Any]:
    """Stands until the door holds the app's whole body."""
    return (yield ReadBody(limit))
