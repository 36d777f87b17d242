"""`keys`: the account behind this node: shown, backed up, brought back, and its node keys replaced or revoked."""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import UserError
from node import account as accounts
from node import names, phrase, text
from node.cli import output
from node.home import Home, default_home

if TYPE_CHECKING:
    from ensue.identity import Identity
    from ensue.store import Store

ASKED_WORDS = 3
"""Words of the phrase that are asked back before the key leaves this machine."""
DAY_MS = 86_400_000


@click.group(short_help="The account behind this node, and its keys.", context_settings={"max_content_width": 100})
def keys() -> None:
    """Look after the key of your account, which stands above the keys of your machines.

    The account is what a verifier knows; each machine has a node key that speaks for it. 24 words hold the whole
    account: `keys backup` shows them, `keys restore` takes them on this or another machine.
    """


@keys.command(short_help="Show the account, its nodes, and who vouches for it.")
@output.as_json
def show(in_json: bool) -> None:
    """Show the account of this node, whether its key is here and backed up, its nodes, and who vouches for it."""
    with output.replica() as (home, store):
        document = _document(home, store)
    if in_json:
        output.print_json(document)
    else:
        _print(document)


@keys.command(short_help="Write the account's 24 words down, or to a file.")
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="FILE", help="Write the words to a new file.")
@click.option("--remove", is_flag=True, help="Then take the key off this machine; research goes on without it.")
@click.option("--yes", is_flag=True, help="Remove without asking for words of it.")
def backup(target: Path | None, remove: bool, yes: bool) -> None:
    """Show the 24 words that hold the account's key, on a terminal and after a question, or write them to a file.

    Whoever has the words is you: keep them on paper, or on a stick in a drawer. With --remove the key is taken off
    this machine afterwards; then `keys rotate`, `keys revoke` and `verify` need `keys restore` first.
    """
    with output.replica() as (home, store):
        account = accounts.required(home)
        words = phrase.words_of(accounts.seed(home))
        if target is not None:
            _write(target, account.peer_id, words)
            accounts.note_saved(store, account.peer_id, str(target.absolute()))
            click.echo(f"the 24 words of {names.account(account.peer_id)} are in {target}, which only you can read")
        elif not (remove and accounts.saved(store, account.peer_id)):
            _show(account.peer_id, words)
            accounts.note_saved(store, account.peer_id)
        if remove:
            _remove(home, store, words, yes)


