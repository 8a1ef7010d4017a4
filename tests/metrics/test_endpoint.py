"""`GET /metrics`: what a scraper is answered."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time

import pytest

from gatekit import Gateway, Metrics, PrometheusEndpoint, Proxy, Response, Route
from gatekit.metrics.prometheus import preferred
from gatekit.testing import Answer, call_asgi, call_wsgi, upstream
from tests.metrics.exposition import read, value

# What Prometheus 3 sends.
SCRAPER = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def gateway() -> Gateway:
    metrics = Metrics(prometheus=True)
    proxy = Proxy("http://users", transport=upstream(lambda sent: Response.text("ok")))
    return Gateway(
        metrics,
        routes=[
            Route("/metrics", PrometheusEndpoint(metrics)),
            Route('/odd/{id}/"quoted"', proxy),
            Route("/users/{id}", proxy),
        ],
    )


def scrape(made: Gateway, method: str = "GET", **headers: str) -> Answer:
    async def main() -> Answer:
        app = made.asgi()
        await call_asgi(app, target="/users/7")
        await call_asgi(app, target="/odd/7/%22quoted%22")
        return await call_asgi(app, method, "/metrics", headers=headers)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        (SCRAPER, True),
        ("application/openmetrics-text", True),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
        ("application/openmetrics-text;q=0, text/plain", False),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.9", False),
        ("text/plain;version=0.0.4", False),
        ("*/*", False),
        ("", False),
        ("text/html, ;q=x, application/openmetrics-text;q=x", False),
    ],
)
def test_either_format(accept: str, is_open: bool) -> None:
    """Whichever the scraper likes better; the old one where it does not say."""
    answer = scrape(gateway(), accept=accept)
    assert answer.headers["content-type"].startswith(
        "application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version="
    )
    found = read(answer.text, is_open=is_open)
    labels = {"method": "GET", "endpoint": "/users/{id}", "status": "200", "service": "users"}
    assert value(found, "http_requests_total", **labels) == 1
    assert value(found, "http_request_duration_seconds_count", **labels) == 1
    assert value(found, "http_active_connections") == 1  # the scraper's own
    assert answer.headers["cache-control"] == "no-store"


def test_under_wsgi() -> None:
    """The same handler; there it is not read in another thread."""
    app = gateway().wsgi()
    assert call_wsgi(app, target="/users/7").status == 200
    found = read(call_wsgi(app, target="/metrics").text)
    assert value(found, "http_requests_total", endpoint="/users/{id}") == 1


def test_only_for_reading() -> None:
    """HEAD has no body; whatever would write is refused."""
    assert scrape(gateway(), "HEAD").body == b""
    refused = scrape(gateway(), "POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_preferred_keeps_the_version() -> None:
    """What the library chooses the encoding by."""
    assert preferred(SCRAPER) == "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
    assert preferred("text/plain; version=0.0.4; q=1") == "text/plain;version=0.0.4"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_no_complaint() -> None:
    """By its own checker of metrics."""
    text = scrape(gateway()).body
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_gauges_of_what_is_gone_go() -> None:
    """A destination that left the cluster is no longer told of; one that was counted stays."""
    from gatekit import Cluster, Destination

    cluster = Cluster("shop", destinations=["http://a", "http://b"])
    metrics = Metrics(prometheus=True)
    metrics.watch(Proxy(cluster))
    before = read(metrics.prometheus_text()[0].decode())
    assert value(before, "gatekit_upstream_available", destination="http://b") == 1
    cluster.state.update([Destination("http://a")], time.monotonic())
    after = metrics.prometheus_text()[0].decode()
    assert 'gatekit_upstream_available{destination="http://a"' in after
    assert 'destination="http://b"' not in after


def test_it_can_be_asked_in_python() -> None:
    """Without a route: for a push, or for a port of one's own."""
    metrics = Metrics(prometheus=True)
    text, media_type = metrics.prometheus_text("application/openmetrics-text")
    assert media_type.startswith("application/openmetrics-text")
    assert read(text.decode(), is_open=True)
