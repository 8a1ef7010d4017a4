"""Secrets in queries and URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekit._core.text import printable
from gatekit.middleware._redact import SECRET_PARAMETERS, fold, redact_query, redact_url

SECRET = fold(SECRET_PARAMETERS)


@pytest.mark.parametrize(
    ("query", "logged"),
    [
        ("", ""),
        ("flag", "flag"),
        ("page=2&sort=name", "page=2&sort=name"),
        ("access_token=abc", "access_token=[redacted]"),
        ("page=2&token=abc&sort=a", "page=2&token=[redacted]&sort=a"),
        ("TOKEN=abc", "TOKEN=[redacted]"),
        ("accessToken=abc", "accessToken=[redacted]"),
        ("api-key=abc", "api-key=[redacted]"),
        ("access%5Ftoken=abc", "access%5Ftoken=[redacted]"),
        ("%74oken=abc", "%74oken=[redacted]"),
        ("user[password]=abc", "user[password]=[redacted]"),
        ("user.password=abc", "user.password=[redacted]"),
        ("token[]=a&token[]=b", "token[]=[redacted]&token[]=[redacted]"),
        ("a=1;password=abc", "a=1;password=[redacted]"),
        ("X-Amz-Signature=abc&X-Amz-Date=1", "X-Amz-Signature=[redacted]&X-Amz-Date=1"),
        ("code=a=b", "code=[redacted]"),
        ("token=", "token=[redacted]"),
        ("tokens=3", "tokens=3"),
        ("keyboard=us", "keyboard=us"),
    ],
)
def test_values_of_secret_parameters_are_not_shown(query: str, logged: str) -> None:
    """However the name is written; all else stays as it came."""
    assert redact_query(query, SECRET) == logged


@given(
    st.lists(
        st.tuples(st.sampled_from(["token", "a", "Sig", "b%20c"]), st.text("xyz%20=", max_size=5)),
        max_size=6,
    )
)
def test_no_secret_survives(pairs: list[tuple[str, str]]) -> None:
    """Whatever stands around it, the value of a secret parameter is gone."""
    query = "&".join(f"{name}={value}SECRET" for name, value in pairs if name in ("token", "Sig"))
    others = "&".join(f"{name}={value}" for name, value in pairs)
    assert "SECRET" not in redact_query(f"{others}&{query}", SECRET)


@pytest.mark.parametrize(
    ("url", "logged"),
    [
        ("https://a.example/b", "https://a.example/b"),
        ("https://a.example/b?token=x&c=1", "https://a.example/b?token=[redacted]&c=1"),
        (
            "https://a.example/b?c=1#access_token=x",
            "https://a.example/b?c=1#access_token=[redacted]",
        ),
    ],
)
def test_a_url_has_its_query_redacted(url: str, logged: str) -> None:
    """Its fragment too, where some put tokens."""
    assert redact_url(url, SECRET) == logged


@given(st.text())
def test_printable_text_is_one_line(text: str) -> None:
    """No text can begin a new line, ring a bell or turn the writing around."""
    assert printable(text).isprintable()
    assert len(printable(text).splitlines()) <= 1


def test_ordinary_text_stays() -> None:
    """Letters of any language are no threat."""
    assert printable("Größe 10 €, 日本語") == "Größe 10 €, 日本語"
    assert printable("a\r\nb\x1b[31m\u202e\udc80") == r"a\r\nb\x1b[31m\u202e\udc80"
