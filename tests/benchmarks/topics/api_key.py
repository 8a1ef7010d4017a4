"""An API key of which the store holds a million: µs that it adds, known, in a crowd, and false."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

import gatekit
from gatekit.keys import KeyManager, KeyRecord, MemoryKeys
from gatekit.keys.format import KeyFormat
from gatekit.middleware.auth.api_key import ApiKeyAuth
from gatekit.typing import ASGIApp, Receive, Scope, Send
from tests.benchmarks.harness import Bench
from tests.benchmarks.inprocess import Caller, http_scope, noop
from tests.benchmarks.report import Line, below

SECRET = b"a secret for benchmarks and nothing else"
COUNT = 1_000_000
CROWD = 1000
BUDGET = 10.0
"""µs that a known key may add."""


def measure(bench: Bench) -> Iterator[Line]:
    keys, texts = manager(100_000 if bench.quick else COUNT)
    dice = random.Random(1)
    crowd = [[(b"x-api-key", text.encode())] for text in dice.sample(texts, CROWD)]
    auth = ApiKeyAuth(keys, ttl=3600, track_use=False)
    app = gatekit.asgi(noop, auth)
    one, forged = http_scope(headers=crowd[0]), http_scope(headers=forgery())
    table = ApiKeyAuth({texts[0]: "someone"})
    with Caller() as call:
        for headers in crowd:
            expect(call.status(app, http_scope(headers=headers)), 200)
        expect(call.status(app, forged), 401)
        samples = bench.alternate(
            {
                "base": partial(call.measure, noop, one),
                "one": partial(call.measure, app, one),
                "crowd": partial(call.measure, Crowd(app, crowd), one),
                "base of the crowd": partial(call.measure, Crowd(noop, crowd), one),
                "false": partial(call.measure, app, forged),
                "table": partial(
                    call.measure,
                    gatekit.asgi(noop, table),
                    http_scope(headers=[(b"x-api-key", texts[0].encode())]),
                ),
            }
        )
    note = f"of {len(texts):,} keys"
    yield Line("a known key", ours=samples.added("one", "base"), budget=below(BUDGET), note=note)
    yield Line(
        f"{CROWD:,} known keys in turn",
        ours=samples.added("crowd", "base of the crowd"),
        budget=below(BUDGET),
        note=note,
    )
    yield Line("a false key, which is a 401", ours=samples.added("false", "base"))
    yield Line("a key of the configuration", ours=samples.added("table", "base"))


def manager(count: int) -> tuple[KeyManager, list[str]]:
    """Keys are made as fast as can be: what is measured is how they are found."""
    dice = random.Random(0)
    form = KeyFormat(secret=SECRET, entropy=dice.randbytes)
    texts: list[str] = []
    records: list[KeyRecord] = []
    for _ in range(count):
        made = form.generate()
        texts.append(made.text)
        records.append(KeyRecord(id=made.id, digest=made.digest, subject="someone"))
    return KeyManager(MemoryKeys(records), secret=SECRET), texts


def forgery() -> list[tuple[bytes, bytes]]:
    """The right shape and checksum, by who has not the secret."""
    made = KeyFormat(secret=b"somebody else's secret").generate()
    return [(b"x-api-key", made.text.encode())]


class Crowd:
    """Each request is another's."""

    def __init__(self, app: ASGIApp, crowd: list[list[tuple[bytes, bytes]]]) -> None:
        self.app = app
        self.crowd = [http_scope(headers=headers)["headers"] for headers in crowd]
        self.turn = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.turn = (self.turn + 1) % len(self.crowd)
        scope["headers"] = self.crowd[self.turn]
        await self.app(scope, receive, send)


def expect(status: int, wanted: int) -> None:
    if status != wanted:
        raise AssertionError(f"answers {status}")
