"""One place where a request can be answered: a URL, or an app of this very process.

    Destination("http://orders-1:8002", weight=3, zone="eu-1", metadata={"version": "v2"})
    Destination("http://orders-old:8002", priority=1)          # when the others are gone
    Destination(flask_app, name="legacy", weight=1)            # an ASGI or WSGI app, in process

It describes and does nothing: how it is doing is a `Member`'s to know. Two of one cluster cannot
have the same name; the name is what logs, metrics and affinity know it by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias, cast

from gatekit._core.options import integer_problem, known_keywords, number_problem
from gatekit.errors import ConfigurationError, check
from gatekit.proxy.fields import is_host
from gatekit.proxy.transport.origin import Origin
from gatekit.typing import ASGIApp, WSGIApp

Target: TypeAlias = "str | Origin | ASGIApp | WSGIApp"

# What an app of this process is addressed as, where nothing else is said.
_HERE = "http://localhost"


@known_keywords
@dataclass(frozen=True, slots=True)
class Destination:
    """`target` is a URL, an `Origin`, or an ASGI or WSGI app.

    Requests are shared in proportion to `weight`; 0 gets nothing new, but what affinity sends
    there. Those with the lowest `priority` serve while enough of them can. `host` is the `Host` to
    send, the origin's own if None. `name` is by default the URL, or what the app is called.
    """

    target: Target
    weight: float = 1
    priority: int = 0
    zone: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    host: str | None = None
    name: str = ""
    origin: Origin = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        origin, wrong = _origin_of(self.target)
        check(
            "Destination",
            target=wrong,
            weight=number_problem(self.weight),
            priority=integer_problem(self.priority),
            zone=_text_problem(self.zone),
            metadata=_metadata_problem(self.metadata),
            host=_host_problem(self.host),
            name=_text_problem(self.name or None),
        )
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        if not self.name:
            object.__setattr__(self, "name", _name_of(self.target))

    @property
    def is_local(self) -> bool:
        """Whether it is an app of this process."""
        return not isinstance(self.target, str | Origin)

    def is_same_place(self, other: Destination) -> bool:
        """Whether a member that serves the one can go on to serve the other."""
        if self.name != other.name or self.is_local != other.is_local:
            return False
        return self.target is other.target if self.is_local else self.origin == other.origin

    @classmethod
    def of(cls, target: Target | Destination) -> Destination:
        return target if isinstance(target, Destination) else cls(target)


def destinations_of(targets: object) -> tuple[Destination, ...]:
    """A list as users write it; every problem of it raises one `ConfigurationError`."""
    if isinstance(targets, str | bytes | Mapping) or not hasattr(targets, "__iter__"):
        raise ConfigurationError(
            "Cluster", {"destinations": f"must be a list of destinations, not {targets!r}"}
        )
    found: list[Destination] = []
    problems: list[str] = []
    for target in cast("list[Target | Destination]", targets):
        try:
            found.append(Destination.of(target))
        except ConfigurationError as error:
            problems.extend(error.problems.values())
    names = [destination.name for destination in found]
    problems += [
        f"two are named {name!r}: give one of them another name"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    if problems:
        raise ConfigurationError("Cluster", {"destinations": "; ".join(problems)})
    return tuple(found)


def _origin_of(target: object) -> tuple[Origin | None, str | None]:
    if isinstance(target, Origin):
        return target, None
    if callable(target):
        return Origin(_HERE), None
    if not isinstance(target, str):
        return None, f"must be a URL, such as 'http://users:8001', or an app, not {target!r}"
    try:
        return Origin(target), None
    except ConfigurationError as error:
        return None, "; ".join(error.problems.values())


def _name_of(target: object) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, Origin):
        return f"{target.scheme}://{target.authority.decode()}{target.base.decode()}"
    for found in (getattr(target, "__name__", None), getattr(target, "name", None)):
        if isinstance(found, str) and found:
            return found
    return type(target).__name__


def _text_problem(text: object) -> str | None:
    if text is None or (isinstance(text, str) and text.isprintable() and text):
        return None
    return f"must be a printable string, not {text!r}"


def _host_problem(host: object) -> str | None:
    if host is None or (isinstance(host, str) and is_host(host)):
        return None
    return f"{host!r} is not a host to send"


def _metadata_problem(metadata: object) -> str | None:
    if isinstance(metadata, Mapping) and all(
        isinstance(text, str)
        for pair in cast("Mapping[object, object]", metadata).items()
        for text in pair
    ):
        return None
    return f"must be a mapping of strings to strings, not {metadata!r}"
