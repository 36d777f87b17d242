"""The simulated power cut: own records stay, of the others a beginning, and the log goes on without a fork."""

from random import Random

import bodies
from simulation.disk import Disk, ram_folder

from ensue.identity import Identity
from ensue.record import sign
from ensue.store import Store

ME, OTHER = Identity(b"m" * 32), Identity(b"o" * 32)


def others(number: int) -> list[bytes]:
    raws, prev = [], None
    for seq in range(1, number + 1):
        record = sign(
            OTHER, network=bodies.NETWORK, seq=seq, prev=prev, time_ms=0, kind="insight", body=bodies.insight(f"{seq}")
        )
        raws.append(record.raw)
        prev = record.id
    return raws


def ids(store: Store) -> list[str]:
    return [record.id for record in store.records()]


def test_a_power_cut_takes_only_a_suffix_of_what_came_after_the_last_own_record():
    lost, chance, raws = set(), Random(5), others(8)
    for _ in range(40):
        with ram_folder() as folder:
            disk = Disk(folder, bodies.NETWORK)
            disk.store.ingest(raws[:2])
            mine = disk.store.append(ME, "hypothesis", bodies.hypothesis())
            for raw in raws[2:]:
                disk.store.ingest([raw])
            before = ids(disk.store)
            disk.cut_power(chance)
            disk.store.ingest(others(9)[8:])  # whatever runs on writes into the past
            store = disk.restore()
            after = ids(store)
            assert after == before[: len(after)]
            assert mine.id in after
            assert [record.id for record in store.outbox()] == [mine.id]
            lost.add(len(before) - len(after))
            following = store.append(ME, "hypothesis", bodies.hypothesis("Another."))
            assert (following.seq, following.prev) == (2, mine.id)
            assert store.inspect().sound
            disk.close()
    assert lost == set(range(7))


def test_power_cuts_follow_each_other_also_when_the_log_has_begun_anew():
    chance, raws = Random(6), others(12)
    with ram_folder() as folder:
        disk = Disk(folder, bodies.NETWORK)
        store, mine = disk.store, []
        for turn in range(12):
            store._database.pragma("wal_checkpoint(RESTART)")
            store.ingest(raws[: turn // 2])
            mine.append(store.append(ME, "hypothesis", bodies.hypothesis(f"{turn}")).id)
            store.ingest(raws[turn // 2 :])
            disk.cut_power(chance)
            store = disk.restore()
            assert [record.id for record in store.records(author=ME.peer_id)] == mine
            assert store.inspect().sound
        disk.close()


def test_a_lost_disk_is_an_empty_one():
    with ram_folder() as folder:
        disk = Disk(folder, bodies.NETWORK)
        disk.store.append(ME, "hypothesis", bodies.hypothesis())
        disk.lose()
        assert disk.restore().count() == 0
        disk.close()
