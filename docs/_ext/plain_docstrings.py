"""Reads the docstrings of gatekit, which are plain text with two habits, as reStructuredText.

The habits: `names` stand in single backticks, and a block that is indented further than the text
around it is code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NAME = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
SPECIAL = re.compile(r"([\\|]|(?<!\*)\*(?!\*)|_(?=\W|$))")


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", name_aliases)
    return {"parallel_read_safe": True}


def process(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """The hook of autodoc: `lines` is changed in place."""
    lines[:] = to_rst(lines)


def name_aliases(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """The hook of autodoc: an alias inside a union is printed by its name like any other."""
    return (
        signature and ALIAS.sub(r"\1", signature),
        returns and ALIAS.sub(r"\1", returns),
    )


def to_rst(lines: list[str]) -> list[str]:
    """The same text with literal names and code blocks marked as such."""
    result: list[str] = []
    in_code = False
    for line in lines:
        is_indented = line.startswith("    ")
        if is_indented and not in_code:
            result += ["", ".. code-block:: python", ""]
        if is_indented or not line.strip():
            in_code = in_code or is_indented
            result.append(line)
            continue
        if in_code:
            result.append("")
        in_code = False
        result.append(inline(line))
    return result


def inline(line: str) -> str:
    """One line of prose: names become literals, and nothing else is taken for markup but bold."""
    text = ""
    for number, part in enumerate(NAME.split(line)):
        if number % 2:
            text += f"``{part}``"
            continue
        # A literal ends at a blank or a stop; before a letter, as in `Route`s, it needs "\\ ".
        boundary = "\\ " if number and part[:1].isalnum() else ""
        text += boundary + SPECIAL.sub(r"\\\1", part)
    return text
