"""Real mail servers on loopback: one that works, with or without TLS and passwords, and ones that do not."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "verifier", "a password"


class Desk:
    """Keeps what a mail server took, and says what it was told to say."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.arrived = threading.Condition()
        self.answers: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answers:
            return self.answers.pop(0)
        with self.arrived:
            self.taken.append(envelope)
            self.arrived.notify_all()
        return "250 taken"

    def wait_for(self, letters: int, timeout_s: float = 20.0) -> list[Envelope]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.taken) >= letters, timeout_s), f"{len(self.taken)} letters"
        return self.taken


def _authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=right)


@contextlib.contextmanager
def mail_server(desk: Desk, security: str = "none", certificate: Path | None = None, port: int = 0) -> Iterator[int]:
    """Run a mail server; yield its port."""
    options: dict[str, Any] = {}
    if security != "none":
        assert certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        options = {"ssl_context": context, "authenticator": _authenticator, "auth_require_tls": False}
        if security == "starttls":
            options = {"tls_context": context, "require_starttls": True}
            options |= {"authenticator": _authenticator, "auth_required": True}
    made = Controller(desk, hostname="127.0.0.1", port=port or free_port(), **options)
    made.start()
    try:
        yield made.port
    finally:
        made.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def odd_server(script: list[bytes]) -> Iterator[int]:
    """Run a server that says these things, one after each line that it hears, and then hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError), connection.makefile("rb") as heard:
                connection.settimeout(10)
                for said in script:
                    connection.sendall(said)
                    if not heard.readline():
                        break

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def certificate_in(folder: Path, name: str = "127.0.0.1") -> Path:
    """Write a key and a certificate of its own for an address into one file."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "post office")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"certificate-{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
