"""An OAuth 2 provider by Authlib, in a Flask app: what a team's identity provider does, for real.

`app` issues tokens for client credentials: signed ones (RFC 9068) to `app`, opaque ones to
`opaque`. It introspects, revokes, publishes metadata and keys, and changes its key when told to.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, Response, jsonify, request
from joserfc.jwk import KeySet, RSAKey

EXPIRES_IN = 600
SECRETS = {"app": "app-secret", "opaque": "opaque-secret", "gateway": "gateway-secret"}

numbers = itertools.count()
keys: list[RSAKey] = []
tokens: dict[str, Token] = {}
asked: dict[str, int] = {}


class Client(ClientMixin):  # type: ignore[misc]
    def __init__(self, client_id: str) -> None:
        self.client_id = client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: str) -> str:
        allowed = {"orders:read", "orders:write"}
        return " ".join(word for word in (scope or "").split() if word in allowed)

    def check_client_secret(self, client_secret: str) -> bool:
        return SECRETS[self.client_id] == client_secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class Token(TokenMixin):  # type: ignore[misc]
    def __init__(self, client: Client, text: str, scope: str) -> None:
        self.client, self.text, self.scope = client, text, scope
        self.expires_at = time.time() + EXPIRES_IN
        self.revoked = False

    def check_client(self, client: Client) -> bool:
        return self.client.client_id == client.client_id

    def is_expired(self) -> bool:
        return time.time() >= self.expires_at

    def is_revoked(self) -> bool:
        return self.revoked


class Signed(JWTBearerTokenGenerator):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(issuer="", expires_generator=lambda client, grant: EXPIRES_IN)

    def get_jwks(self) -> Any:
        return KeySet([keys[-1]])

    def get_audiences(self, client: Any, user: Any, scope: Any) -> str:
        return "api"

    def access_token_generator(self, *arguments: Any, **more: Any) -> Any:
        self.issuer = request.host_url.rstrip("/")
        return super().access_token_generator(*arguments, **more)


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    def check_permission(self, token: Any, client: Any, request: Any) -> bool:
        return bool(client.client_id == "gateway")

    def query_token(self, token_string: str, token_type_hint: Any) -> Token | None:
        return tokens.get(token_string)

    def introspect_token(self, token: Any) -> dict[str, Any]:
        return {
            "client_id": token.client.client_id,
            "sub": token.client.client_id,
            "scope": token.scope,
            "exp": int(token.expires_at),
            "iss": request.host_url.rstrip("/"),
        }


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    def query_token(self, token_string: str, token_type_hint: Any) -> Token | None:
        return tokens.get(token_string)

    def revoke_token(self, token: Any, request: Any) -> None:
        token.revoked = True


def generate(
    grant_type: str, client: Any, user: Any = None, scope: str | None = None, **more: Any
) -> Any:
    by_name = {"app": signed, "opaque": opaque}
    return by_name[client.client_id](grant_type, client, user=user, scope=scope, **more)


def save(token: dict[str, Any], asking: Any) -> None:
    text = token["access_token"]
    tokens[text] = Token(asking.client, text, token.get("scope") or "")


def add_key() -> None:
    keys.append(RSAKey.generate_key(2048, {"kid": f"key-{next(numbers)}", "use": "sig"}))


app = Flask(__name__)
signed = Signed()
opaque = BearerTokenGenerator(
    lambda **_: f"opaque-{len(tokens)}", expires_generator=lambda client, grant: EXPIRES_IN
)
server = AuthorizationServer(app, lambda name: Client(name) if name in SECRETS else None, save)
server.register_token_generator("default", generate)
server.register_grant(ClientCredentialsGrant)
server.register_endpoint(Introspection)
server.register_endpoint(Revocation)
add_key()


@app.before_request
def count() -> None:
    asked[request.path] = asked.get(request.path, 0) + 1


@app.post("/token")
def token_endpoint() -> Any:
    return server.create_token_response()


@app.post("/introspect")
def introspect() -> Any:
    return server.create_endpoint_response("introspection")


@app.post("/revoke")
def revoke() -> Any:
    return server.create_endpoint_response("revocation")


@app.get("/jwks")
def jwks() -> Response:
    return jsonify(KeySet(list(keys)).as_dict(private=False))


@app.get("/.well-known/openid-configuration")
def metadata() -> Response:
    issuer = request.host_url.rstrip("/")
    return jsonify(issuer=issuer, jwks_uri=f"{issuer}/jwks", token_endpoint=f"{issuer}/token")


# What a test does with it, besides.


@app.post("/test/rotate")
def rotate() -> Response:
    add_key()
    return jsonify({})


@app.post("/test/retire")
def retire() -> Response:
    del keys[:-1]
    return jsonify({})


@app.get("/test/asked")
def counted() -> Response:
    return jsonify(asked)
