"""`status`, `pause`, `resume` and `leave`: the owner's hand on a running or stopped node.

They talk through the replica's own facts, so they work whether a node runs or not, and need no socket.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import UserError
from node import lock, names, settings, text
from node.cli import output, tracks
from node.home import Home

if TYPE_CHECKING:
    from ensue.store import Store
    from node.standing import Standing

CONTROL_KEY = "control"
NODE_KEY = "node"
SILENT_S = 60.0
LEAVE_WAIT_S = 120.0  # a scoring in progress is brought to its end
WAITING_MAX = 200  # records counted in the outbox; of more it is enough to know that they are many


@click.command(short_help="Hold research at once; the run in progress waits.")
@output.as_json
def pause(in_json: bool) -> None:
    """Hold research; it stays held until `autoresearch resume`, also over restarts."""
    words = "paused: a run on processor time holds still, one on wall time is abandoned; `autoresearch resume` goes on"
    _control("pause", words, in_json)


@click.command(short_help="Let research go on after a pause.")
@output.as_json
def resume(in_json: bool) -> None:
    """Let research go on."""
    _control(None, "research may go on", in_json)


def _control(wish: str | None, done: str, in_json: bool) -> None:
    with output.replica() as (home, store):
        store.local_set(CONTROL_KEY, wish)
        pid = lock.holder(home.lock)
    if in_json:
        output.print_json({"paused": wish == "pause", "running": pid is not None})
        return
    click.echo(done)
    if pid is None:
        output.note("No node is running right now: `autoresearch join` starts one.")


@click.command(short_help="Say good-bye: send what waits, and end the node.")
@output.as_json
def leave(in_json: bool) -> None:
    """Say good-bye to the network and end the node, wherever it runs on this machine.

    The run in progress is recorded as abandoned, what waits is sent, and the others are told. Everything stays in the
    home: `autoresearch join` takes part again.
    """
    with output.replica() as (home, store):
        pid = lock.holder(home.lock)
        if pid:
            _end(home, pid)
        waiting = len(store.outbox(WAITING_MAX))
    if in_json:
        output.print_json({"was_running": bool(pid), "waiting_to_be_sent": waiting})
        return
    click.echo("the node said good-bye and ended" if pid else "no node is running here: nobody has to be told")
    if waiting:
        output.note(f"{text.plural(waiting, 'record')} could not be sent to anybody; the next start sends them.")


def _end(home: Home, pid: int) -> None:
    """Ask the node to end as Ctrl-C does, and wait for it."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise UserError(f"the node (process {pid}) belongs to another user: ask them to end it") from None
    deadline = time.monotonic() + LEAVE_WAIT_S
    while lock.holder(home.lock) is not None:
        if time.monotonic() > deadline:
            raise UserError(f"the node (process {pid}) has not ended within {LEAVE_WAIT_S:.0f} s: it is still at work")
        time.sleep(0.1)


@click.command(short_help="Say what this node is doing, and what it has found.")
@output.as_json
def status(in_json: bool) -> None:
    """Say what this node is doing, what it has found and what it holds."""
    with output.replica() as (home, store):
        document = _document(home, store)
        if in_json:
            output.print_json(document)
        else:
            _print(document)


def _document(home: Home, store: Store) -> dict[str, Any]:
    from ensue.genesis import Genesis
    from ensue.identity import Identity
    from node import standing

    genesis = Genesis.load(home.genesis)
    chosen = settings.load(home.settings)
    pid = lock.holder(home.lock)
    peer_id = Identity.load(home.key).peer_id
    track = _track_worked_on(home, store, peer_id)
    best = store.best(track.id, level=None)
    stats = store.stats(track.id)
    local = time.localtime()
    return {
        "home": str(home.path),
        "network": genesis.network_id,
        "network_name": genesis.name,
        "peer_id": peer_id,
        "name": settings.own_name(chosen, peer_id),
        "running": pid is not None,
        "pid": pid,
        "paused": store.local_get(CONTROL_KEY) == "pause",
        "hours": chosen.hours,
        "within_hours": settings.may_run(chosen.hours, local.tm_hour * 60 + local.tm_min),
        "now": _now(store) if pid is not None else None,
        "track": track.id,
        "track_name": track.name,
        "records": store.count(),
        "waiting_to_be_sent": len(store.outbox(WAITING_MAX)),
        "swarm": _swarm(store),
        "reruns": _reruns(home, store, chosen),
        "results": stats.results,
        "results_mine": stats.by_author.get(peer_id, {}),
        "account": _account(standing.read(home, store, peer_id)),
        "best": None if best is None else output.result_json(best),
        "gain": _against_root(store, best.id) if best is not None else None,
    }


