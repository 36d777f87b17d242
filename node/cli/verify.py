"""`verify`: put a person behind this node's account by a confirmed e-mail address, on a terminal or without one."""

from __future__ import annotations

import asyncio
import select
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import NetworkError, UserError
from node import account as accounts
from node import names, participant, text
from node.cli import output
from node.home import Home
from node.standing import RENEWAL_DUE_MS
from verify.request import code_digits

if TYPE_CHECKING:
    from pathlib import Path

    from ensue.identity import Identity
    from ensue.store import Store
    from node.verifiers import Verifier

LOOK_EVERY_S = 2.0
"""How often a terminal that waits for a code asks whether the link was used."""
WRONG_MAX = 5


@click.command(short_help="Become a verified participant by e-mail.")
@click.argument("email", required=False)
@click.option("--code", metavar="CODE", help="The code that was mailed, as 12-3456-7890.")
@click.option("--verifier", "urls", multiple=True, metavar="URL", help="Ask the verifier there; repeatable.")
@click.option("--insecure-http", is_flag=True, help="Allow http:// to other machines than this one.")
@output.as_json
def verify(email: str | None, code: str | None, urls: tuple[str, ...], insecure_http: bool, in_json: bool) -> None:
    """Become a verified participant: the verifiers of this network mail a code and a link to EMAIL.

    Use the link, or give the code: at once on a terminal, else with --code, in any shell of this machine. Without
    EMAIL and --code, say how things stand. Verified participants' results are official. The address itself is kept by
    nobody; docs/explanation/people.md says what is.
    """
    if email is not None and code is not None:
        raise UserError("give the address first and the code when it has come: EMAIL and --code exclude each other")
    with output.replica() as (home, store):
        work = Work(home, store, insecure_http)
        if code is not None:
            work.redeem(code)
        elif email is not None:
            work.ask(email, urls)
            if not in_json and sys.stdin.isatty() and sys.stdout.isatty():
                work.wait()
        else:
            work.look()
        if in_json:
            output.print_json(work.document())
        else:
            work.say()


