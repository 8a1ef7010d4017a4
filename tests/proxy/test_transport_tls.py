"""TLS: who is believed, by which name, and what an end without a farewell is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gatekit.errors import ConfigurationError, UpstreamError
from gatekit.proxy.transport import TLS, HTTPTransport
from tests.proxy.conftest import Dial
from tests.proxy.upstream import Peer, Upstream, answer, answer_and_close

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Authority:
    """A certificate authority, its file, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.bundle = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.bundle)

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def client(self, name: str) -> str:
        """The path of a certificate with its key."""
        path = str(self.folder / f"{name}.pem")
        self.authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def url(upstream: Upstream, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{upstream.port}"


def stage_of(dial: Dial, upstream: Upstream, tls: TLS, host: str = "127.0.0.1") -> str:
    client = dial(url(upstream, host), HTTPTransport(tls=tls))
    with pytest.raises(UpstreamError) as error:
        client.get()
    assert client.usage == (0, 0, 0)
    return error.value.stage


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_trusted_upstream(dial: Dial, authority: Authority, host: str) -> None:
    """Connections are kept and used again; large bodies come whole; HTTP/1.1 is agreed on."""
    seen: list[str | None] = []
    body = bytes(range(256)) * 4096

    def script(peer: Peer) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        seen.append(peer.socket.selected_alpn_protocol())
        answer(HELLO, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))(peer)

    with Upstream(script, tls=authority.server("127.0.0.1", "localhost")) as upstream:
        client = dial(url(upstream, host), HTTPTransport(tls=TLS(ca=authority.bundle)))
        assert client.get().body == b"hello"
        assert client.read(client.get()) == body
        assert client.usage == (0, 1, 0)
    assert upstream.connections == 1
    assert seen == ["http/1.1"]


def test_an_unknown_authority(dial: Dial, authority: Authority) -> None:
    """Verification is on unless it is switched off by its long name."""
    with Upstream(answer(HELLO), tls=authority.server("127.0.0.1")) as upstream:
        assert stage_of(dial, upstream, TLS()) == "tls"
        anyone = HTTPTransport(tls=TLS(dangerous_accept_any_certificate=True))
        client = dial(url(upstream), anyone)
        assert client.get().body == b"hello"


def test_another_name(dial: Dial, authority: Authority) -> None:
    """A certificate is good for the names in it only."""
    with Upstream(answer(HELLO), tls=authority.server("users.internal")) as upstream:
        assert stage_of(dial, upstream, TLS(ca=authority.bundle)) == "tls"
        assert stage_of(dial, upstream, TLS(ca=authority.bundle), "localhost") == "tls"


def test_the_name_may_be_given(dial: Dial, authority: Authority) -> None:
    """`server_name` is what is asked for in SNI, and what is checked."""
    asked: list[str | None] = []
    context = authority.server("users.internal")
    context.sni_callback = lambda sock, name, context: asked.append(name)
    with Upstream(answer(HELLO), tls=context) as upstream:
        tls = TLS(ca=authority.bundle, server_name="users.internal")
        client = dial(url(upstream), HTTPTransport(tls=tls))
        assert client.get().body == b"hello"
    assert asked == ["users.internal"]


def test_the_host_is_asked_for(dial: Dial, authority: Authority) -> None:
    """Without `server_name` SNI carries the origin's host."""
    asked: list[str | None] = []
    context = authority.server("localhost")
    context.sni_callback = lambda sock, name, context: asked.append(name)
    with Upstream(answer(HELLO), tls=context) as upstream:
        client = dial(url(upstream, "localhost"), HTTPTransport(tls=TLS(ca=authority.bundle)))
        assert client.get().body == b"hello"
    assert asked == ["localhost"]


def test_a_client_certificate(dial: Dial, authority: Authority) -> None:
    """An upstream that asks for one gets ours; without it the handshake or the exchange fails."""
    context = authority.server("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.bundle)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Upstream(answer(HELLO), tls=context) as upstream:
        tls = TLS(ca=authority.bundle, cert=authority.client("gateway.internal"))
        client = dial(url(upstream), HTTPTransport(tls=tls))
        assert client.get().body == b"hello"
        assert stage_of(dial, upstream, TLS(ca=authority.bundle)) == "tls"


def test_an_old_version_is_refused(dial: Dial, authority: Authority) -> None:
    """The least that is spoken is an option."""
    context = authority.server("127.0.0.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Upstream(answer(HELLO), tls=context) as upstream:
        tls = TLS(ca=authority.bundle, minimum_version=ssl.TLSVersion.TLSv1_3)
        assert stage_of(dial, upstream, tls) == "tls"


def test_an_upstream_without_tls(dial: Dial) -> None:
    """Plain HTTP on the port is no handshake."""
    with Upstream(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as upstream:
        assert stage_of(dial, upstream, TLS()) == "tls"


def test_a_body_until_the_close_ends_with_close_notify(dial: Dial, authority: Authority) -> None:
    """The farewell of TLS is the end of the body."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        assert isinstance(peer.socket, ssl.SSLSocket)
        peer.socket.unwrap()

    with Upstream(script, tls=authority.server("127.0.0.1")) as upstream:
        client = dial(url(upstream), HTTPTransport(tls=TLS(ca=authority.bundle)))
        assert client.read(client.get()) == b"hello"


def test_a_length_that_is_cut_short_without_close_notify(dial: Dial, authority: Authority) -> None:
    """An attacker on the path can close a connection, but not make a body look whole."""
    cut = answer_and_close(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")
    with Upstream(cut, tls=authority.server("127.0.0.1")) as upstream:
        client = dial(url(upstream), HTTPTransport(tls=TLS(ca=authority.bundle)))
        response = client.get()
        with pytest.raises(UpstreamError) as error:
            client.read(response)
        assert error.value.stage in {"closed", "reset"}


def test_a_body_until_the_close_without_close_notify(dial: Dial, authority: Authority) -> None:
    """The end may be an attacker's, so the body is not taken for whole."""
    cut = answer_and_close(b"HTTP/1.1 200 OK\r\n\r\nhello")
    with Upstream(cut, tls=authority.server("127.0.0.1")) as upstream:
        client = dial(url(upstream), HTTPTransport(tls=TLS(ca=authority.bundle)))
        response = client.get()
        with pytest.raises(UpstreamError) as error:
            client.read(response)
        assert error.value.stage in {"closed", "reset"}


def test_files_are_read_at_construction(tmp_path: Path, authority: Authority) -> None:
    """A file that is missing or holds something else is found before any request."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for options, name in (
        ({"ca": "/nowhere/ca.pem"}, "ca"),
        ({"ca": str(broken)}, "ca"),
        ({"cert": "/nowhere/cert.pem"}, "cert"),
        ({"cert": str(broken)}, "cert"),
        ({"key": str(broken)}, "key"),
        ({"server_name": "a b"}, "server_name"),
        ({"ca": authority.bundle, "dangerous_accept_any_certificate": True}, "ca"),
    ):
        with pytest.raises(ConfigurationError) as error:
            TLS(**options)
        assert list(error.value.problems) == [name]
