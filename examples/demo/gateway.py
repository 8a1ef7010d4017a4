"""The demo's gateway: one `Gateway`, which either kind of server takes as it is.

    uvicorn examples.demo.gateway:asgi
    waitress-serve examples.demo.gateway:wsgi

Where the services are is in the environment: `CATALOG_URL` and so on.
"""

from __future__ import annotations

import logging.config
import os

from gatekit import (
    CORS,
    AccessLog,
    BodyLimit,
    Cluster,
    CorrelationId,
    Gateway,
    Health,
    Metrics,
    PrometheusEndpoint,
    Proxy,
    Route,
    SecurityHeaders,
    Timeout,
    Tracing,
)


def service(name: str) -> Proxy:
    cluster = Cluster(name, destinations=[os.environ[f"{name.upper()}_URL"]])
    return Proxy(cluster, strip_prefix=f"/{name}")


catalog, orders = service("catalog"), service("orders")
accounts, billing = service("accounts"), service("billing")
metrics = Metrics(prometheus=True)

health = Health(
    {"configuration": lambda: "CATALOG_URL" in os.environ},
    clusters={"catalog": catalog, "orders": orders, "accounts": accounts},
    version="demo",
)

gateway = Gateway(
    CorrelationId(),
    Tracing(),
    metrics,
    AccessLog(),
    CORS(allow_origins=["https://shop.example"], allow_credentials=True),
    SecurityHeaders(),
    routes=[
        Route("/catalog/*", catalog, methods=["GET"]),
        Route("/catalog/slow", catalog, Timeout(0.5)),
        Route("/orders/*", orders, BodyLimit(1024)),
        Route("/accounts/*", accounts),
        Route("/billing/*", billing),
        *health.routes(without=[AccessLog]),
        Route("/metrics", PrometheusEndpoint(metrics), without=[AccessLog]),
    ],
)

asgi = gateway.asgi()
wsgi = gateway.wsgi()

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "gatekit.JSONFormatter"}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stdout",
            }
        },
        "loggers": {"gatekit": {"level": "INFO", "handlers": ["out"]}},
    }
)
