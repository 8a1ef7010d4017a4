"""Runs the project with a service behind it. A project of one's own needs no such file."""

from __future__ import annotations

import os
import sys

from examples.service import port, service

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_project.settings"
    with service("users") as url:
        os.environ["USERS_URL"] = url
        if "--asgi" in sys.argv:
            sys.argv.remove("--asgi")
            import uvicorn
            from django.core.asgi import get_asgi_application

            # Without proxy_headers=False, uvicorn takes any local client's word for its address.
            uvicorn.run(get_asgi_application(), port=port(), proxy_headers=False, access_log=False)
        else:
            import waitress
            from django.core.wsgi import get_wsgi_application

            waitress.serve(get_wsgi_application(), host="127.0.0.1", port=port())
