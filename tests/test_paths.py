"""Paths: what is refused, how the rest is cut and decoded, and what other servers read in it."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekit._core.paths import AmbiguousPath, PathRules, readings, segments
from gatekit._core.templates import PathSet, Template, Trie
from gatekit.errors import ConfigurationError
from gatekit.testing import make_request

RULES = PathRules()

REFUSED = [
    (b"//", "//"),
    (b"//a", "//"),
    (b"/a//b", "//"),
    (b"/a//", "//"),
    (b"/./a", "/./"),
    (b"/a/.", "/./"),
    (b"/../a", "/../"),
    (b"/a/..", "/../"),
    (b"/a/..;/b", "/../"),
    (b"/a/..;x=1/b", "/../"),
    (b"/a%2Fb", "%2F"),
    (b"/a%2fb", "%2F"),
    (b"/a%5Cb", "%5C"),
    (b"/a%5cb", "%5C"),
    (b"/a\\b", "%5C"),
    (b"/a%2Eb", "%2E"),
    (b"/%2e%2e/a", "%2E"),
    (b"/a%00", "%00"),
    (b"/a%", "%"),
    (b"/a%2", "%"),
    (b"/a%zzb", "%"),
    (b"/a%%41", "%"),
    (b"a/b", ""),
]


@pytest.mark.parametrize(("raw", "element"), REFUSED)
def test_ambiguous_path_is_refused(raw: bytes, element: str) -> None:
    """Each element that servers disagree about is refused by default, under its name."""
    with pytest.raises(AmbiguousPath) as refused:
        segments(raw, RULES)
    assert refused.value.element == element
    assert refused.value.detail.startswith("The path has ")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", [""]),
        (b"/", [""]),
        (b"/a", ["a"]),
        (b"/a/", ["a", ""]),
        (b"/%61dmin", ["admin"]),
        (b"/caf%C3%A9/x%20y", ["café", "x y"]),
        (b"/caf\xc3\xa9", ["café"]),
        (b"/a.b/...", ["a.b", "..."]),
        (b"/.well-known/x", [".well-known", "x"]),
        (b"/a;v=1/b", ["a;v=1", "b"]),
        (b"/%252e", ["%2e"]),
        (b"/%3F%23%3B", ["?#;"]),
        (b"/%FF", ["\udcff"]),
    ],
)
def test_path_is_cut_before_it_is_decoded(raw: bytes, expected: list[str]) -> None:
    """Segments are decoded once, each by itself; bytes outside UTF-8 survive as surrogates."""
    assert segments(raw, RULES) == expected


@pytest.mark.parametrize(
    ("allow", "raw", "expected"),
    [
        ("//", b"/a//b", ["a", "", "b"]),
        ("/./", b"/a/./b", ["a", ".", "b"]),
        ("/../", b"/a/../b", ["a", "..", "b"]),
        ("%2F", b"/a%2Fb", ["a/b"]),
        ("%5c", b"/a%5Cb\\c", ["a\\b\\c"]),
        ("%2E", b"/a%2Eb", ["a.b"]),
        ("%00", b"/a%00b", ["a\0b"]),
    ],
)
def test_what_is_allowed_stays_in_its_segment(allow: str, raw: bytes, expected: list[str]) -> None:
    """A lifted refusal resolves nothing and separates nothing: the name is as it came."""
    assert segments(raw, PathRules(allow={allow})) == expected


@pytest.mark.parametrize(
    ("allow", "raw"),
    [("%2E", b"/%2E%2E/a"), ("%2F", b"/a%2F..%2Fb"), ("%5C", b"/a\\..\\b"), ("%2F", b"/..%2Fa")],
)
def test_allowed_character_brings_no_dot_segment(allow: str, raw: bytes) -> None:
    """Dot segments are found after decoding, so that an allowed %2F or %2E does not hide one."""
    with pytest.raises(AmbiguousPath) as refused:
        segments(raw, PathRules(allow={allow}))
    assert refused.value.element == "/../"


def test_further_characters_can_be_refused() -> None:
    """`refuse` adds encoded characters, in either case of their digits."""
    rules = PathRules(refuse={"%3b", "%25"})
    for raw in (b"/a%3Bb", b"/a%3bb", b"/%252e"):
        with pytest.raises(AmbiguousPath):
            segments(raw, rules)
    assert segments(b"/a;b", rules) == ["a;b"]


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"allow": {"%25"}}, "allow"),
        ({"allow": "%2F"}, "allow"),
        ({"allow": (each for each in ["%2F"])}, "allow"),
        ({"refuse": {";"}}, "refuse"),
        ({"refuse": {"%zz"}}, "refuse"),
        ({"refuse": [3]}, "refuse"),
        ({"refuse": None}, "refuse"),
        ({"allow": {"%2f"}, "refuse": {"%2F"}}, "refuse"),
    ],
)
def test_wrong_rules_are_named(options: dict[str, object], parameter: str) -> None:
    """What cannot be lifted or refused is a `ConfigurationError` that names the parameter."""
    with pytest.raises(ConfigurationError) as wrong:
        PathRules(**options)  # type: ignore[arg-type]
    assert list(wrong.value.problems) == [parameter]


PIECES = st.sampled_from([
    "/", "//", "x", "y", ".", "..", ";v", "%2F", "%2f", "%5C", "\\", "%2E", "%2e%2e", "%00",
    "%", "%z",
])  # fmt: skip


@given(st.lists(PIECES, max_size=9).map(lambda pieces: "/" + "".join(pieces)))
def test_unambiguous_path_has_one_reading(path: str) -> None:
    """A path that passes has neither dot, empty nor hidden segments, so nobody can resolve it."""
    try:
        found = segments(path.encode(), RULES)
    except AmbiguousPath:
        return
    assert "%" not in path
    assert "\\" not in path
    assert "/" + "/".join(found) == path
    assert posixpath.normpath(path) == (path.rstrip("/") or "/")
    without_parameters = [segment.partition(";")[0] for segment in found]
    assert not {".", ".."} & set(without_parameters)


@given(st.lists(PIECES, max_size=9).map(lambda pieces: "/" + "".join(pieces)))
@example("/a%2F..%5Cb")
@example("/a/%2e%2e//b")
def test_readings_include_what_others_make_of_a_path(path: str) -> None:
    """As it is; wholly decoded and resolved; and the same with backslashes taken for slashes."""
    known = ["/" + "/".join(reading) for reading in readings(path.encode(), 30)]
    assert unquote(path, errors="surrogateescape") in known
    for separators in (path, path.replace("\\", "/").replace("%5C", "/")):
        cut = separators.partition("%00")[0]
        decoded = unquote(cut, errors="surrogateescape").replace("//", "/")
        resolved = posixpath.normpath(decoded).replace("//", "/")
        assert {resolved, resolved.rstrip("/") + "/"} & set(known)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/a//../b", [["a", "b"], ["b"]]),
        (b"/x/a/..//..//b", [["x", "b"], ["b"]]),
        (b"/a/b/..", [["a", ""]]),
        (b"/a/./", [["a", ""]]),
        (b"/a%3B%2F..%5Cb%00.png", [["b"], ["a;", "..", "b"]]),
        (b"/%252e%252e/a", [["a"]]),
        (b"/a%25%30%30b", [["a"]]),
        (b"/;%00%23/a%00", [["a"]]),
        (b"/./a/%2E%2E", [["a", ".."]]),
        (b"/../a\\..", [["a", ".."]]),
        (b"/a%23b", [["a"]]),
    ],
)
def test_readings_differ_in_what_is_done_first(raw: bytes, expected: list[list[str]]) -> None:
    """Who merges slashes before it resolves dots finds another path than who does it after."""
    found = list(readings(raw, 30))
    assert [reading for reading in expected if reading not in found] == []


def test_readings_of_a_long_path_are_short() -> None:
    """Of each there is only what a route has."""
    found = list(readings(b"/a%20b/c%2525/..;x//d" * 300, 4))
    assert max(map(len, found)) == 4


def test_a_path_with_too_many_readings_is_refused() -> None:
    """A client cannot make its path expensive: nobody means one that reads in so many ways."""
    with pytest.raises(AmbiguousPath):
        readings(b"/a%252F%2F%5C..;x//./%3F%00" * 300, 4)


def test_path_set_knows_its_paths() -> None:
    """A set takes templates, and no path that is ambiguous is in any set."""
    public = PathSet("BearerAuth", "public", ["/health", "/docs/*"])
    inside = ["/health", "/docs", "/docs/", "/docs/a/b", "/%68ealth", "/docs?x=/../"]
    outside = ["/", "/health/", "/Health", "/admin", "/docs/../admin", "/docs//a", "/docs%2Fa"]
    # Whoever decodes twice, cuts at a parameter or at a NUL is somewhere else.
    outside += ["/docs/%252e%252e/admin", "/docs/%252e%252e%252fadmin", "/docs/x/..%3bx/../admin"]
    inside += ["/docs/caf%C3%A9", "/docs/100%25", "/docs/a;b=1", "/docs/what%3F"]
    assert [target for target in inside if make_request("GET", target) not in public] == []
    assert [target for target in outside if make_request("GET", target) in public] == []


@pytest.mark.parametrize("templates", ["/health", ["health"], ["/a/*/b", "/{"]])
def test_path_set_names_its_parameter(templates: object) -> None:
    """Whoever makes the set is named in the error, together with the parameter."""
    with pytest.raises(ConfigurationError, match="BearerAuth: public: "):
        PathSet("BearerAuth", "public", templates)  # type: ignore[arg-type]


def test_trie_gives_the_most_specific_first() -> None:
    """From the left: a literal before a parameter before the rest; an end before a rest."""
    texts = ["/*", "/{x}", "/a", "/a/*", "/{x}/b", "/a/{y}", "/a/b", "/{x}/*", "/a/b/*"]
    templates = [Template(text) for text in texts]
    trie = Trie({(each.shape, each.has_tail): each.text for each in templates})
    assert list(trie.matches(["a", "b"])) == [
        "/a/b", "/a/b/*", "/a/{y}", "/a/*", "/{x}/b", "/{x}/*", "/*",
    ]  # fmt: skip
    assert list(trie.matches(["a"])) == ["/a", "/a/*", "/{x}", "/{x}/*", "/*"]
    assert list(trie.matches([""])) == ["/*"]
