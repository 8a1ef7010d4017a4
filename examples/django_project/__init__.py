"""A Django project with gatekit among its middlewares and a service behind `/api`.

    $ python -m examples.django_project            # under WSGI
    $ python -m examples.django_project --asgi     # the same project under ASGI

`gateway.py` holds the policies, `settings.py` names them, `urls.py` has the proxy.

A view of the project, with the correlation id that it was asked with:

    $ curl -i http://127.0.0.1:8000/hello -H 'X-Correlation-ID: mine-1'
    # → 200 {"hello": "world", "request": "mine-1"}
    #   x-correlation-id: mine-1
    #   x-content-type-options: nosniff

The service, which knows nothing of `/api`:

    $ curl -i 'http://127.0.0.1:8000/api/users/1?full=yes'
    # → 200 {"service":"users","method":"GET","path":"/users/1?full=yes","received":""}
    $ curl -i http://127.0.0.1:8000/api/users -d name=Ada
    # → 200 {"service":"users","method":"POST","path":"/users","received":"name=Ada"}

An exception in a view: Django's own 500, which a page of the shop may read all the same:

    $ curl -i http://127.0.0.1:8000/broken -H 'Origin: https://shop.example'
    # → 500 …
    #   access-control-allow-origin: https://shop.example

A path of the service that could be read in two ways:

    $ curl -i http://127.0.0.1:8000/api/..%2Fadmin
    # → 400 {"type":"urn:gatekit:ambiguous-path",…}
"""
