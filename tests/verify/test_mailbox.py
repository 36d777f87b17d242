"""Letters on their way: to a real mail server, with and without TLS, to servers that fail, and into a folder."""

import socket
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest
from office import ROOMY, Office, code_in, someone
from postoffice import PASSWORD, USER, Desk, certificate_in, free_port, mail_server, odd_server

from ensue.errors import BadSettings
from ensue.identity import Identity
from verify.letter import Writer
from verify.mailbox import Delayed, Outlet, Undeliverable, outlet
from verify.postman import BACK_OFF_S
from verify.request import CODE_LIFE_S
from verify.settings import load

WRITER = Writer("0" * 64, "trial", "verifier", "verifier@post.org", "https://v.post.org")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_in(tmp_path_factory.mktemp("tls"))


def smtp(port: int, security: str = "none", **more: str) -> dict[str, str]:
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": str(port),
        "smtp_security": security,
        "from_address": "verifier@post.org",
        "trial": "true",
        **more,
    }


def post(tmp_path: Path, **options: str) -> Outlet:
    return outlet(load(tmp_path, flags=options, environ={}), tmp_path)


def letter(to: str = "ada@lovelace.org"):
    return WRITER.letter(to, Identity.generate().peer_id, "0" * 32, "1234567890")


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_letters_reach_a_mail_server(tmp_path: Path, certificate: Path, security: str):
    desk = Desk()
    secured = (
        {} if security == "none" else {"smtp_user": USER, "smtp_password": PASSWORD, "smtp_ca_file": str(certificate)}
    )
    with mail_server(desk, security, certificate) as port:
        out = post(tmp_path, **smtp(port, security, **secured))
        for _ in range(3):
            out.deliver(letter())
        out.rest()
    assert len(desk.taken) == 3
    (envelope, *_) = desk.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == ("verifier@post.org", ["ada@lovelace.org"])
    found = message_from_bytes(envelope.original_content, policy=SMTP)
    assert code_in(found) == "12-3456-7890"  # type: ignore[arg-type]
    assert found["Auto-Submitted"] == "auto-generated"
    assert "12-3456-7890" not in str(found["Subject"])
    assert max(map(len, envelope.original_content.split(b"\r\n"))) < 998


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path, certificate: Path, security: str):
    desk = Desk()
    with mail_server(desk, security, certificate) as port:
        out = post(tmp_path, **smtp(port, security, smtp_user=USER, smtp_password=PASSWORD))
        with pytest.raises(Delayed, match="SSLCertVerificationError"):
            out.deliver(letter())
    assert desk.taken == []


def test_no_letter_goes_out_in_clear_where_tls_is_wanted(tmp_path: Path, certificate: Path):
    desk = Desk()
    with mail_server(desk) as port:
        with pytest.raises(Delayed, match="NotSupported"):
            post(tmp_path, **smtp(port, "starttls")).deliver(letter())
        with pytest.raises(Delayed):
            post(tmp_path, **smtp(port, "tls")).deliver(letter())
    assert desk.taken == []


def test_a_wrong_password_is_said_without_it(tmp_path: Path, certificate: Path):
    with mail_server(Desk(), "starttls", certificate) as port:
        settings = smtp(port, "starttls", smtp_user=USER, smtp_password="wrong-one", smtp_ca_file=str(certificate))
        with pytest.raises(Delayed) as said:
            post(tmp_path, **settings).deliver(letter())
    assert "535" in str(said.value)
    assert "wrong-one" not in str(said.value)


def test_a_password_from_a_file(tmp_path: Path, certificate: Path):
    desk, path = Desk(), tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    with mail_server(desk, "tls", certificate) as port:
        settings = smtp(port, "tls", smtp_user=USER, smtp_password_file=str(path), smtp_ca_file=str(certificate))
        post(tmp_path, **settings).deliver(letter())
    assert len(desk.taken) == 1
    path.unlink()
    with pytest.raises(BadSettings, match="password file"):
        post(tmp_path, **settings)


