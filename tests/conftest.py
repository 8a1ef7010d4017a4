"""The `door` fixture: a test that takes it runs through every door that a user may build."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol
from wsgiref.validate import validator

import pytest

from gatekit import asgi, wsgi
from gatekit.testing import Answer, call_asgi, call_wsgi
from gatekit.typing import Middleware
from tests.doors.spec import Spec


class Door(Protocol):
    """Calls the app that a spec describes, with middlewares around it."""

    name: str

    def __call__(
        self,
        spec: Spec,
        *middlewares: Middleware,
        method: str = "GET",
        target: str = "/",
        headers: Any = None,
        body: bytes | list[bytes] = b"",
    ) -> Answer: ...


class _ASGI:
    name = "asgi"

    def __call__(self, spec: Spec, *middlewares: Middleware, **call: Any) -> Answer:
        app = asgi(self.inner(spec.asgi()), *middlewares)
        return asyncio.run(self._call(app, _arguments(call)))

    async def _call(self, app: Any, call: dict[str, Any]) -> Answer:
        try:
            return await call_asgi(app, **call)
        except StopIteration:
            raise
        except Exception as error:
            raise AppRaised(error) from error

    def inner(self, app: Any) -> Any:
        return app


class _ASGIChild(_ASGI):
    """The app sends from a child task, in a context of its own, as some frameworks do."""

    name = "asgi-child"

    def inner(self, app: Any) -> Any:
        async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return

            async def send_elsewhere(message: Any) -> None:
                async def sending() -> None:
                    await send(message)

                await asyncio.get_running_loop().create_task(sending())

            await asyncio.get_running_loop().create_task(app(scope, receive, send_elsewhere))

        return elsewhere


class _WSGI:
    name = "wsgi"

    def __call__(self, spec: Spec, *middlewares: Middleware, **call: Any) -> Answer:
        call = _arguments(call)
        pieces = call.pop("body", b"")
        call["body"] = pieces if isinstance(pieces, bytes) else b"".join(pieces)
        app = validator(wsgi(validator(spec.wsgi()), *middlewares))
        try:
            return call_wsgi(app, **call)
        except AssertionError:
            raise
        except Exception as error:
            raise AppRaised(error) from error


class _Django:
    name = "django"

    def __call__(self, spec: Spec, *middlewares: Middleware, **call: Any) -> Answer:
        from tests.doors.django_door import call_django

        try:
            return call_django(spec, middlewares, **_arguments(call))
        except AssertionError:
            raise
        except Exception as error:
            raise AppRaised(error) from error


class _DjangoAsync:
    name = "django-async"

    def __call__(self, spec: Spec, *middlewares: Middleware, **call: Any) -> Answer:
        from tests.doors.django_door import call_django_async

        try:
            return asyncio.run(call_django_async(spec, middlewares, **_arguments(call)))
        except AssertionError:
            raise
        except Exception as error:
            raise AppRaised(error) from error


class AppRaised(Exception):
    """The app's error reached the server, after the head was sent."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    return {"method": "GET", "target": "/", "headers": None, "body": b"", **call}


DOORS: Iterable[Any] = (_ASGI(), _ASGIChild(), _WSGI(), _Django(), _DjangoAsync())


@pytest.fixture(params=DOORS, ids=lambda door: door.name)
def door(request: pytest.FixtureRequest) -> Door:
    """Every door in turn."""
    return request.param  # type: ignore[no-any-return]
