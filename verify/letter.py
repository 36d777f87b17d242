"""The one letter that a verifier writes: whom the code would vouch for, the code, the link, and what to do otherwise.

Plain text in ASCII, so nothing in it can be a picture, a form or a hidden link. Left out: sending (mailbox). Rejected:
the code in the subject, which mail servers write into their logs; and HTML, which each mail program shows differently.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from verify.request import CODE_LIFE_S, shown

GROUP_CHARS = 4
GROUPS_A_LINE = 7
MARK_CHARS = 8


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes letters for one network in the name of one verifier; `url` is "" where there is no page to open."""

    network: str
    network_name: str
    verifier_name: str
    sender: str
    url: str

    def letter(self, to: str, account: str, challenge: str, code: str) -> EmailMessage:
        """Return the letter with a code to an address that verify.address has read.

        Raises ValueError on line breaks in an address, which cannot come to be in one that was read.
        """
        message = EmailMessage(policy=SMTP)
        message["From"] = Mailbox(plain(self.verifier_name), addr_spec=self.sender)
        message["To"] = Mailbox(addr_spec=to)
        message["Subject"] = f"Your code for {plain(self.network_name)}"
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content("\n".join(self._lines(account, challenge, code)) + "\n", charset="us-ascii", cte="7bit")
        return message

    def _lines(self, account: str, challenge: str, code: str) -> Iterator[str]:
        yield f"Somebody, probably you, wants to take part in the research network {plain(self.network_name)}"
        yield "as a verified participant with this address."
        yield ""
        yield "The account that would be tied to your address:"
        yield ""
        yield f"    {mark(account)}"
        yield from (f"    {line}" for line in spelled(account))
        yield ""
        yield "If this is not the account that your own terminal shows, or if you did not ask"
        yield "for this letter, do nothing: the code ends by itself, and nothing is tied to"
        yield "your address. Give the code to nobody."
        yield ""
        yield f"Your code, good for {CODE_LIFE_S // 60} minutes:"
        yield ""
        yield f"    {shown(code)}"
        yield ""
        yield f"Type it where you asked for it, or run: autoresearch verify --code {shown(code)}"
        if self.url:
            yield ""
            yield "Or open this page and press its button:"
            yield ""
            yield f"{self.url}/confirm/{challenge}?code={shown(code)}"
        yield ""
        yield f"The network's id begins with {self.network[:16]}."


def plain(text: str) -> str:
    """Return a name that others chose as printable ASCII; characters beyond are written out."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def mark(account: str) -> str:
    """Return the end of an account's id as the command line shows it."""
    return f"@{account[-MARK_CHARS:]}"


def spelled(account: str) -> list[str]:
    """Return an account's whole id in groups, for the eye to compare: a few characters of one can be imitated."""
    groups = [account[start : start + GROUP_CHARS] for start in range(0, len(account), GROUP_CHARS)]
    return [" ".join(groups[start : start + GROUPS_A_LINE]) for start in range(0, len(groups), GROUPS_A_LINE)]
