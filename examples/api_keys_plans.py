"""API keys with plans: each is counted by what its plan grants; admins make and end keys.

    $ python -m examples.api_keys_plans

Without a key nobody comes in; one that was made up is refused without a look into the store:

    $ curl -i http://127.0.0.1:8000/hello
    # → 401 {"type":"urn:gatekit:credentials-required",…}
    #   www-authenticate: ApiKey realm="api"
    $ curl -i http://127.0.0.1:8000/hello -H 'X-API-Key: gk_madeup'
    # → 401 {"type":"urn:gatekit:invalid-credentials",…}

Ada's key is of the plan `free`, Bob's of the plan `pro`:

    $ curl -i http://127.0.0.1:8000/hello -H 'X-API-Key: gk_y7RubAqrYhYLdy6R_LT8OHHB8mdm4GVDJ2IHsZZbynp8bxeAe3dOypk'
    # → 200 Hello, ada.
    #   ratelimit-policy: "60-per-hour";q=60;w=3600
    $ curl -i http://127.0.0.1:8000/hello -H 'X-API-Key: gk_HP58V59fOwhLZJ8K_i2W0Bai5QdcNB5RM13PvcopSu89IwOhk3fYVRR'
    # → 200 Hello, bob.
    #   ratelimit-policy: "1000-per-hour";q=1000;w=3600

Keys are made and seen by who has the role `admin`, and by nobody else:

    $ curl -i http://127.0.0.1:8000/keys -H 'X-API-Key: the-key-of-the-operator'
    # → 200 {"keys":[…"subject":"bob"…],"next":null}
    $ curl -i -X POST http://127.0.0.1:8000/keys -H 'X-API-Key: the-key-of-the-operator' -H 'Content-Type: application/json'
    # → 422 {"type":"urn:gatekit:invalid-key-request",…"errors":{"subject":"is missing"}}
    $ curl -i http://127.0.0.1:8000/keys -H 'X-API-Key: gk_HP58V59fOwhLZJ8K_i2W0Bai5QdcNB5RM13PvcopSu89IwOhk3fYVRR'
    # → 401 {"type":"urn:gatekit:invalid-credentials",…}

The store is a file that is gone with the example. `gatekit keys --help` does the same in a shell.
"""  # noqa: E501 — a key cannot be broken in two

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import uvicorn

from examples.service import port
from gatekit import (
    ApiKeyAuth,
    Gateway,
    Identity,
    KeyAdmin,
    KeyManager,
    RateLimit,
    Request,
    Response,
    Route,
)
from gatekit.limits import keys as by

OPERATOR = Identity("operator", roles=frozenset({"admin"}))


def plan(request: Request) -> str | None:
    return None if request.identity is None else request.identity.plan


async def hello(request: Request) -> Response:
    assert request.identity is not None
    return Response.text(f"Hello, {request.identity.subject}.\n")


def build(folder: Path) -> Gateway:
    """Chance is not left to itself here, so that the lines above can be tried: never do that."""
    manager = KeyManager(
        f"sqlite:///{folder}/keys.db",
        secret=b"a secret of the example, no more",
        entropy=random.Random(5).randbytes,
    )
    manager.create("ada", plan="free")
    manager.create("bob", plan="pro", expires_in=90 * 86400)
    limit = RateLimit(
        "10/hour", key=by.identity, tiers={"free": "60/hour", "pro": "1000/hour"}, tier=plan
    )
    customers = ApiKeyAuth(manager)
    operators = ApiKeyAuth({"the-key-of-the-operator": OPERATOR}, name="operators")
    admin = KeyAdmin(manager, roles=["admin"], prefix="/keys")
    return Gateway(
        routes=[
            Route("/hello", hello, customers, limit),
            Route("/keys/*", admin, operators),
        ]
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvicorn.run(build(Path(folder)).asgi(), port=port(), proxy_headers=False, access_log=False)
