"""A record of logging for an access: made in a third of the time, and the same to whoever reads it.

    logger.handle(event(logger, logging.INFO, members))

There is no file and line to find out, no path to take apart and no `extra` to look through. Where
the logger, or the process by `logging.setLogRecordFactory`, makes records of its own kind, it makes
these too.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping

_STARTED = time.time()


class AccessEvent(logging.LogRecord):
    """Has every attribute that one of its base has; `gatekit` holds the members."""

    def __init__(
        self, name: str, level: int, sentence: object, members: Mapping[str, object]
    ) -> None:
        created = time.time()
        thread = threading.current_thread()
        processes = sys.modules.get("multiprocessing")
        self.__dict__ = {
            "name": name,
            "msg": "%s",
            "args": (sentence,),
            "levelname": logging.getLevelName(level),
            "levelno": level,
            "pathname": "access_log",
            "filename": "access_log",
            "module": "access_log",
            "exc_info": None,
            "exc_text": None,
            "stack_info": None,
            "lineno": 0,
            "funcName": None,
            "created": created,
            "msecs": int(created % 1 * 1000) + 0.0,
            "relativeCreated": (created - _STARTED) * 1000,
            "thread": thread.ident,
            "threadName": thread.name,
            "processName": "MainProcess" if processes is None else processes.current_process().name,
            "process": os.getpid(),
            "taskName": None,
            "gatekit": members,
        }


def event(
    logger: logging.Logger, level: int, sentence: object, members: Mapping[str, object]
) -> logging.LogRecord:
    """What the logger would make by `log(level, "%s", sentence, extra={"gatekit": members})`."""
    is_plain = type(logger).makeRecord is logging.Logger.makeRecord
    if is_plain and logging.getLogRecordFactory() is logging.LogRecord:
        return AccessEvent(logger.name, level, sentence, members)
    extra = {"gatekit": members}
    return logger.makeRecord(
        logger.name, level, "access_log", 0, "%s", (sentence,), None, extra=extra
    )
