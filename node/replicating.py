"""One block of reruns: the word first, then parent, child, child, parent, then what was measured, signed.

The word (a duty) is signed before the first run, with a note that holds everything the block needs; each run that is
over is written into that note. So a kill or a stop costs at most the run in progress, and the next start goes on with
the same duty and the same seeds: nobody gets a second try at a seed by pulling the plug. Left out: which block, and
when (duties). Rejected: giving a block up when its owner stops the node, since an account that leaves a block out can
add nothing more to that result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from ensue.errors import UnknownId
from ensue.record import Record
from ensue.store import Store
from experiments.track import Track
from node import bodies, journal
from node.bench import Place
from node.journal import Block
from node.measuring import Measuring, clear
from node.text import number, short
from node.view import Trying
from verify.ruling import Task

ORDER = ((0, "parent"), (0, "child"), (1, "child"), (1, "parent"))
"""The runs of a block, each the pair (and so the seed) and which script; what drifts in between evens out."""


class Replicator:
    """Runs blocks in one place; `trying` hears which run begins, `said` what came of it, `spent` how long it took."""

    def __init__(
        self,
        place: Place,
        measuring: Measuring,
        *,
        trying: Callable[[Trying], None],
        said: Callable[[str], None],
        spent: Callable[[float], None],
    ) -> None:
        self._place, self._measuring = place, measuring
        self._trying, self._said, self._spent = trying, said, spent

    def begin(self, task: Task) -> Block | None:
        """Return the block of a task with its duty signed, or with that of before where there is one.

        None where another device, or another node of the account, is at it, and where a stop came while the disk was
        full. Not for two threads at once (Shared.claiming).
        """
        place = self._place
        if taken(place, task):
            return None
        for duty in duties_for(place.store, task, place.identity.peer_id):
            return self._again(task, duty)
        run_dir = self._run_dir()

        def note(record: Record) -> dict[str, str | None]:
            self._begun = _block(task, record.id, place.hardware.device, run_dir)
            return {journal.block_key(record.id): self._begun.model_dump_json()}

        def sign() -> Block:
            place.store.append(place.identity, "duty", bodies.duty(task), local=note)
            return self._begun

        return self._measuring.patience.persist(sign)

    def _again(self, task: Task, duty: Record) -> Block | None:
        """Return the block of a duty of one's own that came to nothing yet; anew where its note or its seeds are gone.

        Seeds change when the draw comes only after a block that was begun by hand.
        """
        place = self._place
        known = journal.read_block(place.store, duty.id)
        if known is not None and known.seeds == task.seeds:
            return self.adopt(known)
        return self._noted(_block(task, duty.id, place.hardware.device, self._run_dir()))

    def adopt(self, block: Block) -> Block | None:
        """Return a block as this device's own, noted as such; None where a stop came while the disk was full."""
        here = self._place.hardware.device
        if block.device == here:
            return block
        return self._noted(block.model_copy(update={"device": here, "run_dir": self._run_dir(), "trained": None}))

    def finish(self, block: Block) -> Record | None:
        """Return the signed replication of a block; None where its owner stopped it, and it waits for the next start.

        Raises BlobMissing where a script is not here (`missing`), and what runner raises.
        """
        place = self._place
        while len(block.runs) < len(ORDER):
            pair, which = ORDER[len(block.runs)]
            source = place.store.blob(block.source if which == "child" else block.parent_source)
            self._trying(self._words(block, pair, which))
            current = block

            def keep(trained: str, current: Block = current) -> None:
                note = current.model_copy(update={"trained": trained})
                place.store.local_set(journal.block_key(note.duty), note.model_dump_json())

            measured = self._measuring.measure(
                source, block.seeds[pair], Path(block.run_dir), trained=block.trained, keep=keep
            )
            if measured is None:
                return None
            run = bodies.rerun(measured.trained, measured.outcome).model_dump(mode="json")
            noted = self._noted(block.model_copy(update={"runs": [*block.runs, run], "trained": None}))
            if noted is None:
                return None
            block = noted
            clear(Path(block.run_dir))
            self._spent(measured.seconds)
            self._said(f"{which} of {short(block.result)}, seed {block.seeds[pair]}: {run_words(run)}")
        body, gone = bodies.replication(block, place), {journal.block_key(block.duty): None}
        return self._measuring.patience.persist(
            lambda: place.store.append(place.identity, "replication", body, local=gone)
        )

    def _noted(self, block: Block) -> Block | None:
        def write() -> Block:
            self._place.store.local_set(journal.block_key(block.duty), block.model_dump_json())
            return block

        return self._measuring.patience.persist(write)

    def _run_dir(self) -> str:
        return str(self._place.runs / f"rerun-{time.time_ns():x}")

    def _words(self, block: Block, pair: int, which: str) -> Trying:
        row = self._place.store.result(block.result)
        what = f"rerunning {short(block.result)} for {row.agent or row.author}"
        name = which if block.parent != block.result else "itself"  # what has no parent is run beside itself
        where = f"block {block.block}, run {len(block.runs) + 1} of {len(ORDER)}: {name}, seed {block.seeds[pair]}"
        why = f"{row.description}: what others measure says whether its gain holds."
        return Trying(None, f"{what}: {where}", why, None, None, None)


