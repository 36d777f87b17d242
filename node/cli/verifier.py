"""`verifier`: run one, see whom the network trusts, and change that together."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import UserError
from node import names, text
from node.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensue.identity import Identity
    from ensue.kinds import Quorum
    from ensue.store import Store
    from node.home import Home

DAY_MS = 86_400_000
RATE_POLICY = "credentials_per_day_max"
CREDENTIALS_A_DAY_MAX = 200
"""Credentials of one verifier in a day above which `verifier list` raises an alarm, where the policy says nothing."""


@click.group(short_help="Run a verifier, or see and change whom the network trusts.")
def verifier() -> None:
    """Run a verifier, which ties accounts to e-mail addresses, and see or change whom the network trusts."""


@verifier.command(short_help="Run the verifier of this home.")
@click.option("--listen", metavar="HOST:PORT", help="Where it answers; default 127.0.0.1:8025.")
@click.option("--url", metavar="URL", help="Where others reach it; announced to the network.")
@click.option("--name", metavar="NAME", help="What it is called.")
@click.option("--contact", metavar="TEXT", help="How its owner is reached.")
def serve(**flags: str | None) -> None:
    """Run the verifier of this home until stopped; its key is made on the first start.

    Letters go out by the mail server named in HOME/verifier/verifier.toml or AUTORESEARCH_VERIFIER_SMTP_HOST, and
    into the folder HOME/verifier/mail without one. See docs/how-to/run-a-verifier.md.
    """
    from node import verifying
    from node.registering import registered
    from verify.settings import load

    with output.replica() as (home, store):
        place = verifying.folder(home)
        place.mkdir(mode=0o700, exist_ok=True)
        chosen = load(place, flags=flags)
        _log_to_stdout()
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        with verifying.running(home, store, chosen, chosen.listen) as (service, url):
            peer_id = service.identity.peer_id
            click.echo(f"verifier {peer_id}")
            click.echo(f"answers at {url}" + (f", for others at {chosen.url}" if chosen.url else ""))
            mail = f"by {chosen.smtp_host}:{chosen.port}" if chosen.smtp_host else f"into {place / 'mail'}"
            click.echo(f"letters go {mail}")
            trusted = store.people.in_force()
            if peer_id not in trusted.verifiers:
                click.echo(
                    "not trusted in this network yet: let those who are run "
                    f"`autoresearch verifier propose --add {peer_id}`"
                )
            sys.stdout.flush()
            registered(home, store, service.identity, ended.wait)


def _log_to_stdout() -> None:
    logging.raiseExceptions = False  # whoever reads the lines may leave; the service goes on
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("autoresearch.verifier")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


@verifier.command("list", short_help="Show whom the network trusts.")
@output.as_json
def list_(in_json: bool) -> None:
    """Show the trusted verifiers, how many of them a result needs, where they are reached, and how many credentials
    each signed in the last day, with an alarm above the number that the network's policy names.
    """
    with output.replica() as (home, store):
        document = _document(home, store)
    if in_json:
        output.print_json(document)
        return
    output.title(f"{document['needed']} of {len(document['verifiers'])} verifiers make a result official")
    output.note(f"epoch {document['epoch']} · statement {document['statement'][:16]}")
    for one in document["verifiers"]:
        said = f"{text.printable(one['name'], 40)} " if one["name"] else ""
        click.echo(f"\n{said}{one['peer_id']}" + (" (in this home)" if one["here"] else ""))
        click.echo(f"  {text.printable(one['url'], 120) if one['url'] else 'has not said where it is reached'}")
        if one["contact"]:
            click.echo(f"  {text.printable(one['contact'], 120)}")
        click.echo(f"  {text.plural(one['credentials_last_day'], 'credential')} in the last day")
        if one["alarm"]:
            click.secho(
                f"  ALARM: more than the {document['credentials_per_day_max']} a day that the policy allows; if nobody "
                "can explain it, propose its removal",
                fg="red",
            )
    if not document["verifiers"]:
        click.echo(f"nobody yet; the founder {document['founder']} may name the first")


def _document(home: Home, store: Store) -> dict[str, Any]:
    from ensue.genesis import Genesis
    from node import verifying

    trusted, most = store.people.in_force(), Genesis.load(home.genesis).policy.get(RATE_POLICY)
    if type(most) is not int or most < 1:
        most = CREDENTIALS_A_DAY_MAX
    since_ms, here = time.time_ns() // 1_000_000 - DAY_MS, verifying.own(home)
    found = []
    for peer_id in trusted.verifiers:
        said, issued = store.people.announced(peer_id), store.people.issued(peer_id, since_ms)
        found.append(
            {
                "peer_id": peer_id,
                "url": said.url if said else None,
                "name": said.name if said else None,
                "contact": said.contact if said else None,
                "here": peer_id == here,
                "credentials_last_day": issued,
                "alarm": issued > most,
            }
        )
    return {
        "epoch": trusted.epoch,
        "statement": trusted.statement,
        "needed": trusted.needed,
        "founder": trusted.founder,
        "credentials_per_day_max": most,
        "verifiers": found,
    }


@verifier.command(short_help="Propose other verifiers: prints a file for those in force to sign.")
@click.option("--add", multiple=True, metavar="PEER", help="A verifier to trust from now on; may be given again.")
@click.option(
    "--remove",
    multiple=True,
    metavar="PEER[:SEQ]",
    help="One to trust no longer; what it signed up to number SEQ of its log, by default all so far, goes on counting.",
)
@click.option("--needed", type=click.IntRange(1, 64), metavar="K", help="How many must vouch for an account.")
def propose(add: tuple[str, ...], remove: tuple[str, ...], needed: int | None) -> None:
    """Print a proposal of the next set of trusted verifiers. More than half of those in force must sign it."""
    from node import quorum

    with output.replica() as (_, store):
        click.echo(quorum.spelled(quorum.proposed(store, add=add, remove=remove, needed=needed)), nl=False)


@verifier.command(short_help="Sign a proposal with the keys of this home.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
def sign(file: Path, yes: bool) -> None:
    """Show what a proposal changes, and add the signature of this home's verifier, or of the founder, to the file."""
    from node import quorum

    with output.replica() as (home, store):
        proposal = quorum.read(file)
        _show(store, quorum.checked(store, proposal))
        if not yes:
            if not sys.stdin.isatty():
                raise UserError("a signature is asked for on a terminal: give --yes where there is none")
            if not click.confirm("Sign it?"):
                return
        proposal = quorum.signed(store, proposal, _identities(home))
        quorum.write(file, proposal)
        have, need = quorum.standing(store, quorum.checked(store, proposal))
    click.echo(f"{len(have)} of {need} signatures are in {file}" + _next(len(have), need, file))


