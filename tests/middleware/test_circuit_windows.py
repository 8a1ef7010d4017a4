"""The counting windows against lists that keep every call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatekit._core.windows import CountWindow, TimeWindow, Window

calls = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.5, 9.75, 30.0]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, None, 0, 1, 5]),
    ),
    max_size=80,
)


def totals(window: Window) -> tuple[int, int, int]:
    return window.calls, window.failures, window.slow


@given(calls)
def test_a_time_window_holds_ten_tenths(calls: list[tuple[float, bool, bool, int | None]]) -> None:
    """The running tenth and the nine before it; what is amended goes with its own tenth."""
    window, now = TimeWindow(10.0), 50.0
    log: list[list[int]] = []
    amendable: list[tuple[int, list[int]]] = []
    for pause, failed, slow, amended in calls:
        now += pause
        entry = [int(now), failed, slow]
        log.append(entry)
        place = window.add(now, failed, slow)
        if not failed:
            amendable.append((place, entry))
        if amended is not None and amended < len(amendable):
            place, entry = amendable.pop(-1 - amended)
            window.amend(place)
            entry[1] = True
        seen = [entry for entry in log if entry[0] > int(now) - 10]
        assert totals(window) == (len(seen), sum(e[1] for e in seen), sum(e[2] for e in seen))


@given(calls, st.integers(1, 12))
def test_a_count_window_holds_the_last(
    calls: list[tuple[float, bool, bool, int | None]], size: int
) -> None:
    """As many as it has room for, however long ago."""
    window = CountWindow(size)
    log: list[list[bool]] = []
    amendable: list[tuple[int, list[bool]]] = []
    for _, failed, slow, amended in calls:
        entry = [failed, slow]
        log.append(entry)
        place = window.add(0.0, failed, slow)
        if not failed:
            amendable.append((place, entry))
        if amended is not None and amended < len(amendable):
            place, entry = amendable.pop(-1 - amended)
            window.amend(place)
            entry[0] = True
        seen = log[-size:]
        assert totals(window) == (len(seen), sum(e[0] for e in seen), sum(e[1] for e in seen))


def test_a_time_window_forgets_by_itself() -> None:
    """`expire` is for who looks without adding."""
    window = TimeWindow(10.0)
    window.add(100.0, True, True)
    window.expire(109.0)
    assert totals(window) == (1, 1, 1)
    window.expire(110.0)
    assert totals(window) == (0, 0, 0)


def test_an_earlier_time_is_counted_now() -> None:
    """Threads take the time before they get the lock; one that comes late is not lost."""
    window = TimeWindow(10.0)
    window.add(105.0, False, False)
    window.add(104.0, True, False)
    assert totals(window) == (2, 1, 0)
    window.expire(114.9)
    assert totals(window) == (2, 1, 0)


def test_what_was_cleared_cannot_be_amended() -> None:
    """A count window numbers its calls once and for all."""
    window = CountWindow(3)
    place = window.add(0.0, False, False)
    window.clear()
    window.amend(place)
    assert totals(window) == (0, 0, 0)
