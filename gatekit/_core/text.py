r"""Text that is safe to write into a log: one line, whatever a client put into it.

    printable("/a\nb")        # "/a\\nb"

What a terminal would obey, or show in another order than it is written, is escaped like a line end.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with every control, format and surrogate character as its Python escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
