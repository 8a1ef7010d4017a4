r"""One normalisation of a path for matching, authorisation and forwarding.

    rules = PathRules()
    segments(b"/orders/caf%C3%A9", rules)     # ["orders", "café"]
    segments(b"/orders/..%2Fadmin", rules)    # raises AmbiguousPath

A path is cut at its slashes first and decoded after, segment by segment, so that no encoded
character ever separates and `/%61dmin` is `/admin` (RFC 3986 §6.2.2.2). What is forwarded are the
bytes that came; that is safe only while nobody behind can read them in another way. Paths for which
two honest servers disagree are therefore refused:

    //              an empty segment, which many merge away
    /./ and /../    dot segments, at the end too, with parameters too (`/..;x=1/`)
    %2F             a slash that some decode before they cut
    %5C             a backslash, encoded or not, which some take for a slash
    %2E             an encoded dot, of which some make dot segments after they looked for them
    %00             where C strings end
    ;               parameters, which servlet containers drop, where that leads to another route

and every percent sign that encodes nothing. `PathRules(allow=..., refuse=...)` lifts refusals or
adds to them. What is lifted stays in its segment, as it is: `..` is then a name like any other, and
it is up to what lies behind to read it in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from urllib.parse import unquote_to_bytes

from gatekit._core.options import each_problem, known_keywords
from gatekit.errors import check

_ENCODED = ("%2F", "%5C", "%2E", "%00")
_REFUSALS = frozenset(("//", "/./", "/../", ";", *_ENCODED))

_NAMES = {
    "//": "an empty segment",
    "/./": "a dot segment",
    "/../": "a dot segment",
    "%2F": "an encoded slash",
    "%5C": "a backslash",
    "%2E": "an encoded dot",
    "%00": "a NUL",
    ";": "a parameter",
    "%": "a percent sign that encodes nothing",
    "": "no slash at its start",
}

_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TRIPLET = re.compile(rb"%[0-9A-Fa-f]{2}")
_SEPARATORS = re.compile(r"[/\\]")
# More readings than this has only a path that was made to have them.
_MOST_READINGS = 128
_DOTS = frozenset((b".", b"%2E", b"%2e"))
_DOUBLE_DOTS = frozenset(one + other for one in _DOTS for other in _DOTS)


@known_keywords
class PathRules:
    """What a gateway refuses in paths.

    `allow` lifts refusals: any of `//`, `/./`, `/../`, `%2F`, `%5C`, `%2E`, `%00`, `;`. `refuse`
    adds encoded characters, such as `%25`, `%3B`, `%3F`, `%23`.
    """

    __slots__ = ("allow", "refuse", "refused")

    def __init__(self, *, allow: Collection[str] = (), refuse: Collection[str] = ()) -> None:
        check(
            "PathRules",
            allow=each_problem(allow, _not_a_refusal),
            refuse=each_problem(refuse, _not_a_triplet),
        )
        self.allow = frozenset(map(_upper, allow))
        self.refuse = frozenset(map(_upper, refuse))
        both = self.allow & self.refuse
        check("PathRules", refuse=f"{', '.join(sorted(both))} is allowed too" if both else None)
        self.refused = self.refuse.union(_ENCODED) - self.allow
        """Every encoded character that is refused, in upper case."""

    def __repr__(self) -> str:
        return f"PathRules(allow={sorted(self.allow)}, refuse={sorted(self.refuse)})"


class AmbiguousPath(ValueError):
    """Not everybody reads this path in the same way because of `element`, named as in `allow`."""

    def __init__(self, element: str) -> None:
        super().__init__(element)
        self.element = element

    @property
    def detail(self) -> str:
        """For the client."""
        name = _NAMES.get(self.element, "an encoded character")
        shown = f" ({self.element})" if self.element not in ("", "%") else ""
        return f"The path has {name}{shown}, which is not accepted here."


def segments(raw_path: bytes, rules: PathRules) -> list[str]:
    """The decoded segments of a raw path; `AmbiguousPath` if the rules refuse it.

    `/` is one empty segment, and a slash at the end makes an empty last one. Bytes that are not
    UTF-8 become surrogates (`surrogateescape`).
    """
    path = raw_path.decode("utf-8", "surrogateescape")
    if path[:1] != "/":
        if path:
            raise AmbiguousPath("")
        return [""]
    if "%" in path or "//" in path or "/." in path or "\\" in path:
        _check(raw_path, rules)
        decoded = _decode(raw_path)
        _check_dots(decoded, rules.allow)
        return decoded
    return path[1:].split("/")


def readings(raw_path: bytes, depth: int) -> Iterator[list[str]]:
    """Every way in which some server may read a path, the given one included.

    A client must not make this expensive: no more than `depth` segments of each are given, and
    `AmbiguousPath` is raised where there would be more than 128 of them.
    """
    known = {b"/" + raw_path.removeprefix(b"/")}
    for rewrite in _REWRITES:
        known |= {rewrite(path) for path in known}
        if len(known) > _MOST_READINGS:
            raise AmbiguousPath("%")
    return (_decode(path, depth) for path in known)


def bare_segments(raw_path: bytes) -> list[str]:
    """The segments without their parameters, as servlet containers see them."""
    return _decode(_merge(_drop_parameters(raw_path)))


def _check(raw_path: bytes, rules: PathRules) -> None:
    if _MALFORMED.search(raw_path):
        raise AmbiguousPath("%")
    for triplet in _TRIPLET.findall(raw_path):
        encoded = triplet.decode("ascii").upper()
        if encoded in rules.refused:
            raise AmbiguousPath(encoded)
    if b"\\" in raw_path and "%5C" not in rules.allow:
        raise AmbiguousPath("%5C")
    if b"//" in raw_path and "//" not in rules.allow:
        raise AmbiguousPath("//")


def _check_dots(decoded: list[str], allow: frozenset[str]) -> None:
    """An allowed `%2F` must not bring dot segments along: `..%2Fadmin`."""
    for segment in decoded:
        if "." not in segment:
            continue
        for part in _SEPARATORS.split(segment):
            name = part.partition(";")[0]
            if name in (".", "..") and f"/{name}/" not in allow:
                raise AmbiguousPath(f"/{name}/")


def _decode(raw_path: bytes, depth: int = -1) -> list[str]:
    pieces = raw_path[1:].split(b"/", depth)
    if depth >= 0:
        del pieces[depth:]
    return [unquote_to_bytes(piece).decode("utf-8", "surrogateescape") for piece in pieces]


def _resolve(
    path: bytes,
    dots: frozenset[bytes] = _DOTS,
    double_dots: frozenset[bytes] = _DOUBLE_DOTS,
) -> bytes:
    """Removes dot segments (RFC 3986 §5.2.4)."""
    kept: list[bytes] = []
    pieces = path[1:].split(b"/")
    for piece in pieces:
        if piece in double_dots:
            del kept[-1:]
        elif piece not in dots:
            kept.append(piece)
    if pieces[-1] in dots or pieces[-1] in double_dots:
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _resolve_plain(path: bytes) -> bytes:
    """For who knows no encoded dots."""
    return _resolve(path, frozenset((b".",)), frozenset((b"..",)))


def _rewrite(pattern: bytes, replacement: bytes) -> Callable[[bytes], bytes]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda path: compiled.sub(replacement, path)


_merge = _rewrite(rb"//+", b"/")
_drop_parameters = _rewrite(rb";[^/]*", b"")
_drop_any_parameters = _rewrite(rb"(?:;|%3[Bb])[^/]*", b"")
_cut_off = _rewrite(rb"(?:\x00|%00|[?#]|%3[Ff]|%23).*", b"")
# In the order in which a server that does several of them does them.
_REWRITES = (
    _rewrite(rb"%(?:25)+(?=[0-9A-Fa-f]{2})", b"%"),
    unquote_to_bytes,
    unquote_to_bytes,
    _drop_any_parameters,
    _resolve_plain,
    _cut_off,
    _rewrite(rb"%2[Ff]", b"/"),
    _rewrite(rb"\\|%5[Cc]", b"/"),
    _drop_any_parameters,
    _merge,
    _resolve,
    _merge,
)


def _upper(name: str) -> str:
    return name.upper()


def _not_a_refusal(name: object) -> str | None:
    if isinstance(name, str) and name.upper() in _REFUSALS:
        return None
    return f"{name!r} is none of {', '.join(sorted(_REFUSALS))}"


def _not_a_triplet(name: object) -> str | None:
    if isinstance(name, str) and _TRIPLET.fullmatch(name.encode("utf-8", "surrogateescape")):
        return None
    return f"{name!r} is not an encoded character such as %3B"
