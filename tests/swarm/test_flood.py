"""Very many fresh keys at once: they may give, and are told to come again for more; those known go on as before."""

import asyncio
from pathlib import Path

from sync_replicas import Clock, bodies, raws, stores, streams

from node.sync import wire
from node.sync.answer import answer
from node.sync.budget import FLOOD_PEERS, FLOOD_S, GOOD_RECORDS, Budgets
from node.sync.replica import Replica

RECORDS = [bodies.record(0, seq, "x", {"n": seq}) for seq in range(1, 40)]
ALL = wire.Tails([wire.Tail(bodies.AUTHORS[0].public_key, 0)])


async def told(replica: Replica, budgets: Budgets, peer: str, request: wire.Request) -> wire.Answer:
    """Return what a peer is answered after its hello."""
    asking, answering = streams()
    serving = asyncio.create_task(answer(answering, replica, budgets.of(peer)))
    await asking.send(wire.frame(wire.Hello(wire.VERSION, replica.network)) + wire.frame(request))
    assert isinstance((await wire.receive_answer(asking))[0], wire.Welcome)
    found, _ = await wire.receive_answer(asking)
    await asking.close()
    await serving
    return found


def test_a_flood_of_strangers_is_given_nothing_larger_than_what_it_gives(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        budgets = Budgets(clock, clock.sleep)
        with stores(tmp_path, "one") as (one,):
            await one.take(raws(RECORDS))
            budgets.of("known").earned(GOOD_RECORDS)
            budgets.of("chosen").chosen = True
            assert isinstance(await told(one, budgets, "stranger", ALL), wire.Records)
            for number in range(FLOOD_PEERS):
                budgets.of(f"fresh {number}")
            assert budgets.flooded
            refused = await told(one, budgets, "stranger", ALL)
            assert isinstance(refused, wire.Refused)
            assert (refused.code, refused.retry_s) == ("busy", int(FLOOD_S))
            given = wire.Give(wire.pack_records(raws([bodies.record(1, 1, "x", {})])))
            took = await told(one, budgets, "stranger", given)
            assert isinstance(took, wire.Took)
            assert took.accepted == 1
            for peer in ("known", "chosen"):
                assert isinstance(await told(one, budgets, peer, ALL), wire.Records), peer
            await clock.sleep(FLOOD_S + 1)
            assert not budgets.flooded
            assert isinstance(await told(one, budgets, "stranger", ALL), wire.Records)

    asyncio.run(main())


def test_a_few_newcomers_are_no_flood() -> None:
    clock = Clock()
    budgets = Budgets(clock)
    for number in range(FLOOD_PEERS - 1):
        budgets.of(f"fresh {number}")
        budgets.of("fresh 0")
    assert not budgets.flooded
