"""Tells what happened to circuits: a line in the log, and the user's own callback."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from inspect import iscoroutinefunction
from typing import TypeAlias

from gatekit._core.circuits import CircuitChange, Circuits
from gatekit._core.io import resolve
from gatekit._core.messages import Outcome
from gatekit._core.text import printable
from gatekit.middleware._circuit_sharing import Sharing

OnChange: TypeAlias = Callable[[CircuitChange], Awaitable[None] | None]

logger = logging.getLogger("gatekit")


class Teller:
    """Takes the changes of circuits that wait to be told, in order, each of them once."""

    __slots__ = ("_circuits", "_on_change", "_sharing")

    def __init__(
        self, circuits: Circuits, on_change: OnChange | None, sharing: Sharing | None
    ) -> None:
        self._circuits = circuits
        self._on_change = on_change
        self._sharing = sharing

    async def finish(self, _: Outcome) -> None:
        """For `request.on_finish`: nobody waits for it."""
        for change in self._take():
            log_change(change)
            if self._on_change is not None:
                await resolve(self._on_change(change))

    def flush(self) -> None:
        """Outside of a request. An async callback is kept for the end of the next one."""
        if self._on_change is not None and iscoroutinefunction(self._on_change):
            return
        for change in self._take():
            log_change(change)
            if self._on_change is not None:
                self._on_change(change)

    def _take(self) -> Iterator[CircuitChange]:
        while self._circuits.changes:
            try:
                change = self._circuits.changes.popleft()
            except IndexError:  # another thread was faster
                return
            if self._sharing is not None:
                self._sharing.note(change)
            yield change


def log_change(change: CircuitChange) -> None:
    """One line, a warning where the circuit opens."""
    level = logging.WARNING if change.state in ("open", "forced_open") else logging.INFO
    of_key = "" if change.key is None else f" [{printable(change.key)}]"
    until = "" if change.seconds is None else f"; half-open in {change.seconds:.1f} s"
    logger.log(
        level,
        "circuit %s%s: %s → %s: %s%s",
        change.name,
        of_key,
        change.previous,
        change.state,
        change.reason,
        until,
        extra={
            "gatekit": {
                "circuit": change.name,
                "circuit_key": change.key,
                "circuit_state": change.state,
                "circuit_previous": change.previous,
                "reason": change.reason,
                **change.stats._asdict(),
            }
        },
    )
