"""Why an exchange did not go well, in three letters that stay the same from version to version.

    flag = flag_of(request, outcome, problem_type)
    flag.code, flag.source            # "UCT", "upstream"

The registry is `FLAGS`. A flag's source says whose the failure was: the `client`'s, the
`gateway`'s, or that of what is behind it, the `upstream`, be it a service or the app itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from gatekit.errors import Stage

if TYPE_CHECKING:
    from gatekit._core.messages import Request
    from gatekit._core.outcome import Outcome

Source: TypeAlias = Literal["client", "gateway", "upstream"]

URN = "urn:gatekit:"
INTERNAL = URN + "internal-error"
TIMEOUT = URN + "timeout"


class Flag(NamedTuple):
    """`type` is the end of the problem's type, empty where no problem stands for it."""

    code: str
    source: Source
    type: str
    meaning: str


_PROBLEMS = (
    Flag("AMB", "client", "ambiguous-path", "the path can be read in two ways"),
    Flag("AUU", "gateway", "authentication-unavailable", "who calls cannot be found out now"),
    Flag("BTL", "client", "body-too-large", "the body is too large"),
    Flag("CAU", "gateway", "cache-unavailable", "the store of the cache is away"),
    Flag("CBO", "upstream", "circuit-open", "the circuit of a failing service is open"),
    Flag("ENC", "client", "content-encoding", "the body is not in the coding that it says"),
    Flag("LEN", "client", "content-length", "Content-Length is no number"),
    Flag("PFL", "client", "cors-preflight", "a preflight asked for what is not allowed"),
    Flag("NCR", "client", "credentials-required", "no credentials"),
    Flag("CSR", "client", "csrf", "another site's page made a browser send it"),
    Flag("FRB", "client", "forbidden", "who calls may not do this"),
    Flag("SCP", "client", "insufficient-scope", "the token does not reach that far"),
    Flag("INT", "gateway", "internal-error", "a middleware failed"),
    Flag("ICR", "client", "invalid-credentials", "credentials that are no good"),
    Flag("IKR", "client", "invalid-key-request", "not what makes an API key"),
    Flag("IRQ", "client", "invalid-request", "credentials given twice, or malformed"),
    Flag("ITK", "client", "invalid-token", "a token that is no good"),
    Flag("IPR", "client", "ip-refused", "the address is not let in"),
    Flag("KOV", "client", "key-over", "the API key is over already"),
    Flag("KSU", "gateway", "keys-unavailable", "the store of API keys is away"),
    Flag("LRQ", "client", "length-required", "the server needs a Content-Length"),
    Flag("LSU", "gateway", "limits-unavailable", "the store of a limit is away"),
    Flag("MAL", "client", "malformed-request", "a request that cannot be forwarded as it is"),
    Flag("MNA", "client", "method-not-allowed", "no route takes this method"),
    Flag("MNF", "client", "method-not-forwarded", "CONNECT or TRACE"),
    Flag("NDS", "upstream", "no-destination", "no destination of the service is available"),
    Flag("NRT", "client", "no-route", "no route fits"),
    Flag("NSK", "client", "no-such-key", "there is no such API key"),
    Flag("NAC", "client", "not-acceptable", "nothing that the client accepts"),
    Flag("NCA", "client", "not-cached", "only a stored answer was wanted, and there is none"),
    Flag("ORG", "client", "origin", "a page of another site opened a WebSocket"),
    Flag("OVL", "gateway", "overloaded", "no room for the request"),
    Flag("PLN", "client", "plan", "no plan to count by"),
    Flag("PCF", "client", "precondition-failed", "the client's precondition does not hold"),
    Flag("PRG", "client", "purge-refused", "who calls may not purge"),
    Flag("QEX", "client", "quota-exceeded", "the quota is used up"),
    Flag("QEK", "client", "quota-exceeded-key", "nothing to count a quota by"),
    Flag("RLM", "client", "rate-limited", "too many requests"),
    Flag("RLK", "client", "rate-limited-key", "nothing to count a limit by"),
    Flag("RIN", "client", "request-incomplete", "the request's body broke off"),
    Flag("RTO", "client", "request-timeout", "the client fell silent in its body"),
    Flag("RST", "gateway", "restarting", "WebSockets are being closed before a restart"),
    Flag("TMO", "upstream", "timeout", "the deadline ran out before there was a head"),
    Flag("TMA", "client", "too-many-at-once", "one client has too many requests under way"),
    Flag("TRC", "client", "transfer-coding", "a transfer coding other than chunked"),
    Flag("UEN", "client", "unsupported-encoding", "a content coding that nobody here undoes"),
    Flag("UMT", "client", "unsupported-media-type", "a body of a type that is not taken"),
    Flag("UBR", "upstream", "upstream-broken", "the upstream broke off, or its answer is no HTTP"),
    Flag("UBZ", "gateway", "upstream-busy", "all connections to the upstream are in use"),
    Flag("UER", "upstream", "upstream-error", "the upstream's own error, shown as a problem"),
    Flag("UTM", "upstream", "upstream-timeout", "the upstream was late"),
    Flag("UUR", "upstream", "upstream-unreachable", "the upstream cannot be reached"),
    Flag("WNC", "client", "websocket-not-carried", "WebSockets are not carried there"),
)  # fmt: skip

