"""Several attempts at once, of which the first good one wins: tasks of the loop, or threads.

    result = await race(request.io, Entrant(attempt()), another, after=0.1, more=1, is_good=...)

`another()` gives one more entrant when nobody has answered within `after` seconds, or None where
there is none. The result is the first leg that is good, else the last leg that was not, else the
last failure; what is no failure of an upstream, such as a request that cannot be written, is raised
at once.

**Who loses is given up.** A task is cancelled, and over when this returns. A thread cannot be: its
connection is shut down, which wakes it, and it cleans up on its own. One that is still connecting
goes on until it has connected, or has waited long enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeAlias

from gatekit._core.io import IO, block
from gatekit.errors import UpstreamError
from gatekit.proxy.attempts.leg import Leg
from gatekit.proxy.transport.interrupt import Interrupt

Result: TypeAlias = "Leg | BaseException"


class Entrant(NamedTuple):
    """One attempt, not yet begun. `over` is called when it has ended, even if it never began."""

    run: Coroutine[Any, Any, Leg]
    over: Callable[[], None]
    interrupt: Interrupt | None = None


Another: TypeAlias = Callable[[], Entrant | None]
IsGood: TypeAlias = Callable[[Leg], bool]


async def race(
    io: IO, first: Entrant, another: Another, *, after: float, more: int, is_good: IsGood
) -> Leg | UpstreamError:
    """`more` is how many may be asked beside the first."""
    if io.is_async:
        return await _Tasks(another, after, more, is_good).run(first)
    return _Threads(another, after, more, is_good).run(first)


class _Race:
    """What both kinds share: who may still come, and the best result so far."""

    def __init__(self, another: Another, after: float, more: int, is_good: IsGood) -> None:
        self._another = another
        self._after = after
        self._more = more
        self._is_good = is_good
        self.best: Leg | UpstreamError | None = None

    @property
    def patience(self) -> float | None:
        """How long to wait for those who are running before one more is sent."""
        return self._after if self._more else None

    def next(self) -> Entrant | None:
        """One more, as nobody was in time."""
        entrant = self._another()
        self._more = self._more - 1 if entrant is not None else 0
        return entrant

    def take(self, result: Result) -> bool:
        """Whether this decides it. Of two that are not good, an answer is better than none."""
        if not isinstance(result, Leg | UpstreamError):
            raise result
        if isinstance(result, UpstreamError):
            if not isinstance(self.best, Leg):
                self.best = result
            return False
        if isinstance(self.best, Leg):
            self.best.drop()
        self.best = result
        return self._is_good(result)

    def give_up(self) -> None:
        """Nobody wants the best any more."""
        if isinstance(self.best, Leg):
            self.best.drop()


class _Tasks(_Race):
    async def run(self, first: Entrant) -> Leg | UpstreamError:
        running = {_begin(first)}
        try:
            try:
                return await self._decide(running)
            finally:
                await _call_back(running)
        except BaseException:
            # Cancelled, perhaps with the winner in its hands and waiting for the losers.
            self.give_up()
            raise

    async def _decide(self, running: set[asyncio.Task[Leg]]) -> Leg | UpstreamError:
        while running:
            done, _ = await asyncio.wait(
                running, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                entrant = self.next()
                if entrant is not None:
                    running.add(_begin(entrant))
            for task in done:
                running.discard(task)
                if self.take(_result_of(task)):
                    return _known(self.best)
        return _known(self.best)


class _Threads(_Race):
    def run(self, first: Entrant) -> Leg | UpstreamError:
        line = _Line()
        try:
            try:
                if not line.send(first):
                    # No thread is to be had: it does without the others.
                    self.take(_run(first))
                    return _known(self.best)
                return self._decide(line)
            finally:
                line.close()
        except BaseException:
            self.give_up()
            raise

    def _decide(self, line: _Line) -> Leg | UpstreamError:
        running = 1
        while running:
            try:
                result = line.results.get(timeout=self.patience)
            except Empty:
                entrant = self.next()
                if entrant is None:
                    continue
                if line.send(entrant):
                    running += 1
                else:
                    entrant.run.close()
                    entrant.over()
                continue
            running -= 1
            if self.take(result):
                break
        return _known(self.best)


class _Line:
    """Where threads leave what they found, as long as somebody wants it."""

    def __init__(self) -> None:
        self.results: SimpleQueue[Result] = SimpleQueue()
        self._lock = Lock()
        self._is_closed = False
        self._interrupts: list[Interrupt] = []

    def send(self, entrant: Entrant) -> bool:
        """False where there is no thread for it."""
        context = copy_context()
        thread = Thread(
            target=context.run, args=(self._send, entrant), name="gatekit hedge", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            return False
        if entrant.interrupt is not None:
            self._interrupts.append(entrant.interrupt)
        return True

    def close(self) -> None:
        """Nobody looks any more: who is still on the way is called back, what came is dropped."""
        with self._lock:
            self._is_closed = True
        for interrupt in self._interrupts:
            interrupt.fire()
        while not self.results.empty():
            _drop_result(self.results.get())

    def _send(self, entrant: Entrant) -> None:
        result = _run(entrant)
        with self._lock:
            if not self._is_closed:
                self.results.put(result)
                return
        _drop_result(result)


def _begin(entrant: Entrant) -> asyncio.Task[Leg]:
    task = asyncio.get_running_loop().create_task(entrant.run)
    # Not in the coroutine: one that is cancelled before its first step has no `finally`.
    task.add_done_callback(lambda _: entrant.over())
    return task


def _run(entrant: Entrant) -> Result:
    try:
        return block(entrant.run)
    except BaseException as error:
        return error
    finally:
        entrant.over()


async def _call_back(running: set[asyncio.Task[Leg]]) -> None:
    """Ends the losers, and waits until they have ended."""
    for task in running:
        task.cancel()
        task.add_done_callback(_drop)
    if running:
        await asyncio.wait(running)


def _result_of(task: asyncio.Task[Leg]) -> Result:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()


def _drop(task: asyncio.Task[Leg]) -> None:
    if not task.cancelled():
        _drop_result(_result_of(task))


def _drop_result(result: Result) -> None:
    if isinstance(result, Leg):
        result.drop()


def _known(best: Leg | UpstreamError | None) -> Leg | UpstreamError:
    assert best is not None
    return best