@verifier.command(short_help="Put a signed proposal in force.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def publish(file: Path) -> None:
    """Publish a proposal that enough have signed; everybody who has the record follows it from then on."""
    from ensue.identity import Identity
    from node import quorum

    with output.replica() as (home, store):
        made = store.append(Identity.load(home.key), "quorum", quorum.published(store, quorum.read(file)))
        trusted = store.people.in_force()
    click.echo(
        f"published {made.id[:16]}: {trusted.needed} of {len(trusted.verifiers)} verifiers, epoch {trusted.epoch}"
    )


@verifier.command(short_help="Take back a credential that this home's verifier signed.")
@click.argument("credential")
@click.option("--reason", default="", metavar="TEXT", help="Why, for everybody to read.")
def withdraw(credential: str, reason: str) -> None:
    """Take back a credential: this home's verifier vouches for the account no longer, for none of its records."""
    with output.replica() as (home, store):
        target = store.get(store.resolve(credential, ["credential"]))
        own = next((one for one in _identities(home) if one.peer_id == target.author), None)
        if own is None:
            raise UserError("this credential was signed by another verifier: its owner can take it back")
        made = store.append(own, "retraction", {"target": target.id, "reason": reason})
    click.echo(f"withdrawn by {made.id[:16]}")


def _next(have: int, need: int, file: Path) -> str:
    return f": `autoresearch verifier publish {file}` puts it in force" if have >= need else ": pass the file on"


def _identities(home: Home) -> Iterator[Identity]:
    from ensue.identity import Identity
    from node import verifying
    from verify.key import KEY_NAME

    if verifying.own(home) is not None:
        yield Identity.load(verifying.folder(home) / KEY_NAME)
    yield Identity.load(home.key)


def _show(store: Store, body: Quorum) -> None:
    now = store.people.in_force()
    for peer_id in body.verifiers:
        click.echo(f"  {'  stays' if peer_id in now.verifiers else '    new'}  {peer_id}  {names.key(peer_id)}")
    for one in body.ended:
        click.echo(f"     gone  {one.verifier}  counts up to {one.last_seq}")
    for peer_id in now.verifiers:
        if peer_id not in body.verifiers and peer_id not in {one.verifier for one in body.ended}:
            click.echo(f"     gone  {peer_id}  counts for nothing any more")
    click.echo(f"  {body.needed} of {len(body.verifiers)} are needed; now {now.needed} of {len(now.verifiers)}")
