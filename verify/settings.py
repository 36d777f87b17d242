"""What the owner of a verifier decides: environment over verifier.toml over default, read once, checked, frozen.

Left out: the node's own settings (node.settings), which the owner of a verifier need not know. A password comes from
the environment or from a file of its own, never from a flag, which every process on the machine could read.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ensue.body import LABEL_CHARS_MAX, URL_CHARS_MAX
from ensue.errors import BadSettings

ENVIRONMENT_PREFIX = "AUTORESEARCH_VERIFIER_"
FILE_NAME = "verifier.toml"
FILE_BYTES_MAX = 64 * 1024
PASSWORD_CHARS_MAX = 1024
_NODES_OWN = {("listen", "auto"), ("listen", "off")}
"""Words of the node's own setting, which has the same variable."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has a character that does not print")
    return text


def _url(text: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(text)
    if text and (parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError("wants https://HOST or https://HOST/FOLDER")
    return text.rstrip("/")


def _host_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("wants HOST:PORT")
    return text


def _from(text: str) -> str:
    local, at, host = text.rpartition("@")
    if text and not (at and local and host and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("wants an address such as verifier@example.org")
    return text


_Short = Annotated[str, StringConstraints(max_length=LABEL_CHARS_MAX), AfterValidator(_printable)]
_Long = Annotated[str, StringConstraints(max_length=URL_CHARS_MAX), AfterValidator(_printable)]


class Settings(BaseModel):
    """Everything the owner of a verifier may decide."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    listen: Annotated[str, AfterValidator(_host_port)] = "127.0.0.1:8025"
    """HOST:PORT at which the service answers; port 0 takes any."""
    url: Annotated[_Long, AfterValidator(_url)] = ""
    """Where others reach it; it is announced in a record, and stands in letters."""
    name: _Short = "verifier"
    contact: _Long = ""
    trusted_proxies: Annotated[int, Field(ge=0, le=8)] = 0
    """How many proxies of one's own stand in front and add to X-Forwarded-For."""
    trial: bool = False
    """Whether addresses at domains for tests and examples are taken."""
    smtp_host: _Long = ""
    """The mail server that takes letters; without one they go into the folder `mail`."""
    smtp_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: 587 for starttls, 465 for tls, 25 for none."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: _Long = ""
    smtp_password: Annotated[str, StringConstraints(max_length=PASSWORD_CHARS_MAX), Field(repr=False)] = ""
    smtp_password_file: _Long = ""
    smtp_ca_file: _Long = ""
    """Certificates to trust instead of the system's, for a mail server of one's own."""
    from_address: Annotated[_Long, AfterValidator(_from)] = ""
    """The sender of letters; its domain needs SPF, DKIM and DMARC."""
    credential_days: Annotated[int, Field(ge=1, le=3650)] = 180
    accounts_a_day: Annotated[int, Field(ge=1, le=10**6)] = 200
    """Credentials in all; the network's policy raises an alarm above its own number."""
    domain_accounts_a_day: Annotated[int, Field(ge=1, le=10**6)] = 3
    domain_accounts: Annotated[int, Field(ge=1, le=10**6)] = 50
    provider_accounts_a_day: Annotated[int, Field(ge=1, le=10**6)] = 100
    address_letters_an_hour: Annotated[int, Field(ge=1, le=10**6)] = 3
    address_letters_a_day: Annotated[int, Field(ge=1, le=10**6)] = 10
    domain_letters_an_hour: Annotated[int, Field(ge=1, le=10**6)] = 60
    provider_letters_an_hour: Annotated[int, Field(ge=1, le=10**6)] = 600
    client_challenges_an_hour: Annotated[int, Field(ge=1, le=10**6)] = 20
    """For each IPv4 address, or IPv6 /64."""
    client_guesses_an_hour: Annotated[int, Field(ge=1, le=10**6)] = 120
    account_challenges_an_hour: Annotated[int, Field(ge=1, le=10**6)] = 10

    @property
    def port(self) -> int:
        """The port of the mail server."""
        return self.smtp_port or {"starttls": 587, "tls": 465, "none": 25}[self.smtp_security]

    @property
    def sender(self) -> str:
        """The sender of letters; a made-up one where they only go into a folder."""
        return self.from_address or "verifier@localhost.invalid"

    @property
    def tries_addresses(self) -> bool:
        """Whether addresses for tests and examples will do: always where no letter leaves the machine."""
        return self.trial or not self.smtp_host

    def password(self) -> str:
        """Return the password for the mail server; raises BadSettings where its file cannot be read."""
        if not self.smtp_password_file:
            return self.smtp_password
        path = Path(self.smtp_password_file).expanduser()
        try:
            with path.open("rb") as file:
                return file.read(PASSWORD_CHARS_MAX).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSettings(f"The password file {path} cannot be read ({_why(error)}): check it.") from None


def load(
    folder: Path, *, flags: Mapping[str, str | None] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings: flags over environment over verifier.toml in a folder over default; raises BadSettings."""
    path = folder / FILE_NAME
    variables = os.environ if environ is None else environ
    found: dict[str, Any] = dict(_file(path))
    source = dict.fromkeys(found, str(path))
    for name in Settings.model_fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variables.get(variable) and (name, variables[variable]) not in _NODES_OWN:
            found[name], source[name] = variables[variable], variable
        if flags and flags.get(name) is not None:
            found[name], source[name] = flags[name], f"--{name.replace('_', '-')}"
    try:
        chosen = Settings(**found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0])
        why = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            raise BadSettings(
                f"{path}: there is no setting {name[:60]!r}: docs/how-to/run-a-verifier.md lists all."
            ) from None
        raise BadSettings(f"{source.get(name, path)}: {name} is wrong ({why}): correct it.") from None
    if chosen.smtp_host and not chosen.from_address:
        raise BadSettings("A verifier with smtp_host needs from_address, the sender of its letters: set it.")
    if chosen.smtp_user and chosen.smtp_security == "none":
        raise BadSettings(
            "smtp_user without TLS would tell everybody the password: set smtp_security to starttls or tls."
        )
    return chosen


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1).decode("utf-8")
        if len(text) > FILE_BYTES_MAX:
            raise BadSettings(f"{path} is larger than {FILE_BYTES_MAX} bytes, so no settings file: shorten it.")
        table = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, OSError) as error:  # not UTF-8 and not TOML are ValueErrors
        raise BadSettings(f"{path} cannot be read ({_why(error)}): mend it.") from None
    if "smtp_password" in table and path.stat().st_mode & 0o077:
        raise BadSettings(f"{path} holds a password and can be read by others: run `chmod 600 {path}`.")
    return table


def _why(error: Exception) -> str:
    return error.strerror or "it fails" if isinstance(error, OSError) else " ".join(str(error).split())[:200]
