"""A gateway for several workers: which of them answers is in `x-worker`."""

from __future__ import annotations

import os

from gatekit import Gateway, Metrics, PrometheusEndpoint, Proxy, Request, Response, Route
from gatekit.testing import upstream

metrics = Metrics(prometheus=True)


async def hello(request: Request) -> Response:
    return Response.text("hello", headers={"x-worker": str(os.getpid())})


proxy = Proxy("http://users", transport=upstream(lambda sent: Response.text("ok")))
gateway = Gateway(
    metrics,
    routes=[
        Route("/metrics", PrometheusEndpoint(metrics)),
        Route("/hello", hello),
        Route("/users/{id}", proxy),
    ],
)
app = gateway.wsgi()
asgi = gateway.asgi()
