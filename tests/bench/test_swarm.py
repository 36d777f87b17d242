"""What a swarm of real nodes on one machine does: how fast news are everywhere, what a node costs, what is run twice.

`make bench ARGS=tests/bench/test_swarm.py`. AUTORESEARCH_BENCH_NODES are the sizes (default "8 16"),
AUTORESEARCH_BENCH_RESULTS the results published at each (default 120), AUTORESEARCH_BENCH_SYNC_RECORDS the records to
catch up (default 100,000), AUTORESEARCH_BENCH_CLAIMS the claims of eight agents (default 400), AUTORESEARCH_BENCH_OUT a
file to which the tables are added. Times are goals for two quiet cores, shared by all nodes, and only shown; sizes and
duplicates are asserted.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import swarm_catch_up
import swarm_crowd
import swarm_idle
import swarm_spread
import test_sync

NODES = [int(word) for word in os.environ.get("AUTORESEARCH_BENCH_NODES", "8 16").split()]
RESULTS = int(os.environ.get("AUTORESEARCH_BENCH_RESULTS", "120"))
CLAIMS = int(os.environ.get("AUTORESEARCH_BENCH_CLAIMS", "400"))
PEERS, AGENTS = 16, 8
WATCHED_S = 60.0
CHEAP_S, CHEAPEST_S = (0.5, 2.0), (0.05, 0.5)
WIRE_RATIO_MAX, EQUAL_BYTES_MAX, MEMORY_MIB_MAX, IDLE_BYTES_S_MAX = 1.2, 2_000, 300, 2_000

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3_600)]


def show(rows: list[tuple[str, str, str, str]]) -> None:
    """Print a table, with the load of the machine before and after, and add it to the file."""
    head = [("what", "measured", "goal", "beside it, in the same run"), ("---",) * 4]
    text = "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows])
    text += f"\n\nLoad of the last minute at the end: {os.getloadavg()[0]:.1f}\n"
    print("\n" + text)
    if out := os.environ.get("AUTORESEARCH_BENCH_OUT"):
        with Path(out).open("a") as file:
            file.write("\n" + text)


def ms(found: dict[str, float]) -> str:
    return f"{found['p50']:.0f} / {found['p99']:.0f} ms"


@pytest.mark.parametrize("count", NODES)
def test_news_are_everywhere(tmp_path: Path, count: int) -> None:
    ours = swarm_spread.spread(tmp_path, count, RESULTS)
    told = swarm_spread.best_plain(count, RESULTS, listed=False)
    listed = swarm_spread.best_plain(count, RESULTS, listed=True)

    def beside(found: dict[str, Any]) -> str:
        ratio = found["all"]["p50"] / ours["all"]["p50"]
        return f"{ms(found['all'])}, {ratio:.1f} times ours" + (f", {found['lost']} not found" if found["lost"] else "")

    goal = "≤ 50 / ≤ 300 ms" if count == NODES[0] else "–"
    show([
        (f"{count} nodes: a result of 1.5 kB published → queryable on all others, p50 / p99 of {RESULTS}",
         ms(ours["all"]), goal, f"as entries of one list in a plain hivemind DHT: {beside(listed)}"),
        ("→ on each other, taken alone", ms(ours["each"]), "–",
         f"under keys of which the readers were told: {beside(told)}"),
        ("→ its script of 25 kB on all others", ms(ours["scripts"]), "–", "the DHT carried no scripts"),
    ])  # fmt: skip


def test_a_fresh_node_catches_up(tmp_path: Path) -> None:
    found = swarm_catch_up.catch_up(tmp_path)
    packed = found["record_bytes"] + found["script_bytes"]
    cable = found["wire"] / packed if found["wire"] else None
    show([
        (f"a fresh node starts and has {found['records']:,} records and {found['scripts']:,} scripts, over p2pd",
         f"{found['seconds']:.1f} s", "≤ 60 s", "–"),
        (f"bytes of the protocol, both ways, over the packed size ({packed:,})",
         f"{found['protocol'] / packed:.2f}", f"≤ {WIRE_RATIO_MAX}",
         f"on the cable, all headers and all else p2pd says: {cable:.2f}" if cable else "–"),
        ("bytes between equal replicas, both ways", f"{found['equal']:,} ({found['equal_s'] * 1e3:.1f} ms)",
         f"≤ {EQUAL_BYTES_MAX:,}", f"on the cable, with opening the stream: {found['equal_wire']:,.0f}"),
        ("memory while catching up (PSS of all processes), after it", f"{found['peak_mib']:.0f} MiB,"
         f" {sum(found['held'].values())} MiB", "–", "–"),
    ])  # fmt: skip
    assert found["protocol"] <= WIRE_RATIO_MAX * packed
    assert found["wire"] <= WIRE_RATIO_MAX * packed or test_sync.RECORDS < 20_000
    assert found["equal"] <= EQUAL_BYTES_MAX


def test_an_idle_node_costs_little(tmp_path: Path) -> None:
    found = swarm_idle.idle(tmp_path, PEERS, WATCHED_S)
    if "problem" in found:
        pytest.skip(found["problem"])
    show([
        (f"memory of an idle node with {PEERS} peers, sum of RSS (of PSS)",
         f"{found['rss']:.0f} MiB ({found['pss']:.0f} MiB)", f"≤ {MEMORY_MIB_MAX} MiB",
         ", ".join(f"{name} {rss} ({pss})" for name, rss, pss in found["held"])),
        (f"traffic of it over {WATCHED_S:.0f} s, all headers, in + out",
         f"{found['in_s']:,.0f} + {found['out_s']:,.0f} = {found['in_s'] + found['out_s']:,.0f} B/s",
         f"≤ {IDLE_BYTES_S_MAX:,} B/s", f"over {swarm_idle.LONG_S:.0f} s, in which every node looks once for new ones"
         f" in the DHT: {found['long_s']:,.0f} B/s"),
    ])  # fmt: skip
    assert found["rss"] <= MEMORY_MIB_MAX
    assert found["in_s"] + found["out_s"] <= IDLE_BYTES_S_MAX


@pytest.mark.parametrize("loss, trains_s, goal", [(0.0, CHEAP_S, 0.01), (0.3, CHEAP_S, 0.05), (0.0, CHEAPEST_S, None)])
def test_hardly_an_experiment_is_run_twice(
    tmp_path: Path, loss: float, trains_s: tuple[float, float], goal: float | None
) -> None:
    found = swarm_crowd.crowd(tmp_path, AGENTS, CLAIMS, loss, trains_s)
    share = found["twice"] / found["finished"]
    wire = f"{loss:.0%} of gossip and requests lost" if loss else "nothing lost"
    show([
        (f"{AGENTS} agents, experiments of {trains_s[0]:g} to {trains_s[1]:g} s, {wire}: run twice",
         f"{found['twice']} of {found['finished']}: {share:.1%}", f"≤ {goal:.0%}" if goal else "–",
         f"{found['claims']} claims in {found['seconds']:.0f} s, {found['contested']} claimed by several;"
         f" a claim reached another node in {ms(found['spread'])}; equal digests {found['agreed_s']:.1f} s later"),
    ])  # fmt: skip
    assert goal is None or share <= goal
