"""The project's URLs; everything below `/api` is the service's."""

from __future__ import annotations

from django.conf import settings
from django.urls import path

from examples.django_project import views
from gatekit import Proxy, Timeout, django_view

users = Proxy(settings.USERS_URL, strip_prefix="/api")

urlpatterns = [
    path("hello", views.hello),
    path("broken", views.broken),
    path("api/<path:rest>", django_view(users, Timeout(5))),
]
