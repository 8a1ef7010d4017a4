"""The policy against a small model: what is served could have come from the origin just so."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekit import Request, Response
from gatekit.middleware.cache.dates import format_date, parse_date
from gatekit.middleware.cache.directives import parse, parse_targeted, seconds
from gatekit.middleware.cache.entry import unpack
from gatekit.middleware.cache.ranges import cut
from gatekit.middleware.cache.vary import NORMALISERS, codings, languages, squeezed, variant
from tests.middleware.cache.origin import Bench, is_hit


class Made(NamedTuple):
    """An answer that the origin gave out: when, and what it said of itself."""

    at: float
    lifetime: int
    swr: int
    sie: int
    strict: bool
    storable: bool
    variant: str


LENGTHS = st.sampled_from([0, 1, 5, 20])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 15)),
        st.tuples(st.just("get"), st.sampled_from(["", "no-cache", "max-age=3", "min-fresh=4"])),
        st.tuples(st.just("get as"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("change"), st.tuples(LENGTHS, LENGTHS, LENGTHS)),
        st.tuples(st.just("directive"), st.sampled_from(["", "must-revalidate", "no-store"])),
        st.tuples(st.just("down"), st.booleans()),
        st.tuples(st.just("post"), st.none()),
    ),
    max_size=40,
)


class World:
    """An origin that remembers every answer by its body, and the moment of the last POST."""

    def __init__(self) -> None:
        self.bench = Bench(stale_if_error=0.0)
        self.bench.origin.answer = self.answer
        self.made: dict[bytes, Made] = {}
        self.version = 0
        self.lengths = (5, 0, 0)
        self.directive = ""
        self.down = False
        self.changed_at = float("-inf")

    def answer(self, request: Request) -> Response:
        if self.down:
            return Response(503, body=b"down")
        if request.method == "POST":
            return Response(204)
        who = request.headers.get("who", "")
        etag = f'"{self.version}{who}"'
        lifetime, swr, sie = self.lengths
        said = f"max-age={lifetime}, stale-while-revalidate={swr}, stale-if-error={sie}"
        fields = [
            ("cache-control", f"{said}, {self.directive}" if self.directive else said),
            ("vary", "who"), ("etag", etag),
        ]  # fmt: skip
        body = etag.encode()
        strict, storable = self.directive == "must-revalidate", self.directive != "no-store"
        now = self.bench.clock()
        self.made[body] = Made(now, lifetime, swr, sie, strict, storable, who)
        if request.headers.get("if-none-match") == etag:
            return Response(304, fields)
        return Response(200, fields, body)

    def get(self, who: str, control: str) -> None:
        headers = {"who": who} if who else {}
        if control:
            headers["cache_control"] = control
        before = self.bench.asked
        answer = self.bench.get("/", **headers)
        if answer.status == 503:
            assert self.down
            return
        made = self.made[answer.body]
        now = self.bench.clock()
        age = now - made.at
        assert made.variant == who
        assert int(answer.headers["age"]) == int(age) if "age" in answer.headers else age == 0
        if not is_hit(answer):
            assert made.at == now
            return
        assert made.storable
        # Only what was made after the last unsafe request may be used.
        assert made.at >= self.changed_at
        if self.bench.asked > before:
            assert self.down
            assert not made.strict
            assert age <= made.lifetime + made.sie
            assert control != "no-cache"
        else:
            assert control != "no-cache"
            assert age < made.lifetime
            if control == "max-age=3":
                assert age < 3
            if control == "min-fresh=4":
                assert made.lifetime - age >= 4


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_what_is_served_could_have_been_the_origins(steps: list[tuple[str, object]]) -> None:
    """Whatever is asked, in whatever order: age, variant, directives and purges are kept to."""
    world = World()
    for step, argument in steps:
        match step:
            case "pass":
                world.bench.pass_time(float(argument))  # type: ignore[arg-type]
            case "get":
                world.get("", str(argument))
            case "get as":
                world.get(str(argument), "")
            case "change":
                world.version += 1
                world.lengths = argument  # type: ignore[assignment]
            case "directive":
                world.directive = str(argument)
            case "down":
                world.down = bool(argument)
            case _:
                if not world.down:
                    world.bench.get("/", method="POST")
                    world.changed_at = world.bench.clock()
                    world.made = {
                        body: made._replace(at=float("-inf")) for body, made in world.made.items()
                    }


@given(st.binary(max_size=200))
def test_no_field_value_breaks_a_parser(value: bytes) -> None:
    """Whatever stands in a field, parsing it gives something."""
    parse([value])
    parse_targeted([value])
    parse_date(value)
    codings(value)
    languages(value)
    squeezed(value)
    unpack(value)
    cut(200, [], b"0123456789", value)
    variant((b"a", b"accept-language"), [(b"a", value)], NORMALISERS)


@given(st.integers(0, 253_402_300_799))
def test_dates_come_back(moment: int) -> None:
    """What is written is read as the same second."""
    assert parse_date(format_date(moment)) == moment


@given(st.text(alphabet="0123456789 -+.e'\"x", max_size=30))
def test_seconds_are_never_negative(text: str) -> None:
    """What is no number of seconds is 0, what is too many is 2^31."""
    found = seconds({"max-age": text}, "max-age")
    assert found is not None
    assert 0 <= found <= 2_147_483_648


@given(st.binary(min_size=1, max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_ranges_are_slices(body: bytes, first: int, last: int) -> None:
    """One range is exactly those bytes, and says so."""
    part = cut(200, [(b"content-length", b"%d" % len(body))], body, b"bytes=%d-%d" % (first, last))
    if last < first:
        assert part is None
    elif first >= len(body):
        assert part is not None
        assert part.status == 416
    else:
        assert part is not None
        assert part.body == body[first : last + 1]
        assert (b"content-length", b"%d" % len(part.body)) in part.fields


@given(st.permutations(["gzip", "br;q=0.5", "identity;q=0", "zstd"]), st.sampled_from([",", " , "]))
def test_codings_in_any_order_are_the_same(codes: list[str], mark: str) -> None:
    """`Accept-Encoding` is compared by what it accepts."""
    assert codings(mark.join(codes).encode()) == b"zstd,br,gzip,-identity"