_LEFT = Flag("CLD", "client", "", "the client left before the end")
_APP = Flag("APP", "upstream", "", "the app raised")
_CUT = Flag("CUT", "upstream", "", "the answer broke off after its head")
_THEIRS_4 = Flag("U4X", "client", "", "the app or the upstream refused: its own 4xx")
_THEIRS_5 = Flag("U5X", "upstream", "", "the app or the upstream failed: its own 5xx")
_OWN_4 = Flag("REJ", "client", "", "refused by a middleware or handler of yours, with a problem")
_OWN_5 = Flag("OWN", "gateway", "", "failed by a middleware or handler of yours, with a problem")

_STAGES: Mapping[Stage, Flag] = {
    "dns": Flag("UDN", "upstream", "", "the upstream's name does not resolve"),
    "connect": Flag("UCF", "upstream", "", "the upstream does not accept connections"),
    "connect_timeout": Flag("UCT", "upstream", "", "connecting to the upstream took too long"),
    "tls": Flag("UTL", "upstream", "", "the TLS handshake with the upstream failed"),
    "pool_timeout": Flag("UPT", "gateway", "", "no connection to the upstream became free in time"),
    "pool_full": Flag("UPF", "gateway", "", "too many wait for a connection to the upstream"),
    "send": Flag("USE", "upstream", "", "the request could not be sent to the end"),
    "first_byte_timeout": Flag("UFT", "upstream", "", "the upstream's head was late"),
    "idle_timeout": Flag("UIT", "upstream", "", "the upstream fell silent"),
    "attempt_timeout": Flag("UAT", "upstream", "", "one attempt took too long"),
    "total_timeout": Flag("UTT", "upstream", "", "all attempts together took too long"),
    "protocol": Flag("UPE", "upstream", "", "the upstream's answer is malformed"),
    "reset": Flag("URS", "upstream", "", "the upstream reset the connection"),
    "closed": Flag("UCL", "upstream", "", "the upstream closed the connection too early"),
}

FLAGS: Mapping[str, Flag] = {
    flag.code: flag
    for flag in sorted(
        (*_PROBLEMS, *_STAGES.values(), _LEFT, _APP, _CUT, _THEIRS_4, _THEIRS_5, _OWN_4, _OWN_5)
    )
}
"""Every flag that there is, by its code."""

_BY_TYPE: Mapping[str, Flag] = {URN + flag.type: flag for flag in _PROBLEMS}


def flag_of_problem(kind: str, status: int) -> Flag:
    """Of a problem that gatekit, or a middleware of the user's, answered."""
    return _BY_TYPE.get(kind) or (_OWN_5 if status >= 500 else _OWN_4)


def flag_of(request: Request, outcome: Outcome, problem_type: str | None) -> Flag | None:
    """None if all went well. A client that left comes first, then what the upstream did.

    An upstream's failure has its flag also where something else was answered in its place.
    """
    status, raised = outcome.status, outcome.error
    if outcome.ended == "abandoned":
        return _LEFT
    error = request.upstream_error
    if error is not None and (flag := _STAGES.get(error.stage)) is not None:
        return flag
    if outcome.ended == "failed" and raised is not request.app_error:
        return _CUT
    if status is None:
        return _APP
    if status < 400:
        return None
    if problem_type == INTERNAL or (problem_type is None and status >= 500 and raised is not None):
        # What the door says for an app that was late is not seen by those inside of it.
        late = isinstance(raised, TimeoutError) and status == 504
        return _BY_TYPE[TIMEOUT] if late else _BY_TYPE[INTERNAL] if raised is None else _APP
    if problem_type is not None:
        return flag_of_problem(problem_type, status)
    return _THEIRS_5 if status >= 500 else _THEIRS_4
