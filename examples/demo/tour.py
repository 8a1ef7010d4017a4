"""How a step of the walk is shown: its request as a curl line, the answer, what was expected."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import TextIO, TypeAlias

from examples.demo.children import Child
from examples.demo.client import Answer, Call, send

Step: TypeAlias = "Callable[[Tour], None]"

_LONGEST = 400
"""Characters of a body that are shown."""


class Screen:
    """Lines of text, with colours where somebody watches."""

    def __init__(self, out: TextIO = sys.stdout, *, colours: bool = False) -> None:
        self._out = out
        self._colours = colours

    def line(self, text: str = "", colour: str = "") -> None:
        if self._colours and colour:
            text = f"\x1b[{colour}m{text}\x1b[0m"
        print(text, file=self._out, flush=True)

    def title(self, text: str) -> None:
        self.line()
        self.line(text, "1")

    def faint(self, text: str) -> None:
        self.line(text, "2")

    def good(self, text: str) -> None:
        self.line(text, "32")

    def bad(self, text: str) -> None:
        self.line(text, "1;31")


class Tour:
    """Sends the requests of a walk and keeps count of what did not come out as it should."""

    def __init__(self, screen: Screen, gateway: Child) -> None:
        self.screen = screen
        self.gateway = gateway
        self.wrong = 0

    def take(self, number: int, step: Step) -> None:
        """One step. Its title is its docstring's first line; an error in it is one thing wrong."""
        self.screen.title(f"{number:2}. {(step.__doc__ or step.__name__).strip().splitlines()[0]}")
        wrong = self.wrong
        try:
            step(self)
        except (OSError, HTTPException, ValueError, LookupError) as error:
            self.expect(f"an answer, not {type(error).__name__}: {error}", False)
        if self.wrong > wrong:
            self.screen.faint(f"    what the gateway wrote last:{self.gateway.last_lines()}")

    def get(
        self, target: str, headers: Mapping[str, str] | None = None, show: Sequence[str] = ()
    ) -> Answer:
        return self.call(Call("GET", target, headers or {}), show)

    def call(self, call: Call, show: Sequence[str] = (), *, streams: bool = False) -> Answer:
        """Sends a request and prints both; `show` names the header fields worth a look."""
        self.screen.line()
        self.screen.line(f"    $ {call.curl(self.gateway.url)}", "36")

        def head(answer: Answer) -> None:
            self.screen.line(f"    {answer.status} {answer.reason}", "1")
            for name in show:
                for value in answer.values(name):
                    self.screen.line(f"    {name}: {value}")

        def piece(seconds: float, data: bytes) -> None:
            if streams:
                self.screen.faint(f"    {seconds:5.2f} s  {data.decode().strip()}")

        answer = send(self.gateway.port, call, head, piece)
        if answer.body and not streams:
            text = " ".join(answer.text.split())
            self.screen.faint(f"    {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}")
        return answer

    def expect(self, fact: str, holds: bool) -> None:
        """✓ and the fact where it holds; else the walk has failed."""
        if holds:
            self.screen.good(f"    ✓ {fact}")
        else:
            self.wrong += 1
            self.screen.bad(f"    ✗ expected: {fact}")

    def expect_problem(self, answer: Answer, status: int, *kinds: str) -> None:
        """A refusal of the gateway's own, with its stable type."""
        told = json.loads(answer.body) if "json" in answer.header("content-type") else {}
        types = [f"urn:gatekit:{kind}" for kind in kinds]
        is_it = answer.status == status and told.get("type") in types
        self.expect(f"{status}, a problem of type {' or '.join(types)}", is_it)
