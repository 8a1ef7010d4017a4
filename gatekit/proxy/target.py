"""The request target that an upstream is sent: the client's own bytes, without the prefix."""

from __future__ import annotations

from urllib.parse import quote, unquote

from gatekit._core.messages import Request

# Without what would end a cookie's `Path` or an element of a list.
_PREFIX_SAFE = "/!$&'()*+=:@~"


class Target:
    """Cuts `strip_prefix` off a path; the base path of whoever is asked comes in front later.

    A prefix is compared segment by segment with the decoded path, and cut off the raw one; what
    follows it is not touched. A path that does not begin with it is kept whole.
    """

    __slots__ = ("_strip", "prefix")

    def __init__(self, strip_prefix: str) -> None:
        self._strip = [unquote(part) for part in strip_prefix.split("/")[1:]]
        self.prefix = _encoded(unquote(strip_prefix))

    def of(self, request: Request, path: bytes) -> tuple[bytes, str]:
        """The target, and the encoded prefix that the client sees in front of the upstream's paths.

        `path` is the request's raw one, which is worked out anew whenever it is asked for.
        """
        # A mount may have taken it from the path: it holds whatever a client likes.
        prefix = _encoded(request.root_path) if request.root_path else ""
        if self._strip:
            parts = path.split(b"/", len(self._strip) + 1)
            front = [unquote(part.decode("latin-1")) for part in parts[1 : len(self._strip) + 1]]
            if front == self._strip:
                path = b"/" + b"".join(parts[len(self._strip) + 1 :])
                prefix += self.prefix
        return (path or b"/") + (b"?" + request.query if request.query else b""), prefix


def _encoded(prefix: str) -> str:
    return quote(prefix, safe=_PREFIX_SAFE, errors="surrogateescape")
