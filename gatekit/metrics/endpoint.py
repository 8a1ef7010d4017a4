"""`GET /metrics` for Prometheus.

    metrics = Metrics(prometheus=True)
    Gateway(metrics, routes=[Route("/metrics", PrometheusEndpoint(metrics), IPFilter(...))])

Both formats are answered, OpenMetrics where the scraper likes it better. What it tells of your
services is not the internet's business: give the route an `IPFilter`, or a port of its own.
"""

from __future__ import annotations

import asyncio

from gatekit._core.messages import Request, Response
from gatekit._core.problems import problem
from gatekit.errors import check
from gatekit.middleware.metrics import Metrics


class PrometheusEndpoint:
    """Answers with what a `Metrics(prometheus=True)` has counted, in all workers or in this one."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        check("PrometheusEndpoint", metrics=_problem(metrics))
        self._metrics = metrics

    async def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            kind = "urn:gatekit:method-not-allowed"
            return problem(405, type=kind, headers={"allow": "GET, HEAD"})
        accept = ",".join(request.headers.getlist("accept"))
        text, media_type = await request.io.call(self._text, self._atext, accept)
        headers = {"content-type": media_type, "cache-control": "no-store", "vary": "accept"}
        return Response(200, headers, text)

    def _text(self, accept: str) -> tuple[bytes, str]:
        return self._metrics.prometheus_text(accept)

    async def _atext(self, accept: str) -> tuple[bytes, str]:
        # With several workers it reads their files.
        return await asyncio.to_thread(self._text, accept)

    def __repr__(self) -> str:
        return f"PrometheusEndpoint({self._metrics!r})"


def _problem(metrics: object) -> str | None:
    if isinstance(metrics, Metrics) and metrics.prometheus is not None:
        return None
    return f"must be a Metrics(prometheus=True), not {metrics!r}"
