"""Limits and quotas by plan: everybody a little, customers more, the house as much as it likes.

    $ python -m examples.rate_limit_plans

Without a key the client is counted by its address, sixty an hour:

    $ curl -i http://127.0.0.1:8000/hello
    # → 200 Hello, stranger.
    #   ratelimit-policy: "60-per-hour";q=60;w=3600
    #   ratelimit: "60-per-hour";r=…;t=…

A customer has ten times that, in both lists, and a quota for the month:

    $ curl -i http://127.0.0.1:8000/hello -H 'X-API-Key: ada'
    # → 200 Hello, ada.
    #   ratelimit-policy: "600-per-hour";q=600;w=3600
    #   ratelimit-policy: "quota-month";q=10000;w=2592000

The house is not limited:

    $ curl -i http://127.0.0.1:8000/hello -H 'X-API-Key: operator'
    # → 200 Hello, operator.

A report costs a hundred, more than a stranger ever has, so there is no use in waiting:

    $ curl -i -X POST http://127.0.0.1:8000/report
    # → 429 {"type":"urn:gatekit:rate-limited",…,"violated-policies":["60-per-hour"]}
    $ curl -i -X POST http://127.0.0.1:8000/report -H 'X-API-Key: ada'
    # → 200 A long report for ada.

What is used of the quota, which costs nothing to ask:

    $ curl -i http://127.0.0.1:8000/usage -H 'X-API-Key: ada'
    # → 200 {"plan":"customer","quotas":[{"policy":"quota-month","period":"month","limit":10000,…}]}
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import uvicorn

from examples.service import port
from gatekit import Gateway, Identity, Request, Response, Route
from gatekit.limits import keys
from gatekit.middleware.quota import Plan, Quota
from gatekit.middleware.rate_limit import RateLimit
from gatekit.typing import Handler

CALLERS = {
    "ada": Identity("ada", plan="customer"),
    "operator": Identity("operator", plan="house"),
}


async def authenticate(request: Request, call_next: Handler) -> Response:
    """In earnest a key is long, random and looked up by its hash."""
    request.identity = CALLERS.get(request.headers.get("x-api-key", ""))
    return await call_next(request)


def plan(request: Request) -> str:
    return "stranger" if request.identity is None else str(request.identity.plan)


def cost(request: Request) -> int:
    return 100 if request.path == "/report" else 1


def name(request: Request) -> str:
    return "stranger" if request.identity is None else str(request.identity.subject)


async def hello(request: Request) -> Response:
    return Response.text(f"Hello, {name(request)}.\n")


async def report(request: Request) -> Response:
    return Response.text(f"A long report for {name(request)}.\n")


def build(folder: Path) -> Gateway:
    """`folder` is where the quota is kept; every worker of this host counts in the same file."""
    limit = RateLimit(
        "60/hour",
        key=keys.identity,
        tiers={"customer": "600/hour", "house": None},
        tier=plan,
        cost=cost,
    )
    quota = Quota(
        {"stranger": None, "customer": Plan("10000/month", grace=100), "house": None},
        plan=plan,
        store=f"sqlite:///{folder}/quota.db",
        timezone="Europe/Berlin",
    )
    return Gateway(
        authenticate,
        limit,
        quota,
        routes=[
            Route("/hello", hello),
            Route("/report", report, methods=["POST"]),
            Route("/usage", quota.usage, without=[RateLimit, Quota]),
        ],
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvicorn.run(build(Path(folder)).asgi(), port=port(), proxy_headers=False, access_log=False)
