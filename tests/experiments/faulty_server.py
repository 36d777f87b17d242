"""A real HTTPS server on loopback that serves one content and misbehaves as told, request by request."""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

WAIT_S_MAX = 20.0


@dataclass
class Fault:
    """How one request is answered; with nothing set, properly."""

    status: int | None = None  # an answer without content
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of content, then the connection closes
    stall_after: int | None = None  # bytes of content, then silence
    ignore_range: bool = False
    shift_range: int = 0  # serve a part that begins elsewhere than asked for
    content: bytes | None = None  # other bytes
    endless: bool = False  # chunks without a declared length, for ever


@dataclass
class Server:
    """What a test sees of the server."""

    url: str
    certificate: Path
    trust: ssl.SSLContext
    files: dict[str, bytes]
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None  # when `faults` are used up
    etag: str | None = '"one"'
    ranges: list[str | None] = field(default_factory=list)  # the Range header of each request
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        told = self.told
        told.ranges.append(self.headers.get("Range"))
        fault = told.faults.pop(0) if told.faults else told.always or Fault()
        self.close_connection = True
        if fault.status is not None:
            self._head(fault.status, {"Content-Length": "0", **fault.headers})
            return
        content = fault.content if fault.content is not None else told.files.get(self.path.lstrip("/"))
        if content is None:
            self._head(404, {"Content-Length": "0"})
        elif fault.endless:
            self._endless()
        else:
            self._serve(content, fault)

    def _serve(self, content: bytes, fault: Fault) -> None:
        told, asked = self.told, self.headers.get("Range")
        headers = {"ETag": told.etag} if told.etag else {}
        same = self.headers.get("If-Range") in (None, told.etag)
        if asked and same and not fault.ignore_range:
            start = int(asked.removeprefix("bytes=").rstrip("-")) + fault.shift_range
            if start >= len(content):
                self._head(416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, body = 206, content[start:]
        else:
            status, body = 200, content
        self._head(status, {"Content-Length": str(len(body)), **headers, **fault.headers})
        stop = fault.cut_after if fault.cut_after is not None else fault.stall_after
        self.wfile.write(body if stop is None else body[:stop])
        self.wfile.flush()
        if fault.stall_after is not None:
            told.over.wait(WAIT_S_MAX)

    def _endless(self) -> None:
        self._head(200, {"Transfer-Encoding": "chunked"})
        chunk = b"1000\r\n" + bytes(4096) + b"\r\n"
        try:
            while not self.told.over.is_set():
                self.wfile.write(chunk)
        except OSError:
            return

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serving(folder: Path, files: dict[str, bytes]) -> Iterator[Server]:
    """Yield a server of `files`; its certificate and key are written into `folder`."""
    certificate, key = _certify(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = type("Handler", (_Handler,), {})
    server = _Quiet(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    told = Server(
        url=f"https://127.0.0.1:{server.server_port}",
        certificate=certificate,
        trust=ssl.create_default_context(cafile=str(certificate)),
        files=files,
    )
    handler.told = told
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        told.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _certify(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path
