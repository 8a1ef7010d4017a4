"""Health checks and resolvers at work on real sockets, beside requests, in both colours."""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gatekit import Cluster, ClusterEvent, HealthCheck, Outliers, Proxy, asgi_app, wsgi_app
from gatekit.proxy.discovery import DNS, SRV, File, Function
from gatekit.proxy.transport.origin import TLS
from gatekit.testing import Answer, call_asgi, call_wsgi
from tests.proxy.name_server import NameServer
from tests.proxy.test_transport_tls import Authority
from tests.proxy.upstream import Peer, Upstream, answer, silent
from tests.servers import ROOT

PATIENCE = 10.0
QUICK: dict[str, Any] = {"interval": 0.02, "unhealthy_interval": 0.02, "initial_jitter": 0.0}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Life:
    """Requests to a cluster through one kind of door, and the events that come of it."""

    def __init__(self, kind: str) -> None:
        self.events: queue.Queue[ClusterEvent] = queue.Queue()
        self._kind = kind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def begin(self, **options: Any) -> None:
        self.cluster = Cluster("orders", on_event=self.events.put, **options)
        self._wsgi = wsgi_app(Proxy(self.cluster))
        self._asgi = asgi_app(Proxy(self.cluster))

    def ask(self) -> Answer:
        if self._kind == "wsgi":
            return call_wsgi(self._wsgi)
        answer: Answer = self._await(call_asgi(self._asgi))
        return answer

    def asks(self, count: int) -> set[str]:
        answers = [self.ask() for _ in range(count)]
        assert [answer.status for answer in answers] == [200] * count
        return {answer.text for answer in answers}

    def wait(self, *told: str) -> None:
        """Until each of these was told, in any order; what else is told is passed over."""
        left = set(told)
        while left:
            event = self.events.get(timeout=PATIENCE)
            left.discard(f"{event.destination} {event.kind}".strip())

    def end(self) -> None:
        """Nothing that ran beside the requests is left."""
        if self._kind == "wsgi":
            self.cluster.close()
        else:
            self._await(self.cluster.aclose())
        left = self._await(_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        assert left == 0
        for thread in threading.enumerate():
            if thread.name.startswith("gatekit orders"):
                thread.join(PATIENCE)
                assert not thread.is_alive()

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)


async def _tasks() -> int:
    return len(asyncio.all_tasks() - {asyncio.current_task()})


@pytest.fixture(params=["asgi", "wsgi"])
def life(request: pytest.FixtureRequest) -> Iterator[Life]:
    life = Life(request.param)
    yield life
    life.end()


