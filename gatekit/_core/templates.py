"""Path templates, and the trie that finds those which match a path.

    Template("/orders/{id}")         # one segment, any but an empty one
    Template("/api/v1/users/*")      # zero or more segments: /api/v1/users itself, too
    Template("/files/{path*}")       # the same, and its text is a parameter

Templates are compared with decoded segments (see `paths`), so they are written decoded. A slash at
the end is a segment of its own, an empty one: `/orders` and `/orders/` are two templates.

Of several templates that match a path the more specific one comes first: reading from the left, at
the first segment where they differ, a literal goes before a parameter and a parameter before `*`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from gatekit._core.options import each_problem, string_problem
from gatekit._core.paths import AmbiguousPath, PathRules, readings, segments
from gatekit.errors import ConfigurationError

if TYPE_CHECKING:
    from gatekit._core.messages import Request

T = TypeVar("T")

Shape: TypeAlias = tuple[str | None, ...]

_PARAMETER = re.compile(r"\{([^{}*]*)\}")
_TAIL = re.compile(r"\*|\{([^{}*]*)\*\}")
_TRIPLET = re.compile(r"%[0-9A-Fa-f]{2}")
# A template that needs one of these was meant as something else: a query, a regex, an encoded path.
_UNFIT = re.compile(r"[\x00-\x1f\x7f?#\\{}*]")


class Template:
    """A parsed template. A `ValueError` says what is wrong with it.

    `shape` has the literal segments, and None where a parameter stands.
    """

    __slots__ = ("_names", "_tail_name", "has_tail", "shape", "text")

    def __init__(self, text: str) -> None:
        _check_start(text)
        pieces = text.split("/")[1:]
        tail = _TAIL.fullmatch(pieces[-1])
        if tail is not None:
            pieces.pop()
        shape: list[str | None] = []
        names: list[tuple[str, int]] = []
        for position, piece in enumerate(pieces):
            parameter = _PARAMETER.fullmatch(piece)
            if parameter is not None:
                names.append((parameter[1], position))
                shape.append(None)
            else:
                _check_literal(piece, last=tail is None and position == len(pieces) - 1)
                shape.append(piece)
        tail_name = tail[1] if tail is not None else None
        _check_names([name for name, _ in names] + ([] if tail_name is None else [tail_name]))
        self.text = text
        self.shape: Shape = tuple(shape)
        self.has_tail = tail is not None
        self._names = tuple(names)
        self._tail_name = tail_name

    def params(self, path: Sequence[str]) -> dict[str, str]:
        """What the parameters stand for in a path that matches; a tail keeps its slashes."""
        found: dict[str, str] = {}
        for name, position in self._names:
            found[name] = path[position]
        if self._tail_name is not None:
            found[self._tail_name] = "/".join(path[len(self.shape) :])
        return found


class _Node(Generic[T]):
    __slots__ = ("end", "literals", "parameter", "tail")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.tail: _Node[T] | None = None
        self.end: T | None = None


class Trie(Generic[T]):
    """Values by the shape of their template, found in a time that does not know how many there are.

    It is made whole and never changed.
    """

    __slots__ = ("_root", "depth")

    def __init__(self, values: Mapping[tuple[Shape, bool], T]) -> None:
        self._root: _Node[T] = _Node()
        self.depth = max((len(shape) for shape, _ in values), default=0)
        """How many segments the longest template has. One more tells whether a path is longer."""
        for (shape, has_tail), value in values.items():
            node = self._root
            for segment in shape:
                if segment is None:
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.literals.setdefault(segment, _Node())
            if has_tail:
                node.tail = node.tail or _Node()
                node = node.tail
            node.end = value

    def matches(self, path: Sequence[str]) -> Iterator[T]:
        """The values whose templates match, the most specific first."""
        node, at, count = self._root, 0, len(path)
        later: list[tuple[_Node[T], int]] = []
        while True:
            if node.tail is not None:
                later.append((node.tail, count))
            if at == count:
                if node.end is not None:
                    yield node.end
            else:
                segment = path[at]
                at += 1
                if node.parameter is not None and segment:
                    later.append((node.parameter, at))
                following = node.literals.get(segment)
                if following is not None:
                    node = following
                    continue
            if not later:
                return
            node, at = later.pop()


class PathSet:
    """Paths named by templates, for a policy that applies to some: `public=["/health", "/docs/*"]`.

    A path that the rules refuse, or that somebody may read as one outside, is in no set: so a set
    may open doors but must not close them.
    """

    __slots__ = ("_rules", "_trie")

    def __init__(
        self, where: str, parameter: str, templates: Collection[str], rules: PathRules | None = None
    ) -> None:
        shapes: dict[tuple[Shape, bool], bool] = {}
        problems: list[str] = []
        if what := each_problem(templates, string_problem):
            raise ConfigurationError(where, {parameter: what})
        for text in templates:
            try:
                template = Template(text)
            except ValueError as error:
                problems.append(str(error))
            else:
                shapes[template.shape, template.has_tail] = True
        if problems:
            raise ConfigurationError(where, {parameter: "; ".join(problems)})
        self._trie = Trie(shapes)
        self._rules = rules or PathRules()

    def __contains__(self, request: Request) -> bool:
        raw = request.raw_path
        try:
            path = segments(raw, self._rules)
            if not any(self._trie.matches(path)):
                return False
            if b"%" not in raw and b";" not in raw:
                return True
            others = readings(raw, self._trie.depth + 1)
        except AmbiguousPath:
            return False
        return all(any(self._trie.matches(other)) for other in others)


def _check_start(text: object) -> None:
    if not isinstance(text, str) or not text.startswith("/"):
        raise ValueError(f"{text!r} must be a string that starts with a slash")


def _check_literal(piece: str, *, last: bool) -> None:
    if not piece and not last:
        raise ValueError("an empty segment (//) matches nothing")
    if piece in (".", ".."):
        raise ValueError(f"the segment {piece!r} matches nothing: dot segments are refused")
    if "*" in piece:
        raise ValueError(f"{piece!r}: * stands for whole segments and only at the end, as in /a/*")
    if "{" in piece or "}" in piece:
        raise ValueError(f"{piece!r}: a parameter is a whole segment, as in /files/{{name}}")
    if unfit := _UNFIT.search(piece):
        raise ValueError(f"{piece!r}: {unfit[0]!r} cannot be part of a template")
    if encoded := _TRIPLET.search(piece):
        raise ValueError(f"{piece!r}: templates are written decoded, without {encoded[0]}")


def _check_names(names: list[str]) -> None:
    for name in names:
        if not name:
            raise ValueError("a parameter needs a name, as in {id}")
        if not name.isidentifier():
            raise ValueError(f"{{{name}}}: the name of a parameter is letters, digits and _")
        if names.count(name) > 1:
            raise ValueError(f"{{{name}}} occurs twice")
