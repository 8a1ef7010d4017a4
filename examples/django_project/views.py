"""The project's own views."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse


def hello(request: HttpRequest) -> HttpResponse:
    # What gatekit knows of a request is on Django's.
    known = request.gatekit  # type: ignore[attr-defined]
    return JsonResponse({"hello": "world", "request": known.correlation_id})


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a bug in the view")
