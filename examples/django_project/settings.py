"""A project's settings, as short as they get."""

from __future__ import annotations

import os

SECRET_KEY = "for this example only"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "examples.django_project.urls"
MIDDLEWARE = [
    "examples.django_project.gateway.middleware",
    "django.middleware.common.CommonMiddleware",
]
USERS_URL = os.environ["USERS_URL"]
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"gatekit": {"level": "INFO", "handlers": ["console"], "propagate": False}},
}
