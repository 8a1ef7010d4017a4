"""Records as lines of JSON."""

from __future__ import annotations

import json
import logging
import logging.config
from contextvars import copy_context
from io import StringIO
from typing import Any

import pytest

from gatekit.middleware.access_log import JSONFormatter
from gatekit.middleware.correlation import correlation_id


@pytest.fixture(autouse=True)
def no_request() -> None:
    """What a test under WSGI has left in this context is not ours."""
    correlation_id.set(None)


def line(**attributes: Any) -> dict[str, Any]:
    """What a record with these attributes is written as, which has to be one line."""
    written = JSONFormatter().format(logging.makeLogRecord({"msg": "hello", **attributes}))
    assert written.isascii()
    assert "\n" not in written
    parsed: dict[str, Any] = json.loads(written)
    return parsed


def test_a_plain_record() -> None:
    """Time in UTC, level, logger and the message with its arguments."""
    record = line(
        msg="%s of %d", args=("one", 2), name="shop", levelname="ERROR", created=1_700_000_000.25
    )
    assert record == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "ERROR",
        "logger": "shop",
        "message": "one of 2",
    }


def test_a_traceback_is_one_member() -> None:
    """Line ends of a traceback or a message do not end the record."""
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError as error:
        record = line(exc_info=(type(error), error, error.__traceback__), msg="a\r\nb\u2028c")
    assert record["message"] == "a\r\nb\u2028c"
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("second")


def test_a_stack_is_one_member() -> None:
    """`stack_info=True` is not lost."""
    assert line(stack_info="Stack:\n  here")["stack"] == "Stack:\n  here"


def test_members_of_an_access_record_stand_beside_the_others() -> None:
    """They are not wrapped once more."""
    assert line(gatekit={"status": 200, "path": "/a"})["status"] == 200


def test_what_extra_gave_is_written() -> None:
    """Attributes that logging does not know are members, whatever they hold."""
    record = line(order=7, when=object, price=3.5)
    assert (record["order"], record["price"]) == (7, 3.5)
    assert "object" in record["when"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for(value: float) -> None:
    """Such a number is written as text, not as something that no parser takes."""
    assert line(ratio=value)["ratio"] == str(value)


def test_a_value_that_contains_itself() -> None:
    """It is written as text, and the record is not lost."""
    loop: list[object] = []
    loop.append(loop)
    assert line(loop=loop)["loop"] == "[[...]]"


def test_surrogates_are_escaped() -> None:
    """A path that was no UTF-8 can be written to any stream."""
    assert line(msg="/\udc80")["message"] == "/\udc80"


def test_the_id_of_the_request_is_added() -> None:
    """Within a request every record carries its id, without a filter."""

    def inside() -> dict[str, Any]:
        correlation_id.set("abc")
        return line()

    assert copy_context().run(inside)["correlation_id"] == "abc"


@pytest.mark.parametrize("key", ["()", "class"])
def test_dict_config_makes_it(key: str) -> None:
    """`logging.config` builds it by its name, in either way."""
    out = StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {key: "gatekit.middleware.access_log.JSONFormatter"}},
            "handlers": {
                "out": {"class": "logging.StreamHandler", "stream": out, "formatter": "json"}
            },
            "loggers": {"test.configured": {"handlers": ["out"], "propagate": False}},
        }
    )
    logging.getLogger("test.configured").warning("hello", extra={"order": 7})
    assert json.loads(out.getvalue())["order"] == 7


def test_what_others_log_is_redacted() -> None:
    """A member that is called like a secret, and the query of an object that shows one."""

    class Asked:
        def __str__(self) -> str:
            return "<Request: GET '/a?page=2&token=TOP'>"

    record = line(request=Asked(), password="TOP", status_code=500)
    assert record["request"] == "<Request: GET '/a?page=2&token=[redacted]"
    assert (record["password"], record["status_code"]) == ("[redacted]", 500)
