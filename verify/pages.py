"""The page behind the link in a letter: whose account, one button, and what came of it.

Plain HTML and one style sheet inside it: no script, nothing from elsewhere, nothing that stays in the browser. Opening
the page changes nothing, since programs that look into letters open every link. Left out: HTTP (service). Rejected: a
template engine, for three pages that differ in a few sentences.
"""

import base64
import hashlib
from html import escape

from verify.letter import mark, spelled

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--soft:#5a6570;--paper:#fff;--ground:#eef1f4;--line:#d5dbe1;
--act:#0b5cad;--act-ink:#fff;--good:#1a7f4b;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#a3adb8;--paper:#1b2027;--ground:#11151a;--line:#343c46;
--act:#6cb2ff;--act-ink:#08131f;--good:#5fd39a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:34rem;margin:0 auto;padding:2rem 1.25rem;background:var(--paper);min-height:100vh}
.over{margin:0 0 1.25rem;color:var(--soft);font-size:.85rem;letter-spacing:.02em;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 1rem;text-wrap:balance;overflow-wrap:anywhere}
p{margin:0 0 1rem}
h2{font-size:.85rem;font-weight:600;color:var(--soft);margin:1.5rem 0 .4rem}
.id{margin:0 0 1.25rem;padding:.9rem 1rem;border:1px solid var(--line);border-radius:.6rem;
font:500 1.02rem/1.7 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.id b{display:block;font-size:1.3rem;font-weight:700}
.id span{display:inline-block;margin-right:.7ch;color:var(--soft)}
.id span:nth-last-of-type(-n+2){color:var(--ink);font-weight:700}
button{display:block;width:100%;margin:1.5rem 0 1rem;padding:.95rem 1rem;border:0;border-radius:.6rem;
background:var(--act);color:var(--act-ink);font:inherit;font-weight:600;cursor:pointer}
button:focus-visible{outline:3px solid var(--ink);outline-offset:3px}
.note{color:var(--soft);font-size:.93rem}
.good{color:var(--good)}.bad{color:var(--bad)}
footer{margin-top:2rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.82rem;
overflow-wrap:anywhere}
@media(min-width:48rem){main{min-height:0;margin:4.5rem auto;padding:2.5rem 2.75rem;border-radius:1rem;
border:1px solid var(--line)}}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "x-robots-tag": "noindex",
}
"""Sent with every page: no script runs, nothing is loaded, kept, framed or told to the next site."""


class Pages:
    """Writes the pages of one verifier for one network, both as their owners named them."""

    def __init__(self, network_name: str, network: str, verifier_name: str, contact: str) -> None:
        self._name, self._network = network_name, network
        self._verifier, self._contact = verifier_name, contact

    def ask(self, account: str, challenge: str, code: str) -> bytes:
        """Return the page with the button, which sends the code on."""
        return self._page(
            f"Take part in {self._name}",
            f"<h1>Is this your account?</h1>"
            f"<p>Somebody asked to tie this e-mail address to an account of the research network"
            f" <strong>{escape(self._name)}</strong>. Compare with what your own terminal shows:</p>"
            f"{_account(account)}"
            f'<form method="post" action="/confirm/{escape(challenge)}">'
            f'<input type="hidden" name="code" value="{escape(code)}">'
            f"<button>Yes, this is my account</button></form>"
            f'<p class="note">If you did not ask for this, or the account is another one, close this page.'
            f" Without the button nothing happens, and the code ends by itself.</p>",
        )

    def confirmed(self, account: str) -> bytes:
        """Return the page that says that it is done."""
        return self._page(
            "Confirmed",
            f'<h1 class="good">Confirmed</h1>'
            f"<p>This verifier now vouches for your account in <strong>{escape(self._name)}</strong>:</p>"
            f"{_account(account)}"
            f"<p>Your terminal finds out by itself. You may close this page.</p>"
            f'<p class="note">The address was deleted here; what stays is a keyed digest of it, which tells nobody'
            f" who you are.</p>",
        )

    def refused(self, said: str) -> bytes:
        """Return the page that says why nothing was done."""
        return self._page(
            "Nothing was done",
            f'<h1 class="bad">Nothing was done</h1><p>{escape(said)}</p>'
            f'<p class="note">To ask for a new letter, run <code>autoresearch verify</code> with your address.</p>',
        )

    def _page(self, title: str, content: str) -> bytes:
        contact = f" · {escape(self._contact)}" if self._contact else ""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
            f'<body><main><p class="over">autoresearch · {escape(self._verifier)}</p>{content}'
            f"<footer>Network {escape(self._network[:16])}…{contact}</footer></main></body></html>\n"
        ).encode("utf-8", "replace")


def _account(account: str) -> str:
    groups = "".join(f"<span>{escape(group)}</span> " for line in spelled(account) for group in line.split(" "))
    return f'<div class="id"><b>{escape(mark(account))}</b>{groups}</div>'
