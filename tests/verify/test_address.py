"""One mailbox is one address however it is typed, and what is no mailbox is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import BadKeyFile
from verify.address import disposable, providers, read, registrable
from verify.pepper import Pepper
from verify.refusal import Refused


@pytest.mark.parametrize(
    ("typed", "canonical", "domain"),
    [
        ("Ada@Lovelace.org", "ada@lovelace.org", "lovelace.org"),
        ("ada+spam@lovelace.org", "ada@lovelace.org", "lovelace.org"),
        ("ada+a+b@mail.lovelace.co.uk", "ada@mail.lovelace.co.uk", "lovelace.co.uk"),
        ("A.d.a+x@GMail.com", "ada@gmail.com", "gmail.com"),
        ("ada@googlemail.com", "ada@gmail.com", "gmail.com"),
        ("a.da@lovelace.org", "a.da@lovelace.org", "lovelace.org"),
        ("ada@bücher.de", "ada@xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("ada@XN--BCHER-KVA.de", "ada@xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("ada@ｇｍａｉｌ.com", "ada@gmail.com", "gmail.com"),
        ("ada@somebody.duckdns.org", "ada@somebody.duckdns.org", "duckdns.org"),
        ("o'hara@lovelace.org", "o'hara@lovelace.org", "lovelace.org"),
    ],
)
def test_spellings_of_one_mailbox(typed: str, canonical: str, domain: str):
    found = read(typed)
    assert (found.canonical, found.domain) == (canonical, domain)
    assert found.mailbox.isascii()


@pytest.mark.parametrize(
    "typed",
    [
        *("", "@", "ada", "ada@", "@lovelace.org", "ada@lovelace", "ada@localhost", "ada@co.uk", "ada@uk", "ada@.org"),
        *("ada@lovelace..org", "ada@lovelace.org.", "ada@-lovelace.org", "a..da@lovelace.org", ".ada@lovelace.org"),
        *("ada@[127.0.0.1]", "ada@[IPv6:::1]", "ada@127.0.0.1", "ada@0x7f.1", "ada@１２７.０.０.１", "ada@2130706433"),
        *('"ada lovelace"@lovelace.org', "<ada@lovelace.org>", "Ada <ada@lovelace.org>", "ada(x)@lovelace.org"),
        *("ada@lovelace.org,eve@evil.org", "ada@lovelace.org;eve@evil.org", "ada@lovelace.org eve@evil.org"),
        *("ada@x.test", "ada@x.invalid", "ada@x.local", "ada@x.onion", "ada@example.com", "ada@mail.example.org"),
        *("-oQ/tmp@lovelace.org", "|sh@lovelace.org", "eve%evil.org@lovelace.org", "evil.org!eve@lovelace.org"),
        *("=?utf-8?q?eve=40evil.org=3e=00?=ada@lovelace.org", "ada/x@lovelace.org"),
        *("ädä@lovelace.org", "ada\u202e@lovelace.org", "аda@lovelace.org", "\ud800@lovelace.org", "+x@lovelace.org"),
        "a" * 65 + "@lovelace.org",
        "ada@" + "b" * 64 + ".org",
        "ada@" + ".".join(["b" * 60] * 5) + ".org",
    ],
)
def test_no_mailbox(typed: str):
    with pytest.raises(Refused) as refused:
        read(typed)
    assert refused.value.code == "address"
    assert typed not in str(refused.value) or not typed


LINE_ENDS = ["\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "%0d%0a", "=0D=0A"]


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
@pytest.mark.parametrize("what", ["Bcc: eve@evil.org", "\r\n\r\nbody", "DATA", "RCPT TO:<eve@evil.org>"], ids=ascii)
@pytest.mark.parametrize(
    "where", ["{}{}ada@lovelace.org", "ada@lovelace.org{}{}", "ada{}{}@lovelace.org", "ada@{}{}.org"]
)
def test_nothing_gets_into_the_head_of_a_letter(end: str, what: str, where: str):
    with pytest.raises(Refused):
        read(where.format(end, what))


@given(st.text(max_size=80), st.sampled_from(["lovelace.org", "gmail.com", "bücher.de"]))
def test_any_text_is_read_once_and_for_all_or_refused(local: str, domain: str):
    try:
        found = read(f"{local}@{domain}")
    except Refused:
        return
    assert found.mailbox.isascii()
    assert found.mailbox.isprintable()
    assert " " not in found.mailbox
    again = read(found.canonical)
    assert again.canonical == found.canonical
    assert read(found.mailbox.upper()).canonical == found.canonical


def test_throw_away_mailboxes_and_names_below_them():
    for typed in ("ada@mailinator.com", "ada@any.thing.mailinator.com", "ADA@MAILINATOR.COM"):
        with pytest.raises(Refused) as refused:
            read(typed)
        assert refused.value.code == "disposable"


def test_providers_are_domains_that_somebody_registered_and_none_is_thrown_away():
    assert len(providers()) > 80
    assert {registrable(domain) for domain in providers()} == providers() | {"gmail.com"}
    assert [domain for domain in providers() if disposable(domain)] == []


def test_a_trial_takes_domains_that_are_for_tests():
    assert read("ada@x.test", trial=True).domain == "x.test"
    assert read("ada@example.org", trial=True).canonical == "ada@example.org"
    with pytest.raises(Refused):
        read("ada@localhost", trial=True)


def test_an_address_does_not_show_itself():
    assert "lovelace" not in f"{read('ada@lovelace.org')!r} {read('ada@lovelace.org')}"


def test_a_pepper_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "pepper"
    first = Pepper.load_or_create(path).address("ada@lovelace.org")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Pepper.load_or_create(path).address("ada@lovelace.org") == first
    assert Pepper.load_or_create(tmp_path / "other").address("ada@lovelace.org") != first
    path.chmod(0o640)
    with pytest.raises(BadKeyFile, match="chmod 600"):
        Pepper.load_or_create(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(BadKeyFile, match="damaged"):
        Pepper.load_or_create(path)
