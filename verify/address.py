"""An e-mail address in the one spelling by which a person is counted, and the domain that answers for it.

Two spellings that reach one mailbox are one address: capitals, a +tag, and at one large provider dots. Left out:
whether the mailbox exists, which the letter finds out; asking its mail server would tell that server, and take as long
as it likes. Rejected: all addresses as they were typed, of which one mailbox has infinitely many; and a list of domains
that may take part, which nobody could keep.
"""

import functools
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from verify.refusal import Refused
from verify.request import EMAIL_CHARS_MAX

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_DOTS_MEAN_NOTHING = {"gmail.com", "googlemail.com"}
_FOR_EXAMPLES = {"example", "example.com", "example.net", "example.org"}  # RFC 6761; no letter arrives there
_SAME = {"googlemail.com": "gmail.com"}
_WRONG = "This is no e-mail address that a letter from here could reach: check what you typed."


@dataclass(frozen=True, slots=True)
class Address:
    """An address: where a letter goes, the spelling that counts, and the domain that somebody registered."""

    mailbox: str
    canonical: str
    domain: str

    @property
    def at_provider(self) -> bool:
        """Whether anybody may have a mailbox at the domain, as at a large provider."""
        return self.domain in providers()

    def __repr__(self) -> str:
        return "Address(…)"  # never in a log, nor in a traceback


def read(text: str, *, trial: bool = False) -> Address:
    """Return the address in a text.

    Raises Refused ("address") for what is none, has line breaks, a local part beyond ASCII, a numeric host, a domain
    for tests and examples unless this is a `trial`, or too many characters; and "disposable" for a throw-away one.
    """
    from email_validator import EmailNotValidError, validate_email

    if len(text) > EMAIL_CHARS_MAX or not text.isprintable() or " " in text:
        raise Refused("address", _WRONG)
    try:
        found = validate_email(
            text,
            allow_smtputf8=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            strict=True,
            check_deliverability=False,
            test_environment=trial,
        )
    except (EmailNotValidError, UnicodeError):
        raise Refused("address", _WRONG) from None
    local, host = found.local_part, found.ascii_domain.lower()
    mailbox = f"{local}@{host}"
    domain = registrable(host)
    reachable = trial or _FOR_EXAMPLES.isdisjoint((domain, host.rsplit(".", 1)[-1]))
    if domain is None or not reachable or not mailbox.isascii() or len(mailbox) > EMAIL_CHARS_MAX or _risky(local):
        raise Refused("address", _WRONG)
    if disposable(host):
        raise Refused("disposable", "Addresses at this domain are thrown away after use: give one that you keep.")
    return Address(mailbox, _canonical(local, host), domain)


def _risky(local: str) -> bool:
    """Return whether a mail server behind ours could take a local part for an option, a program, a route or a code.

    Some decode =?utf-8?q?...?= where no name is, and then send a letter elsewhere.
    """
    return local.startswith(("-", "+")) or any(character in local for character in "!%|`/=?")


def _canonical(local: str, host: str) -> str:
    bare = local.lower().split("+")[0]
    if host in _DOTS_MEAN_NOTHING:
        bare = bare.replace(".", "")
    return f"{bare}@{_SAME.get(host, host)}"


def registrable(host: str) -> str | None:
    """Return the part of a host's name that somebody registered, such as example.co.uk; None where nobody did.

    Names that a company gives away below its own, as dynamic DNS does, count as the company's: they cost nothing.
    """
    found: str | None = _suffixes().privatesuffix(host)
    return None if found is None else _SAME.get(found, found)


def disposable(host: str) -> bool:
    """Return whether a host, or any domain above it, is listed as giving out throw-away mailboxes."""
    from disposable_email_domains import blocklist

    labels = host.split(".")
    return any(".".join(labels[start:]) in blocklist for start in range(len(labels) - 1))


@functools.cache
def providers() -> frozenset[str]:
    """Return the domains of large providers of mailboxes."""
    text = resources.files("verify").joinpath("providers.txt").read_text(encoding="ascii")
    return frozenset(line for line in text.split("\n") if line and not line.startswith("#"))


@functools.cache
def _suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)
