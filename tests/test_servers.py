"""The test servers and the raw client themselves: what every other test stands on."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.net import TruncatedError, connect, raw, request
from tests.servers import (
    ASGI_SERVERS,
    WSGI_SERVERS,
    Kind,
    StartupError,
    group_is_alive,
    nginx,
    serve,
)

ASGI_ECHO = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]})
    path = scope["raw_path"] + b"?" + scope["query_string"]
    await send({"type": "http.response.body", "body": path + b"|", "more_body": True})
    await send({"type": "http.response.body", "body": body})
"""

WSGI_ECHO = """
def app(environ, start_response):
    start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    path = (environ["PATH_INFO"] + "?" + environ["QUERY_STRING"] + "|").encode("latin-1")
    return [path, environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one echo application for each protocol."""
    path = tmp_path_factory.mktemp("echo")
    (path / "asgi_echo.py").write_text(ASGI_ECHO)
    (path / "wsgi_echo.py").write_text(WSGI_ECHO)
    return path


def target(kind: Kind) -> str:
    return f"{'asgi' if kind in ASGI_SERVERS else 'wsgi'}_echo:app"


@pytest.mark.parametrize("kind", [*ASGI_SERVERS, *WSGI_SERVERS])
def test_server_answers_and_leaves_no_process(kind: Kind, folder: Path) -> None:
    """Each server answers on its port, keeps repeated fields apart, and is gone after the block."""
    with serve(kind, target(kind), cwd=folder) as server:
        answer = request(server.port, "POST", "/a/b?c=%20", body=b"hello")
        assert (answer.status, answer.body) == (200, b"/a/b?c=%20|hello")
        assert answer.values("set-cookie") == ["a=1", "b=2"]
        assert group_is_alive(server.pid)
    assert not group_is_alive(server.pid)
    with pytest.raises(ConnectionRefusedError):
        connect(server.port)


@pytest.mark.parametrize("kind", [*ASGI_SERVERS, *WSGI_SERVERS])
def test_server_answers_on_a_unix_socket(kind: Kind, folder: Path) -> None:
    """Each server can listen on a Unix socket instead of a port."""
    with serve(kind, target(kind), cwd=folder, uds=True) as server:
        assert server.uds is not None
        assert request(server.address, "GET", "/x").body == b"/x?|"


def test_two_workers_end_with_their_server(folder: Path) -> None:
    """The processes that a server starts itself end with it."""
    with serve("uvicorn", "asgi_echo:app", cwd=folder, workers=2) as server:
        assert request(server.port, "GET", "/").status == 200
    assert not group_is_alive(server.pid)


def test_server_that_cannot_start_tells_why(folder: Path) -> None:
    """A server that ends before it is ready raises with the log it wrote."""
    with (
        pytest.raises(StartupError, match="no_such_module"),
        serve("uvicorn", "no_such_module:app", cwd=folder),
    ):
        pass


def test_failing_block_shows_the_log(folder: Path) -> None:
    """An error inside the block carries the end of the server's log as a note."""
    with (
        pytest.raises(ValueError, match="mine") as caught,
        serve("hypercorn", "asgi_echo:app", cwd=folder),
    ):
        raise ValueError("mine")
    assert "Running on" in caught.value.__notes__[0]


def test_environment_reaches_the_server(folder: Path) -> None:
    """`env` adds variables to those of the test process."""
    (folder / "env_app.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [os.environ['GATEKIT_TEST'].encode(), b' ', str(os.getpid()).encode()]\n"
    )
    with serve("gunicorn", "env_app:app", cwd=folder, env={"GATEKIT_TEST": "yes"}) as server:
        word, pid = request(server.port, "GET", "/").body.split()
        assert word == b"yes"
        assert os.getpgid(int(pid)) == server.pid


def test_nginx_serves_its_configuration() -> None:
    """nginx runs in the foreground as a child, with a body of our own choice."""
    with nginx("location / { return 200 'hi $arg_name'; }") as server:
        if server is None:
            pytest.skip("nginx is not on PATH")
        assert request(server.port, "GET", "/?name=you").body == b"hi you"
    assert not group_is_alive(server.pid)


def test_stubborn_server_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores SIGTERM is ended by SIGKILL after the grace."""
    monkeypatch.setattr("tests.servers.GRACE", 0.1)
    (folder / "stubborn.py").write_text(
        "import signal, uvicorn.server\n"
        "from asgi_echo import app as echo\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    await echo(scope, receive, send)\n"
    )
    with serve("uvicorn", "stubborn:app", cwd=folder) as server:
        assert request(server.port, "GET", "/").status == 200
    assert server.process.returncode == -signal.SIGKILL


def test_raw_adds_nothing(folder: Path) -> None:
    """`raw` sends the bytes it was given: a request without Host is refused by the server."""
    with serve("hypercorn", "asgi_echo:app", cwd=folder) as server:
        head = raw(server.port, b"GET / HTTP/1.1\r\n\r\n").split(b"\r\n")[0]
        assert head.startswith(b"HTTP/1.1 400")


def test_client_reads_chunks_and_keeps_the_connection(folder: Path) -> None:
    """One connection carries several exchanges, and bodies go in chunks both ways."""
    with serve("uvicorn", "asgi_echo:app", cwd=folder) as server, connect(server.port) as client:
        for number in range(3):
            client.send_request("PUT", f"/{number}", body=[b"one", b"two"])
            answer = client.read("PUT")
            assert answer.header("transfer-encoding") == "chunked"
            assert answer.body == b"/%d?|onetwo" % number


def test_reset_reaches_the_server() -> None:
    """`reset` ends with RST: the peer's read fails instead of seeing an orderly end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = connect(listener.getsockname()[1])
        peer, _ = listener.accept()
        with peer:
            client.send(b"half")
            assert peer.recv(4) == b"half"
            client.reset()
            with pytest.raises(ConnectionResetError):
                peer.recv(1)


def test_truncated_answer_is_an_error() -> None:
    """A body shorter than its Content-Length is never taken for a whole one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect(listener.getsockname()[1]) as client,
    ):
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234")
        with pytest.raises(TruncatedError):
            client.read()
