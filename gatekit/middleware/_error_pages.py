"""A problem as a page for people: HTML in which everything is escaped, or plain text.

    page = page_of("html", "<h1>$title</h1><p>$detail</p>")
    page({"title": "Not Found", "status": 404, "detail": "<b>"})      # … <p>&lt;b&gt;</p>

A template is one of `string.Template`: `$status`, `$title`, `$detail`, `$type`, `$instance`,
`$origin`, `$flag` and the problem's further members; one that is missing is empty.
"""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from gatekit._core.text import printable

Format: TypeAlias = Literal["html", "text"]
Members: TypeAlias = "Mapping[str, object]"
Page: TypeAlias = "Callable[[Members], str]"
Templates: TypeAlias = "Mapping[Format, str | Page]"

TYPES: Mapping[Format, str] = {
    "html": "text/html; charset=utf-8",
    "text": "text/plain; charset=utf-8",
}

_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="robots" content="noindex">
<title>$status $title</title>
<h1>$title</h1>
<p>$detail</p>
<p><small>$status $instance</small></p>
</html>
"""
_TEXT = "$status $title\n$detail\n$instance"


def page_of(kind: Format, template: str | Page | None) -> Page:
    """What makes the body. A function of the user's own escapes for itself."""
    if callable(template):
        return template
    text = string.Template((_HTML if kind == "html" else _TEXT) if template is None else template)
    escape = html.escape if kind == "html" else printable

    def page(members: Members) -> str:
        shown = _Shown(members, escape)
        filled = text.substitute(shown)
        return filled if kind == "html" else "\n".join(filter(None, filled.splitlines())) + "\n"

    return page


def templates_problem(templates: object) -> str | None:
    if not isinstance(templates, Mapping):
        return f"must be templates by format, not {templates!r}"
    for kind, template in templates.items():  # pyright: ignore[reportUnknownVariableType]
        if kind not in TYPES:
            return f"{kind!r} is no format; there are 'html' and 'text'"
        if isinstance(template, str):
            if not string.Template(template).is_valid():
                return f"{kind!r}: a $ that begins no name; $$ is one that is shown"
        elif not callable(template):  # pyright: ignore[reportUnknownArgumentType]
            return f"{kind!r}: must be a template or a function of a problem, not {template!r}"
    return None


class _Shown(dict[str, str]):
    """Every member, escaped; what is not there is empty."""

    def __init__(self, members: Members, escape: Callable[[str], str]) -> None:
        super().__init__(
            (name, "" if value is None else escape(str(value))) for name, value in members.items()
        )

    def __missing__(self, name: str) -> str:
        return ""
