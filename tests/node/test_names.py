"""Nobody can look like another: names are folded, and never stand without the fingerprint of a key."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.identity import Identity
from node import names, text
from node.names import FINGERPRINT_CHARS, Names

ANYTHING = st.text(alphabet=st.characters(exclude_categories=()), max_size=40)
ADA, EVE, ACCOUNT = (Identity(bytes([number]) * 32).peer_id for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ada", "ada"),
        ("аdа", "ada"),  # Cyrillic
        ("Αdа", "Ada"),  # Greek and Cyrillic
        ("pаypаl", "paypal"),
        ("𝐀𝒹𝖆", "Ada"),
        ("Ｆｕｌｌ", "Full"),
        ("ⅿodel", "model"),
        ("José", "José"),
        ("数数", "数数"),
        ("ada @Victim12", "ada _Victim12"),
        ("ada …Victim12", "ada ...Victim12"),
        ("ada ＠Victim12", "ada _Victim12"),
        ("@Victim12", "_Victim12"),
        ("ada@home", "ada@home"),
        ("a\u202ed\u200ba", "a\\u202ed\\u200ba"),
    ],
)
def test_folded(name, shown):
    assert names.folded(name) == shown


@given(ANYTHING)
def test_a_folded_name_is_harmless_and_no_fingerprint(name):
    shown = names.folded(name)
    assert all(unicodedata.category(c) not in text.ESCAPED_CATEGORIES for c in shown)
    assert not any(word.startswith((names.ACCOUNT, names.NODE)) for word in shown.split())


@given(ANYTHING, ANYTHING)
def test_two_keys_are_never_shown_alike(one, two):
    called = Names(lambda peer_id: None)
    assert called.who(one, ADA) != called.who(two, EVE)
    assert called.who(one, ADA).endswith(ADA[-FINGERPRINT_CHARS:])


def test_keys_that_end_alike_are_shown_longer():
    called = Names(lambda peer_id: None)
    twin = EVE[: -FINGERPRINT_CHARS - 2] + ADA[-FINGERPRINT_CHARS - 2 :]
    assert called.who("ada", ADA) == f"ada …{ADA[-8:]}"
    assert called.who("ada", twin) == f"ada …{twin[-12:]}"
    assert called.who("ada", ADA) == f"ada …{ADA[-8:]}"
    own = f"node-{ADA[-8:]}"
    assert called.who(own, twin) == f"{own} …{twin[-12:]}"


def test_an_account_stands_for_all_its_nodes():
    called = Names({ADA: ACCOUNT, EVE: ACCOUNT}.get)
    assert called.who("laptop", ADA) == f"laptop @{ACCOUNT[-8:]}"
    assert called.who("server", EVE) == f"server @{ACCOUNT[-8:]}"
    assert called.who("", EVE) == f"@{ACCOUNT[-8:]}"
    assert called.who(f"node-{ADA[-8:]}", ADA) == f"node-{ADA[-8:]} @{ACCOUNT[-8:]}"


def test_a_long_name_cannot_push_the_fingerprint_away():
    called = Names(lambda peer_id: None)
    for name in ("x" * 40, "数" * 40, "x" * 32 + ADA[-8:]):
        assert called.who(name, ADA).endswith(f" …{ADA[-8:]}")
        assert text.width(called.who(name, ADA)) <= names.NAME_COLUMNS + 2 + FINGERPRINT_CHARS