class Work:
    """One use of the command: what it has done, and what it has to say."""

    def __init__(self, home: Home, store: Store, insecure_http: bool) -> None:
        from ensue.identity import Identity

        self._home, self._store, self._insecure_http = home, store, insecure_http
        self._node: Identity = Identity.load(home.key)
        self.account = accounts.settle(home, store, self._node) or ""
        self.asked = participant.Asked()
        self.failed: list[str] = []

    def reach(self, verifier: str, url: str | None) -> Verifier:
        """Open a verifier: at its URL, or inside this process."""
        from node import verifiers, verifying

        if url is None:
            return verifiers.inside(verifying.in_process(self._home, self._store), verifier)
        return verifiers.Verifier.at(url, insecure_http=self._insecure_http)

    def ask(self, email: str, urls: tuple[str, ...]) -> None:
        """Ask verifiers for codes; raise UserError where nobody sent one."""
        from node import verifying

        account = accounts.required(self._home)
        if account.peer_id != self.account:
            raise UserError(
                f"this node speaks for {names.account(self.account)} and the key here is another one's: bring the "
                "right one back with `autoresearch keys restore`"
            )
        inside = verifying.own(self._home)
        places, without = participant.places(self._store, inside, urls)
        wanted = len(places) if urls else participant.count_to_ask(self._store, self.account, _now_ms())
        if not places:
            raise UserError(without[0] if without else NOBODY)
        self.asked = asyncio.run(
            participant.ask(self._store, account, self._node.peer_id, email.strip(), places, wanted, self.reach)
        )
        if any(one.url is None for one in self.asked.awaited) and (letters := _letters(self._home)):
            self.asked.said.append(f"letters of this home's verifier lie in {letters}")
        self.failed = [*self.asked.failed, *(without if len(self.asked.awaited) < wanted else [])]
        if not self.asked.awaited:
            raise NetworkError("; ".join(self.failed))

    def redeem(self, code: str) -> None:
        """Give a code to the verifier it belongs to."""
        digits = code_digits(code)
        if digits is None:
            raise UserError("a code has ten digits, as 12-3456-7890: copy all of it from the letter")
        asyncio.run(participant.redeem(self._store, self.account, digits, self.reach))

    def look(self) -> None:
        """See whether links were used meanwhile."""
        _, self.failed = asyncio.run(participant.look(self._store, self.account, self.reach))

    def wait(self) -> None:
        """Take codes from the terminal until none is awaited, the owner leaves, or the links were used."""
        self._say_asked()
        wrong = 0
        while wrong < WRONG_MAX and (waiting := self._waiting()):
            tags = " or ".join(dict.fromkeys(one.tag for one in waiting))
            click.echo(f"The code that begins with {tags} (or use the link; Enter alone leaves): ", nl=False)
            typed = self._typed(len(waiting))
            if typed is None:
                click.echo()
                continue
            if not typed.strip():
                break
            try:
                self.redeem(typed)
            except (UserError, NetworkError) as problem:
                wrong += 1
                click.secho(text.printable(str(problem)), fg="yellow")
        self.asked, self.failed = participant.Asked(), []

    def _typed(self, waiting: int) -> str | None:
        """Return the line that was typed, or None once a link was used or the codes are too old."""
        while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
            asyncio.run(participant.look(self._store, self.account, self.reach))
            if len(self._waiting()) < waiting:
                return None
        return sys.stdin.readline()

    def _waiting(self) -> list[participant.Awaited]:
        now_ms = _now_ms()
        mine = [one for one in participant.awaited(self._store) if one.account == self.account]
        return [one for one in mine if one.expires_ms > now_ms]

    def say(self) -> None:
        """Print what was done and how things stand."""
        self._say_asked()
        standing = self._store.people.standing(self.account, _now_ms())
        who = names.account(self.account)
        if standing.official and standing.expires_ms is not None:
            click.echo(
                f"{click.style('verified', fg='green')}: {who} until {text.clock(standing.expires_ms)[:10]}, by "
                f"{text.plural(len(standing.covering), 'verifier')}; your results are official"
            )
            if standing.expires_ms - _now_ms() < RENEWAL_DUE_MS:
                output.note("It is time to renew: `autoresearch verify` with the same address does.")
        else:
            click.echo(
                f"{click.style('not verified yet', fg='yellow')}: {len(standing.covering)} of {standing.needed} "
                f"verifiers vouch for {who}; your results are recorded, and become official with the last of them"
            )
        waiting = self._waiting()
        for one in waiting:
            left = text.seconds((one.expires_ms - _now_ms()) / 1000)
            click.echo(
                f"a code that begins with {one.tag} is on its way from {names.key(one.verifier)}, good for {left}"
            )
        if waiting:
            output.note("Use the link in the letter, or: autoresearch verify --code CODE")
        elif not standing.official:
            output.note("Begin with: autoresearch verify you@example.org")

    def _say_asked(self) -> None:
        for words in self.asked.said:
            click.echo(words)
        for words in self.failed:
            click.secho(text.printable(words), fg="yellow", err=True)

    def document(self) -> dict[str, Any]:
        """Return how things stand, for --json."""
        standing = self._store.people.standing(self.account, _now_ms())
        return {
            "account": self.account,
            "official": standing.official,
            "vouching": list(standing.covering),
            "needed": standing.needed,
            "expires_at": None if standing.expires_ms is None else text.iso(standing.expires_ms),
            "awaited": [
                {"verifier": one.verifier, "url": one.url, "tag": one.tag, "expires_at": text.iso(one.expires_ms)}
                for one in self._waiting()
            ],
            "said": [text.printable(words) for words in self.asked.said],
            "failed": [text.printable(words) for words in self.failed],
        }


NOBODY = (
    "this network trusts no verifier, so nobody can be verified in it: its founder names verifiers with `autoresearch "
    "verifier propose`"
)


def _letters(home: Home) -> Path | None:
    """Return where the letters of this home's own verifier lie; None where they go out by mail."""
    from node import verifying
    from verify.service import LETTERS_NAME
    from verify.settings import load

    folder = verifying.folder(home)
    return None if load(folder).smtp_host else folder / LETTERS_NAME


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