@keys.command(short_help="Bring the account back from its 24 words.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@output.as_json
def restore(file: Path | None, in_json: bool) -> None:
    """Put the account of the 24 words in FILE, or typed in, on this machine, and let this node speak for it.

    So a second machine belongs to the same account, and a lost one's account goes on. The key of another account that
    is here is kept beside the new one.
    """
    home = default_home()
    seed = phrase.seed_of(_read(file))
    if not home.founded:
        account = accounts.put(home, seed)
        _restored(account.peer_id, None, in_json)
        return
    with output.replica() as (home, store):
        from ensue.identity import Identity

        node = Identity.load(home.key)
        store.own_log.require(node.peer_id)
        store.local_set(accounts.REMOVED_NOTE, None)
        account = accounts.put(home, seed)
        accounts.note_saved(store, account.peer_id, "" if file is None else str(file.absolute()))
        accounts.delegate(store, account, node)
        speaks = store.people.account_of(node.peer_id) == account.peer_id
        if not speaks or accounts.revoked_from(store, account.peer_id, node.peer_id) is not None:
            raise UserError(
                f"the key of {names.account(account.peer_id)} is here now, but this node's own key was revoked and can "
                "speak for nobody: `autoresearch keys rotate` gives it a new one"
            )
        _restored(account.peer_id, node, in_json)


@keys.command(short_help="Give this node a new key under the same account.")
@output.as_json
def rotate(in_json: bool) -> None:
    """Replace this node's key: the old one ends where its log ends, and what it signed until then goes on counting.

    The node must be stopped. Others know this machine by another peer id afterwards; the account stays the same.
    """
    from node import rotation

    with output.replica() as (home, store), rotation.refuse_while_running(home):
        done = rotation.rotate(home, store)
    if in_json:
        output.print_json({"old": done.old, "last_seq": done.last_seq, "new": done.new})
        return
    click.echo(
        f"this node signs with {names.key(done.new)} from now on; {names.key(done.old)} ends after number "
        f"{done.last_seq} of its log"
    )
    output.note(f"{done.new} is the new peer id: invites that name the old one still name the network.")


@keys.command(short_help="Void what a stolen or lost machine's key signs.")
@click.argument("node")
@click.option("--last", type=click.IntRange(0), metavar="SEQ", help="The last number that counts; default: known here.")
@click.option("--reason", default="", metavar="TEXT", help="Why; everybody can read it.")
@output.as_json
def revoke(node: str, last: int | None, reason: str, in_json: bool) -> None:
    """Revoke the key of NODE, a peer id or its end: its records after the last number known here do not count.

    For a machine of yours that was stolen or lost. For the key of this machine use `keys rotate`.
    """
    from ensue.body import REASON_CHARS_MAX
    from ensue.identity import Identity
    from ensue.statements import revocation

    if len(reason) > REASON_CHARS_MAX:
        raise UserError(f"a reason has at most {REASON_CHARS_MAX} characters: shorten it")
    with output.replica() as (home, store):
        account, own = accounts.required(home), Identity.load(home.key)
        wanted = _node(store, account.peer_id, node)
        if wanted.node == own.peer_id:
            raise UserError("this is the key of this very node: `autoresearch keys rotate` replaces it")
        end = wanted.head_seq if last is None else last
        if wanted.void_from is not None and wanted.void_from <= end + 1:
            raise UserError(
                f"{names.key(wanted.node)} was revoked already: what it signed from number {wanted.void_from} on does "
                "not count"
            )
        store.own_log.require(own.peer_id)
        body = revocation(account, store.network, wanted.node, end, text.entered(reason.strip()))
        record = store.append(own, "revocation", body)
    if in_json:
        output.print_json({"id": record.id, "node": wanted.node, "last_seq": end})
        return
    click.echo(
        f"{click.style('revoked', fg='green')} {names.key(wanted.node)}: of its records only numbers up to {end} count"
    )
    output.note(
        "It spreads with the next connection; the machine's own copy of the memory learns of it like all others."
    )


def _node(store: Store, account: str, given: str) -> Any:
    """Return the node of an account meant by a peer id or its end; raise UserError where that is none or many."""
    wanted = given.strip().lstrip(names.NODE)
    rows = store.people.nodes(account)
    found = [row for row in rows if row.node == wanted] or [row for row in rows if wanted and row.node.endswith(wanted)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(names.key(row.node) for row in rows) or "none"
    if found:
        raise UserError(f"several nodes of your account end with {text.printable(wanted, 60)!r}: give more of it")
    raise UserError(f"no node of your account ends with {text.printable(wanted, 60)!r}: those known here are {known}")


def _write(target: Path, account: str, words: list[str]) -> None:
    lines = [
        f"# The account {account} of autoresearch.",
        "# Whoever has these 24 words can speak for it: keep them where only you are.",
        "# They come back with: autoresearch keys restore FILE",
        *phrase.rows(words),
    ]
    try:
        accounts.write_new(target, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise UserError(
            f"{target} cannot be made ({error.strerror}): name a new file in a folder that you own"
        ) from error


def _show(account: str, words: list[str]) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "the 24 words are shown on a terminal only: name a file with --to FILE, which only you can read"
        )
    click.confirm("Whoever reads the 24 words can speak for your account. Are you alone?", abort=True)
    click.echo(f"\nThe account {account}\n")
    for row in phrase.rows(words):
        click.secho(f"  {row}", bold=True)
    click.echo("\nWrite them down in order; `autoresearch keys restore` takes them back.")


def _remove(home: Home, store: Store, words: list[str], yes: bool) -> None:
    account = accounts.required(home).peer_id
    if accounts.saved(store, account) is None:
        raise UserError("the key was never backed up, so it stays: add --to FILE, or write its words down first")
    if not yes:
        places = sorted(secrets.SystemRandom().sample(range(len(words)), ASKED_WORDS))
        for place in places:
            given = click.prompt(f"To be sure that you have them: word {place + 1}", hide_input=False)
            if not phrase.is_word(given, words[place]):
                raise UserError(f"that is not word {place + 1}, so the key stays here: look at your copy and try again")
    accounts.remove(home, store)
    click.echo(
        f"the key of {names.account(account)} is off this machine; research goes on, and `autoresearch keys restore` "
        "brings it back"
    )


def _read(file: Path | None) -> str:
    """Return the phrase in a file, from a pipe, or typed in."""
    if file is None and sys.stdin.isatty():
        return str(click.prompt("The 24 words, on one line", hide_input=True))
    try:
        if file is None:
            return sys.stdin.read(phrase.PHRASE_CHARS_MAX + 1)
        with file.open(encoding="utf-8") as opened:
            return opened.read(phrase.PHRASE_CHARS_MAX + 1)
    except UnicodeDecodeError:
        raise UserError(f"{file or 'the input'} is no text, so no recovery phrase: give the 24 words") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): check its name and rights") from error


def _restored(account: str, node: Identity | None, in_json: bool) -> None:
    if in_json:
        output.print_json({"account": account, "node": None if node is None else node.peer_id})
    elif node is None:
        click.echo(f"the account {names.account(account)} is here: `autoresearch join` lets this node speak for it")
    else:
        click.echo(
            f"the account {names.account(account)} is here, and this node ({names.key(node.peer_id)}) speaks for it"
        )


def _document(home: Home, store: Store) -> dict[str, Any]:
    from ensue.identity import Identity

    own, key = Identity.load(home.key).peer_id, accounts.key(home)
    account = store.people.account_of(own) or (key.peer_id if key else None)
    document: dict[str, Any] = {"account": account, "node": own, "key_here": key is not None, "backed_up": None}
    if account is None:
        return document
    kept = accounts.saved(store, account)
    standing = store.people.standing(account, time.time_ns() // 1_000_000)
    return document | {
        "key_here": key is not None and key.peer_id == account,
        "backed_up": None if kept is None else {"at": text.iso(kept.time_ms), "where": kept.where or None},
        "official": standing.official,
        "vouching": len(standing.covering),
        "needed": standing.needed,
        "expires_at": None if standing.expires_ms is None else text.iso(standing.expires_ms),
        "nodes": [
            {"node": row.node, "records": row.head_seq, "void_from": row.void_from, "this": row.node == own}
            for row in store.people.nodes(account)
        ],
        "credentials": [
            {
                "id": row.id,
                "verifier": row.verifier,
                "issued_at": text.iso(row.issued_ms),
                "expires_at": text.iso(row.expires_ms),
                "superseded": row.superseded,
                "counts": row.counts,
            }
            for row in store.people.credentials(account)
        ],
    }


def _print(document: dict[str, Any]) -> None:
    if document["account"] is None:
        click.echo("This node speaks for no account yet: `autoresearch join` makes one.")
        return
    kept = document["backed_up"]
    saved = (
        "never: `autoresearch keys backup` shows its 24 words"
        if kept is None
        else (f"{kept['at'][:10]}, " + (text.printable(kept["where"]) if kept["where"] else "24 words that were shown"))
    )
    output.facts(
        [
            ("account", f"{names.account(document['account'])}  {document['account']}"),
            (
                "key",
                "on this machine" if document["key_here"] else "not on this machine: `keys restore` brings it back",
            ),
            ("backed up", saved),
            ("verified", _verified(document)),
        ]
    )
    rows = [[names.key(row["node"]), f"{row['records']:,}", _state(row)] for row in document["nodes"]]
    if rows:
        click.echo()
        output.rows(["node", "records", "state"], rows, "<><")
    vouching = [
        [names.key(row["verifier"]), row["issued_at"][:10], row["expires_at"][:10], _worth(row)]
        for row in document["credentials"]
    ]
    if vouching:
        click.echo()
        output.rows(["verifier", "issued", "expires", "state"], vouching, "<<<<")


def _verified(document: dict[str, Any]) -> str:
    if document["official"]:
        return f"until {document['expires_at'][:10]}, by {text.plural(document['vouching'], 'verifier')}"
    had = f"{document['vouching']} of {document['needed']} verifiers vouch for it" if document["needed"] else "no"
    return f"not yet: {had}; `autoresearch verify you@example.org`"


def _state(row: dict[str, Any]) -> str:
    state = "counts" if row["void_from"] is None else f"void from number {row['void_from']} on"
    return f"this node; {state}" if row["this"] else state


def _worth(row: dict[str, Any]) -> str:
    if not row["counts"]:
        return "does not count: taken back, or its verifier is not trusted"
    if row["superseded"]:
        return "ended: the address belongs to another account now"
    return "counts until it expires"