def duties_for(store: Store, task: Task, own: str) -> Iterator[Record]:
    """Yield the duties of an account's nodes for a task's block that came to nothing yet; `own` is one of its nodes."""
    account = store.people.account_of(own)
    done = {record.body.get("duty") for record in store.trials.about(task.result, "replication")}
    for duty in store.trials.about(task.result, "duty"):
        if duty.id in done:
            continue
        said = duty.body
        same = (said.get("result"), said.get("hardware_class"), said.get("block"))
        if same == (task.result, task.hardware_class, task.block) and (
            duty.author == own or (account is not None and store.people.account_of(duty.author, duty.seq) == account)
        ):
            yield duty


def told(place: Place, task: Task) -> Record | None:
    """Return what this node has signed about a task's block with these seeds, None where it has not run it yet.

    It may count for nothing, as where the parent does not run here: to run it again would change nothing.
    """
    own = place.identity.peer_id
    for record in place.store.trials.about(task.result, "replication"):
        said = record.body
        same = (record.author, said.get("result"), said.get("hardware_class"), said.get("block"))
        seeds = tuple(pair.get("seed") for pair in said.get("pairs", []))
        if (*same, seeds) == (own, task.result, task.hardware_class, task.block, task.seeds):
            return record
    return None


def taken(place: Place, task: Task) -> bool:
    """Return whether another node of the account has given its word for a task's block, or another device here."""
    own = place.identity.peer_id
    for duty in duties_for(place.store, task, own):
        if duty.author != own:
            return True
        block = journal.read_block(place.store, duty.id)
        if block is not None and block.device in set(place.shared.devices) - {place.hardware.device}:
            return True
    return False


def unfinished(place: Place) -> list[Block]:
    """Return the blocks on this track and class to which this node gave its word and that its device may finish.

    Those of a device that has a loop of its own are left to that one. Where a note was lost, the block is begun anew
    with the same duty when it is wanted again (begin).
    """
    store, own = place.store, place.identity.peer_id
    done = {record.body.get("duty") for record in store.trials.by(own, "replication")}
    blocks = [journal.read_block(store, duty.id) for duty in store.trials.by(own, "duty") if duty.id not in done]
    here = place.hardware.device
    others = set(place.shared.devices) - {here}
    return [
        block
        for block in blocks
        if block is not None
        and (block.track, block.hardware_class) == (place.track.id, place.hardware.hardware_class)
        and block.device not in others
    ]


def missing(store: Store, sources: Collection[str]) -> bool:
    """Return whether one of these scripts has not arrived here yet."""
    return not all(store.has_blob(sha256) for sha256 in sources)


def unfit(store: Store, track: Track, task: Task) -> str | None:
    """Return why a task cannot be run as it was, on this track and with what is here; None where it can."""
    try:
        row = store.result(task.result)
    except UnknownId:
        return "the result is not here"
    conditions = (row.track, row.metric, row.direction, row.clock, row.budget_s)
    if conditions != (track.id, track.metric, track.direction, track.clock, track.budget_s):
        return "the result was measured under other conditions than those of this track"
    if missing(store, (task.source, task.parent_source)):
        return "its script, or that of its parent, has not arrived here yet: a running node fetches it"
    return None


def run_words(run: dict[str, Any]) -> str:
    """Return what one run of a block came to in a few words."""
    if run["value"] is not None:
        return str(number(run["value"]))
    return f"{run['status'].replace('_', ' ')}: {run['reason']}"


def _block(task: Task, duty: str, device: str, run_dir: str) -> Block:
    return Block(
        duty=duty,
        track=task.track,
        result=task.result,
        parent=task.parent,
        source=task.source,
        parent_source=task.parent_source,
        hardware_class=task.hardware_class,
        block=task.block,
        seeds=task.seeds,
        seat=task.seat,
        device=device,
        run_dir=run_dir,
    )