def test_a_server_that_refuses_for_now_and_for_good(tmp_path: Path):
    desk = Desk()
    desk.answers = ["451 later ada@lovelace.org", "550 never ada@lovelace.org"]
    with mail_server(desk) as port:
        out = post(tmp_path, **smtp(port))
        for kind in (Delayed, Undeliverable):
            with pytest.raises(kind) as said:
                out.deliver(letter())
            assert "lovelace" not in str(said.value)
        out.deliver(letter())
    assert len(desk.taken) == 1


GREETING, HELLO = b"220 here\r\n", b"250 hello\r\n"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([], id="hangs up"),
        pytest.param([b"\x00\xff\xfe garbage\r\n"], id="says garbage"),
        pytest.param([b"554 no\r\n"], id="does not want to"),
        pytest.param([b"220-" + b"x" * 10_000 + b"\r\n"], id="one long line"),
        pytest.param([b"220-x\r\n" * 50_000], id="a greeting without end"),
        pytest.param([GREETING], id="hangs up after the greeting"),
        pytest.param([GREETING, HELLO], id="hangs up after the hello"),
        pytest.param([GREETING, HELLO, b"250 ok\r\n"], id="hangs up after the sender"),
        pytest.param([GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n"], id="hangs up before the letter"),
        pytest.param([GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"], id="hangs up within the letter"),
        pytest.param([GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n", b"999 what\r\n"], id="an unknown number"),
    ],
)
def test_a_broken_server_only_delays(tmp_path: Path, script: list[bytes]):
    with odd_server(script) as port, pytest.raises(Delayed):
        post(tmp_path, **smtp(port)).deliver(letter())


def test_a_connection_that_was_closed_is_opened_again(tmp_path: Path):
    desk, port = Desk(), free_port()
    out = post(tmp_path, **smtp(port))
    for _ in range(2):
        with mail_server(desk, port=port):
            out.deliver(letter())
    assert len(desk.taken) == 2


def test_a_letter_in_a_folder_is_private_and_whole(tmp_path: Path):
    folder = tmp_path / "mail"
    out = outlet(load(tmp_path, environ={}), folder)
    out.deliver(letter())
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.suffix == ".eml"
    assert code_in(message_from_bytes(path.read_bytes(), policy=SMTP)) == "12-3456-7890"  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(Delayed):
        outlet(load(tmp_path, environ={}), tmp_path / "file").deliver(letter())


def test_a_name_in_a_letter_is_plain():
    writer = Writer("0" * 64, "nеt\u202ework", "Ünïcode <x>", "verifier@post.org", "")
    made = writer.letter("ada@lovelace.org", Identity.generate().peer_id, "0" * 32, "1234567890")
    assert bytes(made).isascii()
    assert made["From"].addresses[0].addr_spec == "verifier@post.org"
    assert "confirm/" not in made.get_content()


# Queued, delayed, given up


@pytest.fixture
def posting(tmp_path: Path) -> Iterator[tuple[Office, Desk, int]]:
    """An office whose mail server is not there yet."""
    port = free_port()
    made = Office(tmp_path, {**ROOMY, **smtp(port)})
    yield made, Desk(), port
    made.close()


def test_letters_wait_for_a_mail_server_and_the_owner_is_told(posting, caplog: pytest.LogCaptureFixture):
    office, desk, port = posting
    caplog.set_level("INFO")
    asked = office.ask("ada@lovelace.org", Identity.generate())
    assert b'"mail":"delayed"' in office.get("/v1/verifier").body
    assert "mail is delayed" in caplog.text
    assert "lovelace" not in caplog.text
    office.now_ms += BACK_OFF_S[0] * 1000
    with mail_server(desk, port=port):
        office.service.postman.deliver()
    assert b'"mail":"ready"' in office.get("/v1/verifier").body
    code = code_in(message_from_bytes(desk.taken[0].original_content, policy=SMTP))  # type: ignore[arg-type]
    assert office.confirm(asked.challenge, code).status == 200


def test_a_letter_that_waits_outlasts_a_restart_with_a_new_code(posting):
    office, desk, port = posting
    asked = office.ask("ada@lovelace.org", Identity.generate())
    office.restart()
    office.now_ms += BACK_OFF_S[0] * 1000
    with mail_server(desk, port=port):
        office.service.postman.deliver()
    code = code_in(message_from_bytes(desk.taken[0].original_content, policy=SMTP))  # type: ignore[arg-type]
    assert code.startswith(asked.tag)
    assert office.confirm(asked.challenge, code).status == 200


def test_a_letter_is_given_up_when_its_code_is_stale(posting, caplog: pytest.LogCaptureFixture):
    office, desk, port = posting
    office.ask("ada@lovelace.org", Identity.generate())
    office.now_ms += CODE_LIFE_S * 1000
    with mail_server(desk, port=port):
        assert office.service.postman.deliver() == 0
        office.service.postman.tidy()
    assert desk.taken == []
    assert "given up" in caplog.text


def test_a_thread_sends_what_was_asked_and_what_waited(posting):
    office, desk, port = posting
    office.ask(someone(), Identity.generate())
    office.restart()
    with mail_server(desk, port=port):
        office.service.postman.start()
        desk.wait_for(1)
        for _ in range(5):
            office.ask(someone(), Identity.generate())
        assert len(desk.wait_for(6)) == 6
        office.service.postman.stop()


def test_a_mail_server_that_says_nothing_holds_no_end_up(posting):
    office, _, port = posting
    with socket.create_server(("127.0.0.1", port)):  # takes connections, and is silent
        office.service.postman.start()
        office.ask("ada@lovelace.org", Identity.generate())
        began = time.monotonic()
        office.service.close()
        assert time.monotonic() - began < 10
        office.open()
        assert office.service.postman._ledger.next_due_ms() is not None  # the letter waits


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"smtp_host": "mail.post.org"}, "from_address"),
        ({"smtp_port": "many"}, "smtp_port"),
        ({"smtp_security": "perhaps"}, "smtp_security"),
        ({"listen": "8025"}, "HOST:PORT"),
        ({"url": "javascript:alert(1)"}, "https://HOST"),
        ({"name": "a\nb"}, "does not print"),
        ({"from_address": "a@b.org\nBcc: eve@evil.org"}, "character"),
        ({"credential_days": "0"}, "credential_days"),
        ({"smtp_host": "h", "from_address": "a@b.org", "smtp_user": "u", "smtp_security": "none"}, "TLS"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, flags: dict[str, str], said: str):
    with pytest.raises(BadSettings, match=said) as raised:
        load(tmp_path, flags=flags, environ={})
    assert "\n" not in str(raised.value)


def test_settings_come_from_flag_environment_and_file_in_this_order(tmp_path: Path):
    path = tmp_path / "verifier.toml"
    path.write_text('name = "file"\ncontact = "file"\nsmtp_host = "h"\nfrom_address = "a@b.org"\n')
    chosen = load(tmp_path, flags={"name": "flag"}, environ={"AUTORESEARCH_VERIFIER_CONTACT": "environment"})
    assert (chosen.name, chosen.contact, chosen.smtp_host, chosen.port) == ("flag", "environment", "h", 587)
    path.write_text("surprise = 1\n")
    with pytest.raises(BadSettings, match="surprise"):
        load(tmp_path, environ={})
    path.write_text('smtp_password = "x"\n')
    path.chmod(0o644)
    with pytest.raises(BadSettings, match="chmod 600"):
        load(tmp_path, environ={})
    path.write_bytes(b"\xff")
    with pytest.raises(BadSettings, match="cannot be read"):
        load(tmp_path, environ={})
