"""What a key looks like, and what is told of one without a store."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gatekit import ConfigurationError
from gatekit.keys import KeyFormat

SECRET = b"a secret of thirty-two bytes ..."


def zeros(count: int) -> bytes:
    return bytes(count)


def test_a_key_is_what_it_says() -> None:
    """Prefix, public id, secret with checksum; always the same for the same randomness."""
    made = KeyFormat("shop_live", secret=SECRET, entropy=zeros).generate()
    assert made.text == KeyFormat("shop_live", secret=SECRET, entropy=zeros).generate().text
    assert re.fullmatch(r"shop_live_0{12}[0-9A-Za-z]{4}_0{32}[0-9A-Za-z]{6}", made.text)
    assert made.text.split("_")[2] == made.id
    assert re.fullmatch(r"[0-9a-f]{64}", made.digest)


def test_no_two_are_the_same() -> None:
    """A thousand keys have a thousand ids, secrets and hashes, and each is read back."""
    keys = KeyFormat(secret=SECRET)
    made = [keys.generate() for _ in range(1000)]
    for part in ("text", "id", "digest"):
        assert len({getattr(one, part) for one in made}) == 1000
    for one in made:
        text = one.text.encode()
        assert keys.id_of(text) == one.id
        assert keys.is_genuine(text)
        assert keys.matches(text, bytes.fromhex(one.digest))


def test_every_typing_error_is_noticed() -> None:
    """No other character in any place, and no two neighbours swapped, leave the checksum right."""
    keys = KeyFormat(secret=SECRET)
    text = keys.generate().text
    for place in range(len("gk_"), len(text)):
        for char in "0Az_":
            wrong = f"{text[:place]}{char}{text[place + 1 :]}".encode()
            if wrong != text.encode() and keys.id_of(wrong) is not None:
                assert not keys.is_genuine(wrong)
        if place + 1 < len(text) and text[place] != text[place + 1]:
            swapped = f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}".encode()
            assert keys.id_of(swapped) is None or not keys.is_genuine(swapped)


def test_made_up_keys_are_told_without_a_store() -> None:
    """Who computes the checksum, but has not the secret, gets no id right."""
    theirs, ours = KeyFormat(secret=b"an attacker's own"), KeyFormat(secret=SECRET)
    made = [theirs.generate().text.encode() for _ in range(2000)]
    assert all(ours.id_of(text) for text in made)
    assert [text for text in made if ours.is_genuine(text)] == []


@pytest.mark.parametrize(
    "text",
    ["", "gk", "gk__", "gk_a_b", "é" * 40, "\0" * 58, "gk_" + "0" * 55, "xx_" + "0" * 55],
)
def test_what_is_no_key(text: str) -> None:
    """Nothing is raised for whatever is presented."""
    assert KeyFormat(secret=SECRET).id_of(text.encode()) is None


def test_a_digest_is_no_key() -> None:
    """What is stored does not open: neither the hash of another key nor half a hash matches."""
    keys = KeyFormat(secret=SECRET)
    one, other = keys.generate(), keys.generate()
    assert not keys.matches(one.text.encode(), bytes.fromhex(other.digest))
    assert not keys.matches(one.text.encode(), bytes.fromhex(one.digest)[:16])
    assert not keys.matches(one.text.encode(), b"")


def test_a_secret_is_replaced() -> None:
    """Keys of the previous secret are read as long as it is named, and new ones use the new."""
    old = KeyFormat(secret=SECRET).generate()
    both = KeyFormat(secret=b"another secret ..", previous_secrets=[SECRET])
    only = KeyFormat(secret=b"another secret ..")
    text = old.text.encode()
    assert both.is_genuine(text)
    assert both.matches(text, bytes.fromhex(old.digest))
    assert not only.is_genuine(text)
    assert not only.matches(text, bytes.fromhex(old.digest))
    assert only.is_genuine(both.generate().text.encode())


def test_scanners_find_it() -> None:
    """The pattern finds a key in the middle of a source file."""
    keys = KeyFormat("shop", secret=SECRET)
    text = keys.generate().text
    assert re.findall(keys.pattern, f'API_KEY = "{text}"  # oops') == [text]


def test_neither_key_nor_secret_are_shown() -> None:
    """Not by the new key's repr, and not by the format's."""
    keys = KeyFormat(secret=SECRET)
    made = keys.generate()
    assert made.text not in repr(made)
    assert made.digest not in repr(made)
    assert "secret" not in repr(keys)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"secret": b"short"}, "secret"),
        ({"secret": "text of thirty-two characters ..."}, "secret"),
        ({"prefix": "with space"}, "prefix"),
        ({"prefix": "_"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"prefix": "x" * 33}, "prefix"),
        ({"previous_secrets": b"not a list of them"}, "previous_secrets"),
        ({"previous_secrets": [b"x"]}, "previous_secrets"),
        ({"previous_secret": [SECRET]}, "previous_secret"),
    ],
)
def test_wrong_options(options: dict[str, Any], parameter: str) -> None:
    """Each is named, and a secret that is too short is not shown."""
    with pytest.raises(ConfigurationError) as raised:
        KeyFormat(**{"secret": SECRET, **options})
    assert list(raised.value.problems) == [parameter]
    assert "short" not in str(raised.value)
