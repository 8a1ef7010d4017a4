"""Where an upstream is: what is understood, and what is refused at construction."""

from __future__ import annotations

import pytest

from gatekit.errors import ConfigurationError
from gatekit.proxy.transport import Origin


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "uds", "authority", "base"),
    [
        ("http://users", "http", "users", 80, None, b"users", b""),
        ("http://users:80/", "http", "users", 80, None, b"users", b""),
        ("http://users:8001", "http", "users", 8001, None, b"users:8001", b""),
        ("HTTP://Users:8001/v2/", "http", "users", 8001, None, b"users:8001", b"/v2"),
        ("https://api.example", "https", "api.example", 443, None, b"api.example", b""),
        ("https://a.example:80/a%2Fb", "https", "a.example", 80, None, b"a.example:80", b"/a%2Fb"),
        ("http://10.0.0.1:1", "http", "10.0.0.1", 1, None, b"10.0.0.1:1", b""),
        ("http://[::1]:8001/x", "http", "::1", 8001, None, b"[::1]:8001", b"/x"),
        ("https://[2001:DB8::1]", "https", "2001:db8::1", 443, None, b"[2001:db8::1]", b""),
        ("http://my_service.default.svc.:65535", "http", "my_service.default.svc.", 65535, None,
         b"my_service.default.svc.:65535", b""),
        ("unix:/run/app.sock", "http", "localhost", 0, "/run/app.sock", b"localhost", b""),
        ("unix:///run/app.sock", "http", "localhost", 0, "/run/app.sock", b"localhost", b""),
        ("http+unix://%2Frun%2Fapp.sock/v2/", "http", "localhost", 0, "/run/app.sock", b"localhost",
         b"/v2"),
    ],
)  # fmt: skip
def test_what_is_understood(
    url: str, scheme: str, host: str, port: int, uds: str | None, authority: bytes, base: bytes
) -> None:
    """Scheme, host and port, or a Unix socket, and a base path without its last slash."""
    origin = Origin(url)
    assert (origin.scheme, origin.host, origin.port, origin.uds) == (scheme, host, port, uds)
    assert (origin.authority, origin.base) == (authority, base)
    assert Origin(url) == origin
    assert eval(repr(origin), {"Origin": Origin}) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "users:8001",
        "//users",
        "/users",
        "ftp://users",
        "ws://users",
        "http:users",
        "http://",
        "http://:80",
        "http://users:",
        "http://users:0",
        "http://users:65536",
        "http://users:8001x",
        "http://users:-1",
        "http://users:80:80",
        "http://us ers",
        " http://users",
        "http://users\n",
        "http://us\ters",
        "http://user@users",
        "http://user:secret@users",
        "http://users?x=1",
        "http://users/?",
        "http://users#x",
        "http://users/#",
        "http://us\u00e9rs",
        "http://users/\u00e9",
        "http://[fe80::1%25eth0]",
        "http://[fe80::1%eth0]",
        "http://[::1",
        "http://[::1]x:80",
        "http://[users]",
        "http://::1",
        "http://-users",
        "http://us..ers",
        "http://.users",
        "http://" + "u" * 64,
        "http://" + "u." * 127,
        "http://us%65rs",
        "http://us,ers",
        "unix:run/app.sock",
        "unix:",
        "unix://host/run/app.sock",
        "http+unix://run/app.sock",
        "http+unix:///run/app.sock",
        "http+unix://%2Frun%00",
        "unix:/run/%00",
    ],
)
def test_what_is_refused(url: str) -> None:
    """With an error that names the parameter and says what is allowed."""
    with pytest.raises(ConfigurationError) as error:
        Origin(url)
    assert list(error.value.problems) == ["url"]
    assert "https://host[:port]" in error.value.problems["url"]


def test_a_secret_is_not_repeated() -> None:
    """Errors are logged."""
    with pytest.raises(ConfigurationError) as error:
        Origin("http://user:hunter2@users")
    assert "hunter2" not in str(error.value)


def test_a_pool_belongs_to_an_address() -> None:
    """The base path makes another origin, but shares the connections."""
    plain, base = Origin("http://users:8001"), Origin("http://users:8001/v2")
    assert plain != base
    assert plain.key == base.key
    assert len({plain.key, Origin("https://users:8001").key, Origin("http://users").key}) == 3
    assert len({plain, base, Origin("http://users:8001/")}) == 2
