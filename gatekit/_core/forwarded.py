"""The `Forwarded` header field (RFC 7239): one element for each proxy, the nearest one last.

    parse_forwarded('for=192.0.2.60;proto=http, for="[2001:db8::1]:4711"')
    # [{"for": "192.0.2.60", "proto": "http"}, {"for": "[2001:db8::1]:4711"}]

A value is a token or, with a colon or a bracket in it, a quoted string.
"""

from __future__ import annotations

import re

# RFC 7239 §4: forwarded-pair = token "=" value, value = token / quoted-string. White space around
# the separators is no part of the grammar and often sent.
_PAIR = re.compile(
    r"""[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=
    (?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)
    |"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)")[ \t]*""",
    re.VERBOSE,
)
_QUOTED = re.compile(r"\\(.)")
_GAP = re.compile(r"[ \t]*")


def parse_forwarded(value: str) -> list[dict[str, str]] | None:
    """The elements of one field line, names in lower case; None if any of it breaks the grammar.

    There is no telling what a line with an open quote was meant to say: the proxy that appended to
    it may have written inside the client's string.
    """
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    position = 0
    while True:
        if match := _PAIR.match(value, position):
            name, token, quoted = match.groups()
            name = name.lower()
            # RFC 7239 §4: "Each parameter MUST NOT occur more than once per field-value."
            if name in element:
                return None
            element[name] = token if token is not None else _QUOTED.sub(r"\1", quoted)
        else:
            match = _GAP.match(value, position)
            assert match is not None
        position = match.end()
        separator = value[position : position + 1]
        if separator not in ("", ",", ";"):
            return None
        if separator != ";":
            # RFC 9110 §5.6.1.2: a recipient ignores a reasonable number of empty list elements.
            if element:
                elements.append(element)
            element = {}
        if not separator:
            return elements
        position += 1
