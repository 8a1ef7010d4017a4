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
    CorrelationId,
    Gateway,
    Proxy,
    Request,
    Response,
    Route,
    SecurityHeaders,
    Timeout,
)


async def health(request: Request) -> Response:
    return Response.json({"status": "up"})


catalog = Proxy(os.environ["CATALOG_URL"], strip_prefix="/catalog")
orders = Proxy(os.environ["ORDERS_URL"], strip_prefix="/orders")
accounts = Proxy(os.environ["ACCOUNTS_URL"], strip_prefix="/accounts")
billing = Proxy(os.environ["BILLING_URL"], strip_prefix="/billing")

gateway = Gateway(
    CorrelationId(),
    AccessLog(),
    CORS(allow_origins=["https://shop.example"], allow_credentials=True),
    SecurityHeaders(),
    routes=[
        Route("/catalog/*", catalog, methods=["GET"]),
        Route("/catalog/slow", catalog, Timeout(0.5)),
        Route("/orders/*", orders, BodyLimit(1024)),
        Route("/accounts/*", accounts),
        Route("/billing/*", billing),
        Route("/health", health, without=[AccessLog]),
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
