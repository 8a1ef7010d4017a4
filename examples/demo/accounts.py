"""The demo's third service, a Django project in one file: who is asking, and a view that fails."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

SHOWN = (
    "X-Correlation-ID",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "Forwarded",
    "Traceparent",
)


def whoami(request: HttpRequest) -> HttpResponse:
    seen = {name: request.headers[name] for name in SHOWN if name in request.headers}
    return JsonResponse({"service": "accounts", "seen": seen})


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the accounts are out of balance")


urlpatterns = [path("whoami", whoami), path("broken", broken)]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="for this demo only"
)
app = get_wsgi_application()
