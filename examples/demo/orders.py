"""The demo's second service, in Flask: a form, cookies, and a redirect to its own address."""

from __future__ import annotations

from flask import Flask, Response, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

app = Flask(__name__)


@app.post("/")
def order() -> Response:
    return jsonify(service="orders", received=len(request.get_data()))


@app.get("/login")
def login() -> AnyResponse:
    response = redirect(url_for("welcome", _external=True))
    response.set_cookie("session", "abc", httponly=True, samesite="Lax")
    response.set_cookie("theme", "dark")
    return response


@app.get("/welcome")
def welcome() -> Response:
    return jsonify(service="orders", cookies=sorted(request.cookies))