class Server:
    """Says its name; it can be gone, and be back at the same address."""

    def __init__(self, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen.append(self.headers["host"])
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        seen: list[str] = []
        self.hosts = seen
        self._handler = Handler
        self._address = (host, port)
        self.start()

    def start(self) -> None:
        self._server = ThreadingHTTPServer(self._address, self._handler)
        self._server.daemon_threads = True
        self._address = (self._address[0], self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def url(self) -> str:
        return f"http://{self._address[0]}:{self.port}"


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(*args: Any) -> Server:
        made.append(Server(*args))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_half_of_them_gone_and_back(life: Life, server: Callable[..., Server], mode: Any) -> None:
    """Who is gone is found to be, and asked no more; who is back is found, and asked again."""
    a, b, c, d = (server(name) for name in "abcd")
    urls = [one.url for one in (a, b, c, d)]
    life.begin(destinations=urls, health=HealthCheck(mode=mode, **QUICK))
    life.ask()
    a.stop()
    b.stop()
    life.wait(f"{a.url} down", f"{b.url} down")
    assert life.asks(20) <= {"c", "d"}
    a.start()
    b.start()
    life.wait(f"{a.url} up", f"{b.url} up")
    found: set[str] = set()
    while found != {"a", "b", "c", "d"}:
        found |= life.asks(1)


def test_who_accepts_and_never_answers(life: Life, server: Callable[..., Server]) -> None:
    """A check has its deadline, whatever the destination does with it."""
    a = server("a")
    with Upstream(silent) as hanging:
        check = HealthCheck(timeout=0.05, **QUICK)
        life.begin(destinations=[a.url, hanging.url], health=check, balance="first")
        assert life.asks(1) == {"a"}
        life.wait(f"{hanging.url} down")
        assert life.asks(10) == {"a"}
        life.cluster.close()


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_unix_socket(life: Life, tmp_path: Path, mode: Any) -> None:
    """Both kinds of check go to a Unix socket, too."""

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(OK)

    with Upstream(script, uds=tmp_path / "orders.sock") as upstream:
        life.begin(destinations=[upstream.url], health=HealthCheck(mode=mode, **QUICK))
        while life.cluster.status()[0].health != "healthy":
            assert life.asks(1) == {"ok"}
        life.cluster.close()


def test_outliers_and_retries(life: Life, server: Callable[..., Server]) -> None:
    """A destination that fails is ejected by the requests themselves, which all succeed."""
    a, b = server("a"), server("b")
    life.begin(destinations=[a.url, b.url], outliers=Outliers(consecutive=2), balance="round_robin")
    b.stop()
    assert life.asks(6) == {"a"}
    life.wait(f"{b.url} ejected")
    [status] = [one for one in life.cluster.status() if one.destination == b.url]
    assert not status.available
    assert 29.0 < status.ejected_for <= 33.0
    b.start()


def test_names_that_move(life: Life, server: Callable[..., Server]) -> None:
    """The first request waits for the name; a new address is found, with the same Host."""
    a = server("a")
    b = server("b", "127.0.0.2", a.port)
    with NameServer({"orders.test.": {"A": (1, ["127.0.0.1"])}}) as names:
        resolver = DNS("orders.test", port=a.port, interval=0.02, nameservers=[names.address])
        life.begin(resolver=resolver)
        assert life.ask().text == "a"
        names.zone["orders.test."]["A"] = (1, ["127.0.0.2"])
        life.wait(f"127.0.0.2:{a.port} added")
        assert life.asks(3) == {"b"}
        del names.zone["orders.test."]
        life.wait("resolver_failed")
        assert life.asks(3) == {"b"}
        names.zone["orders.test."] = {"A": (1, ["127.0.0.1", "127.0.0.2"])}
        life.wait("resolver_recovered")
        found: set[str] = set()
        while found != {"a", "b"}:
            found |= life.asks(1)
        life.cluster.close()
    assert {*a.hosts, *b.hosts} == {f"orders.test:{a.port}"}


def test_services(life: Life, server: Callable[..., Server]) -> None:
    """Records name host and port; the priority that is first serves, the other when it is gone."""
    a, b = server("a"), server("b")
    zone: Any = {
        "_http._tcp.orders.test.": {
            "SRV": (1, [f"1 1 {a.port} one.test.", f"2 1 {b.port} two.test."])
        },
        "one.test.": {"A": (1, ["127.0.0.1"])},
        "two.test.": {"A": (1, ["127.0.0.1"])},
    }
    with NameServer(zone) as names:
        resolver = SRV("_http._tcp.orders.test", nameservers=[names.address], family="ipv4")
        life.begin(resolver=resolver, health=HealthCheck(**QUICK))
        assert life.asks(5) == {"a"}
        a.stop()
        life.wait(f"one.test:{a.port}/127.0.0.1 down")
        assert life.asks(5) == {"b"}
        a.start()
    assert set(a.hosts) == {f"one.test:{a.port}"}


def test_tls_keeps_to_the_name(life: Life, tmp_path: Path) -> None:
    """SNI and the check of the certificate are by name, the connection by address."""
    authority = Authority(tmp_path)
    names: list[str | None] = []
    context = authority.server("orders.test")
    context.sni_callback = lambda _sock, name, _context: names.append(name)

    def script(peer: Peer) -> None:
        answer(OK, OK)(peer)

    with (
        Upstream(script, tls=context) as upstream,
        NameServer({"orders.test.": {"A": (1, ["127.0.0.1"])}}) as server,
    ):
        resolver = DNS(
            "orders.test",
            port=upstream.port,
            scheme="https",
            family="ipv4",
            nameservers=[server.address],
        )
        life.begin(resolver=resolver, tls=TLS(ca=authority.bundle), retry=False)
        assert life.asks(2) == {"ok"}
        life.cluster.close()
    assert names == ["orders.test"]


def test_a_file_under_fire(life: Life, server: Callable[..., Server], tmp_path: Path) -> None:
    """It is replaced, broken and deleted while requests are made: not one of them fails."""
    a, b = server("a"), server("b")
    path, other = tmp_path / "orders", tmp_path / "new"
    path.write_text(f"{a.url}\n")
    life.begin(resolver=File(path, interval=0.01))
    assert life.asks(3) == {"a"}
    other.write_text(f'["{b.url}"]')
    other.replace(path)
    life.wait(f"{b.url} added", f"{a.url} removed")
    assert life.asks(3) == {"b"}
    path.write_text(f'["{b.url}", "http://127.0')
    life.wait("resolver_failed")
    assert life.asks(3) == {"b"}
    path.unlink()
    assert life.asks(3) == {"b"}
    other.write_text(f"{a.url}\n{b.url}\n")
    other.replace(path)
    life.wait("resolver_recovered")
    assert life.asks(3) <= {"a", "b"}


def test_a_function_in_both_colours(life: Life, server: Callable[..., Server]) -> None:
    """A blocking function holds nobody up, an async one needs no loop of the door."""
    a = server("a")

    async def find() -> list[str]:
        await asyncio.sleep(0)
        return [a.url]

    life.begin(resolver=Function(find, interval=0.01))
    assert life.asks(3) == {"a"}


FORKING = """
import os, sys
from gatekit import Cluster, HealthCheck, Proxy, Response, wsgi_app
from gatekit.proxy.discovery import Function
from gatekit.testing import call_wsgi, upstream

read, write = os.pipe()

def probe(destination):
    os.write(write, b"probe %d\\n" % os.getpid())

def find():
    os.write(write, b"find %d\\n" % os.getpid())
    return ["http://a"]

cluster = Cluster(
    "orders",
    resolver=Function(find, interval=0.01),
    transport=upstream(lambda sent: Response.text("ok")),
    health=HealthCheck(probe=probe, interval=0.01, initial_jitter=0.0),
)
app = wsgi_app(Proxy(cluster))
assert call_wsgi(app).status == 200
lines = os.fdopen(read)
wanted = {f"probe {os.getpid()}", f"find {os.getpid()}"}
while wanted:
    wanted.discard(lines.readline().strip())
go, gone = os.pipe()
child = os.fork()
if child == 0:
    assert call_wsgi(app).status == 200       # its own checks begin with its first request
    os.read(go, 1)
    cluster.close()
    os._exit(0)
wanted = {f"probe {child}", f"find {child}"}
while wanted:
    wanted.discard(lines.readline().strip())
os.write(gone, b".")
assert os.waitpid(child, 0)[1] == 0
cluster.close()
lines.close()
print("both")
"""


def test_a_fork_has_its_own(tmp_path: Path) -> None:
    """As under a server that loads the app before it forks: parent and child each check."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")