def _account(found: Standing) -> dict[str, Any]:
    """Return who is behind this node: its account, whether that is backed up, and who vouches for it."""
    now_ms = time.time_ns() // 1_000_000
    return {
        "id": found.account,
        "key_here": found.key_here,
        "backed_up": found.saved is not None,
        "official": found.official,
        "vouching": list(found.vouching),
        "needed": found.needed,
        "expires_at": None if found.expires_ms is None else text.iso(found.expires_ms),
        "renewal_due": found.due(now_ms),
        "revoked_from": found.revoked_from,
        "words": found.verified_words(now_ms),
    }


def _swarm(store: Store) -> dict[str, Any]:
    """Return who is connected, and whether others can reach this node; as the swarm process said last."""
    from node.swarm import status as swarm

    said = swarm.read(store)
    running = said is not None and said.running(time.time_ns() // 1_000_000)
    if said is None or not running:
        return {"running": False, "connected": 0, "reachable": "unknown", "problem": None, "unverified": None}
    unverified = {"unverified": asdict(said.unverified)}
    shown = {"running": True, "connected": said.connected, "reachable": said.reachable, "problem": said.problem}
    return shown | unverified


def _track_worked_on(home: Home, store: Store, peer_id: str) -> tracks.Asked:
    """Return the track of the settings, or that of the newest results where this node has worked on none but those."""
    chosen = tracks.asked(home, store, None)
    if peer_id in store.stats(chosen.id).by_author:
        return chosen
    newest = next((found for found in tracks.recent(store) if peer_id in store.stats(found).by_author), None)
    return chosen if newest is None else tracks.Asked(newest, tracks.call(home, newest))


def _now(store: Store) -> dict[str, Any] | None:
    """Return what the running node says that it does; None where it says nothing that makes sense."""
    found = _note(store, NODE_KEY)
    if not found:
        return None
    devices = found.get("devices")
    if isinstance(devices, list):
        found["devices"] = [_note(store, f"{NODE_KEY}/{device}") | {"device": str(device)} for device in devices]
    return found


def _reruns(home: Home, store: Store, chosen: settings.Settings) -> dict[str, Any]:
    """Return how much of the time of this node's devices went to rerunning others' results."""
    from node.balance import Balance, devices

    told = [Balance.read(store, device) for device in devices(home)]
    reruns_s, research_s = sum(one.reruns_s for one in told), sum(one.research_s for one in told)
    return {
        "share": chosen.replication_share,
        "used": reruns_s / (reruns_s + research_s) if reruns_s else 0.0,
        "blocks": sum(one.blocks for one in told),
        "reruns_s": reruns_s,
        "research_s": research_s,
    }


def _note(store: Store, key: str) -> dict[str, Any]:
    try:
        found = json.loads(store.local_get(key) or "{}")
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _against_root(store: Store, identifier: str) -> float | None:
    """Return by how much a result is better than the baseline that its line goes back to."""
    from node.cli import sources

    row = store.result(identifier)
    return output.better(row, sources.root(store, row))


def _print(document: dict[str, Any]) -> None:
    pairs = [("node", _who(document)), ("state", _state(document))]
    now = document["now"]
    for device in (now.get("devices") or [now]) if now else []:
        pairs += _doing(device)
    best = document["best"]
    if best is None:
        serving = (now or {}).get("phase") == settings.SERVING
        first = "" if serving else ": the first run, the baseline, takes a few minutes"
        pairs.append(("best", f"none yet on {document['track_name']}{first}"))
    else:
        gain = "" if document["gain"] is None else f"  better by {document['gain']:.4f} than its baseline"
        what = text.printable(best["description"], 60)
        pairs.append(("best", f"{text.number(best['value'])}  {text.short(best['id'])}  {what}{gain}"))
    mine = [f"{count} {name.replace('_', ' ')}" for name, count in document["results_mine"].items() if count]
    pairs.append(("mine", ", ".join(mine) or "no results yet"))
    pairs.append(("reruns", _rerun_words(document["reruns"])))
    waiting = document["waiting_to_be_sent"]
    held = f"{text.plural(document['records'], 'record')}, {document['results']} of them results on this track"
    pairs.append(
        ("memory", held + (f"; {waiting}{'+' if waiting == WAITING_MAX else ''} wait for a network" if waiting else ""))
    )
    name = text.printable(document["network_name"])
    pairs.append(("network", f"{name} ({document['network'][:10]}), track {text.printable(document['track_name'])}"))
    pairs.append(("peers", _peers(document["swarm"])))
    pairs += _person(document["account"])
    pairs.append(("home", document["home"]))
    output.facts(pairs)


def _rerun_words(reruns: dict[str, Any]) -> str:
    if not reruns["share"]:
        return "none: the setting replication_share is 0"
    done = f"{text.plural(reruns['blocks'], 'block')} of others' results"
    return f"{done}; with calibration {reruns['used']:.0%} of the time so far, {reruns['share']:.0%} in the long run"


def _person(account: dict[str, Any]) -> list[tuple[str, str]]:
    if account["id"] is None:
        return [("account", "none yet: the next `autoresearch join` makes one")]
    saved = "backed up" if account["backed_up"] else "not backed up: `autoresearch keys backup`"
    here = "" if account["key_here"] else "; its key is not on this machine"
    how = "" if account["official"] and not account["renewal_due"] else "; `autoresearch verify you@example.org`"
    if account["revoked_from"] is not None:
        how = "; `autoresearch keys rotate` gives this machine a new one"
    return [("account", f"{names.account(account['id'])}, {saved}{here}"), ("verified", account["words"] + how)]


def _peers(swarm: dict[str, Any]) -> str:
    if not swarm["running"]:
        return "not connected"
    reach = {"yes": "others can reach this node", "no": "others cannot reach this node"}.get(swarm["reachable"])
    words = f"{swarm['connected']} connected" + (f"; {reach}" if reach else "")
    return words + (f"; {text.printable(swarm['problem'])}" if swarm["problem"] else "")


def _who(document: dict[str, Any]) -> str:
    name = text.printable(document["name"])
    return f"{name}  {document['peer_id']}" if name else str(document["peer_id"])


def _state(document: dict[str, Any]) -> str:
    if document["paused"]:
        state = click.style("paused", fg="yellow") + "; `autoresearch resume` lets it go on"
    elif not document["running"]:
        return "stopped; `autoresearch join` starts it"
    elif not document["within_hours"]:
        state = click.style("waiting", fg="yellow") + f" for its hours, {text.printable(document['hours'])}"
    elif (document["now"] or {}).get("phase") == settings.SERVING:
        state = click.style(settings.SERVING, fg="green") + "; the setting research is off"
    else:
        state = click.style("researching", fg="green")
    return f"{state} (process {document['pid']})" if document["running"] else f"{state}; no node is running"


def _whose(now: dict[str, Any]) -> str:
    """Return the heading of what is done: the device where it is one of several, which have no process number."""
    return "doing" if "pid" in now else text.printable(str(now.get("device", "doing")))


def _doing(now: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    what = [str(now[name]) for name in ("phase", "description") if now.get(name)]
    if what:
        pairs.append((_whose(now), text.printable(" · ".join(what))))
    progress = now.get("progress")
    if isinstance(progress, int | float):
        filled = round(max(0.0, min(1.0, progress)) * 30)
        pairs.append(("progress", f"{'█' * filled}{'░' * (30 - filled)} {progress:.0%}"))
    updated = now.get("updated_ms")
    if isinstance(updated, int):
        silent_s = time.time() - updated / 1000
        if silent_s > SILENT_S:
            pairs.append(("heard", click.style(f"nothing for {text.seconds(silent_s)}", fg="yellow")))
    return pairs
