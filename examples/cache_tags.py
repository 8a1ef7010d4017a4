"""A Flask app whose pages are cached until they change: tags, purged from the view that changes.

    $ python -m examples.cache_tags

A page is made once:

    $ curl -i http://127.0.0.1:8000/items/7
    # → 200 {"item":7,"name":"teapot"}
    #   Cache-Status: gatekit; …

    $ curl -i http://127.0.0.1:8000/items/7
    # → 200 {"item":7,"name":"teapot"}
    #   Cache-Status: gatekit; hit; ttl=…

The list shows the same item, and has its tag:

    $ curl -i http://127.0.0.1:8000/items
    # → 200 [{"item":7,"name":"teapot"}]

A change purges both, though it was made at another URL:

    $ curl -i http://127.0.0.1:8000/rename/7 -d 'name=samovar'
    # → 200 {"purged":…}

    $ curl -i http://127.0.0.1:8000/items
    # → 200 [{"item":7,"name":"samovar"}]
    #   Cache-Status: gatekit; …

From outside, with the secret, by URL; `Surrogate-Key: items` would name a tag:

    $ curl -X PURGE http://127.0.0.1:8000/ -H 'Authorization: Bearer a-secret-of-the-shop' -i
    # → 200 {"purged":0}
"""

from __future__ import annotations

from flask import Flask, request
from waitress import serve

from examples.service import port
from gatekit import Cache, wsgi

NAMES = {7: "teapot"}

app = Flask(__name__)
app.json.compact = True  # type: ignore[attr-defined]
cache = Cache(purge="a-secret-of-the-shop")


@app.get("/items")
def items() -> tuple[list[dict[str, object]], dict[str, str]]:
    listed = [{"item": number, "name": name} for number, name in NAMES.items()]
    tags = " ".join(["items", *(f"item-{number}" for number in NAMES)])
    return listed, {"Cache-Control": "max-age=3600", "Surrogate-Key": tags}


@app.get("/items/<int:number>")
def item(number: int) -> tuple[dict[str, object], dict[str, str]]:
    fields = {"Cache-Control": "max-age=3600", "Surrogate-Key": f"items item-{number}"}
    return {"item": number, "name": NAMES[number]}, fields


@app.post("/rename/<int:number>")
def rename(number: int) -> dict[str, int]:
    NAMES[number] = request.form["name"]
    return {"purged": cache.invalidate(tags=f"item-{number}")}


app.wsgi_app = wsgi(app.wsgi_app, cache)  # type: ignore[method-assign]


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=port(), threads=8)
