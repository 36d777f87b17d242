"""From a home folder to a running loop: everything that is opened, checked and closed around the agent."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from ensue.errors import LogInDoubt
from experiments import sandbox
from experiments import track as tracks
from experiments.proposers import load as load_proposer
from experiments.track import Track
from experiments.workspace import Workspace
from node import fleet, machine
from node.agent import Agent
from node.bench import Bench, Shared
from node.control import Control
from node.founding import Membership
from node.home import Home
from node.lock import NodeLock
from node.mending import look_after
from node.quota import Quota
from node.report import STATUS_KEY, status_key
from node.rotation import finish_at_start
from node.settings import SERVING, Settings
from node.standing import begin_as_person
from node.swarm.child import SwarmProcess
from node.swarm.invite import Invite, founded_by
from node.swarm.peerbook import PeerBook
from node.swarm.restored import ask_for_own_log
from node.verifying import served
from node.view import Facts, View

RECENT_ROWS = 8
MEMORY_WAIT_S = 60.0
SERVED_EVERY_S = 5.0
NAME_CHARS = 8


def research(
    home: Home, chosen: Settings, view: View, *, stop_after_s: float | None, invite: Invite | None = None
) -> int | None:
    """Run the loop until it ends; return the signal that ended it, or None if it came to its own end.

    Raises UserError (a second node on this home, a wrong setting), TrackError, DataDamaged, SandboxUnavailable,
    ExperimentError and StoreError.
    """
    track = tracks.load(chosen.track)
    home.create()
    with NodeLock(home.lock):
        look_after(home, view.note)
        finish_at_start(home)
        member = _member(home, chosen, invite, view)
        with (
            member.store as store,
            _swarm(home, chosen, view) as swarm,
            served(home, store, chosen.verifier_listen, view.note),
        ):
            begin_as_person(home, store, member.identity, view.note)
            control = Control(store, hours=chosen.hours, stop_after_s=stop_after_s)
            control.install()
            if chosen.research == "off":
                return _serve(member, control, view)
            benches = _benches(home, chosen, member, track, view)
            if swarm is not None:
                _take_in(member, swarm, control, view)
            several = len(benches) > 1
            agents = [Agent(one, control, view.of(one.hardware.device) if several else view) for one in benches]
            recent = store.results(track.id, limit=RECENT_ROWS)
            view.opened(_facts(home, member, benches), agents[0].standing(), recent)
            try:
                store.local_set(STATUS_KEY, json.dumps(_started(track, benches[0].shared.devices)))
                fleet.go(agents, control, view.note)
            finally:
                view.closed()
                for key in (STATUS_KEY, *map(status_key, benches[0].shared.devices)):
                    store.local_set(key, None)
        return control.signal


def _member(home: Home, chosen: Settings, invite: Invite | None, view: View) -> Membership:
    """Return the membership of a home; where its own log is in doubt, the other nodes are asked how far it went."""
    try:
        return founded_by(home, invite)
    except LogInDoubt:
        if chosen.swarm == "off" or not ask_for_own_log(home, invite, view.note):
            raise
        return founded_by(home, invite)


def _swarm(home: Home, chosen: Settings, view: View) -> AbstractContextManager[SwarmProcess | None]:
    return SwarmProcess(home, view.note) if chosen.swarm == "on" else nullcontext()


def _serve(member: Membership, control: Control, view: View) -> int | None:
    """Keep the memory and answer others until stopped; nothing is run here."""
    view.note(f"serving {member.genesis.name} as {member.identity.peer_id}; the setting research is off")
    status = {**_about_now(), "phase": SERVING}
    try:
        while not control.stopping:
            member.store.local_set(STATUS_KEY, json.dumps(status | _about_now()), durable=False)
            control.sleep(SERVED_EVERY_S)
    finally:
        member.store.local_set(STATUS_KEY, None)
    return control.signal


def _take_in(member: Membership, swarm: SwarmProcess, control: Control, view: View) -> None:
    """Let the memory of others come first, where others are known, so that nothing is run twice."""
    if len(PeerBook.load(member.store, member.identity.peer_id)) == 0:
        return
    view.note("fetching the memory from other nodes")
    if not swarm.wait_for_memory(member.store, MEMORY_WAIT_S, lambda: control.stopping):
        view.note("no other node has answered yet: research begins, and what they know comes when they answer")


def _benches(home: Home, chosen: Settings, member: Membership, track: Track, view: View) -> list[Bench]:
    """Open everything the loops need, one for each device; the slow parts say that they are at work."""
    level = machine.wall(chosen)
    weak = machine.weakness(level)
    if weak:
        view.note(weak)
    sandbox.reap_orphans()
    if not home.hardware.exists():
        view.note("measuring this machine once, a few seconds")
    found = [machine.hardware(home, name, threads=track.threads) for name in machine.devices(chosen)]
    said: set[str] = set()

    def preparing(words: str, _done: float) -> None:
        if words not in said:
            said.add(words)
            view.note(words)

    data = tracks.prepare(track, home.data, preparing)
    home.runs.mkdir(exist_ok=True)
    several = len(found) > 1
    shared = Shared(tuple(one.device for one in found) if several else (), Quota(chosen.experiments))
    return [
        Bench(
            settings=chosen,
            name=chosen.name or f"node-{member.identity.peer_id[-NAME_CHARS:]}",
            identity=member.identity,
            store=member.store,
            track=machine.bounded(track, chosen),
            data=data,
            hardware=hardware,
            level=level,
            workspace=Workspace(home.workspace, hardware.device),
            proposer=load_proposer(chosen.proposer, timeout_s=chosen.proposer_timeout_s),
            runs=home.runs / hardware.device.replace(":", "-") if several else home.runs,
            shared=shared,
        )
        for hardware in found
    ]


def _facts(home: Home, member: Membership, benches: Sequence[Bench]) -> Facts:
    bench = benches[0]
    return Facts(
        name=bench.name,
        peer_id=member.identity.peer_id,
        network=member.genesis.network_id,
        network_name=member.genesis.name,
        track=bench.track.name,
        track_title=bench.track.title,
        metric=bench.track.metric,
        clock=bench.track.clock,
        budget_s=bench.track.budget_s,
        device=", ".join(one.hardware.device for one in benches),
        hardware_class=", ".join(dict.fromkeys(one.hardware.hardware_class for one in benches)),
        sandbox=bench.level.name,
        home=str(home.path),
        founded=member.founded,
    )


def _started(track: Track, devices: Sequence[str]) -> dict[str, object]:
    started = {"started_ms": time.time_ns() // 1_000_000, "phase": "starting", "track": track.name}
    return {**_about_now(), **started, **({"devices": list(devices)} if devices else {})}


def _about_now() -> dict[str, object]:
    return {"pid": os.getpid(), "updated_ms": time.time_ns() // 1_000_000}
