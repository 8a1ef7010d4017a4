"""Destinations in a variable of the environment, separated by commas.

Cluster("orders", resolver=Environment("ORDERS_URLS"))     # http://a:8002,http://b:8002
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from gatekit._core.io import IO
from gatekit._core.options import flag_problem, known_keywords, seconds_problem
from gatekit.errors import check


@known_keywords
class Environment:
    """The URLs in the variable `name`, read again every `interval` seconds.

    A variable that is missing is an error, like one that is empty without `allow_empty`.
    """

    def __init__(
        self,
        name: str,
        *,
        interval: float = 30.0,
        allow_empty: bool = False,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        check(
            "Environment",
            name=_name_problem(name),
            interval=seconds_problem(interval),
            allow_empty=flag_problem(allow_empty),
        )
        self.name = name
        self.interval = interval
        self.allow_empty = allow_empty
        self._environ = environ

    async def resolve(self, io: IO) -> list[str]:
        value = self._environ.get(self.name)
        if value is None:
            raise LookupError(f"there is no variable {self.name} in the environment")
        return [url.strip() for url in value.split(",") if url.strip()]


def _name_problem(name: object) -> str | None:
    if isinstance(name, str) and name and "=" not in name and "\0" not in name:
        return None
    return f"{name!r} is not the name of a variable"
