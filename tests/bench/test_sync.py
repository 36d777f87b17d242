"""How fast a fresh node catches up, and what it costs on the wire: two processes over a Unix socket; prints a table.

`make bench ARGS=tests/bench/test_sync.py`. AUTORESEARCH_BENCH_SYNC_RECORDS is the number of records (default 100,000),
every eighth of which brings a script of 25 kB in a chain of edits; AUTORESEARCH_BENCH_OUT a file for the table.
"""

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

import world

from ensue.blobs import Blob
from ensue.store import Store
from node.sync.answer import answer
from node.sync.budget import Budgets
from node.sync.pull import PullReport, pull
from node.sync.replica import Replica
from node.transport.ports import TransportError

RECORDS = int(os.environ.get("AUTORESEARCH_BENCH_SYNC_RECORDS", "100000"))
SCRIPT_EVERY = 8
LINES = 640
BATCH = 4_000
AUTHORS = 50
LINEAGES = 20
SECONDS_MAX, RATIO_MAX, EQUAL_BYTES_MAX = 60.0, 1.2, 2_000

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1_800)]

Figures = dict[str, Any]


class SocketStream:
    """A stream over a socket, which counts what it sends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.peer, self.sent, self.received = reader, writer, "peer", 0, 0

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as error:
            raise TransportError("The stream is gone: open another one.") from error
        self.sent += len(data)

    async def receive(self, size: int) -> bytes:
        try:
            data = await self.reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise TransportError("The stream is gone: open another one.") from error
        self.received += size
        return data

    async def close(self) -> None:
        self.writer.close()


def made(records: int) -> Iterator[tuple[bytes, Blob | None]]:
    """Yields results; every eighth with a new script, made by an edit from that of its parent."""
    maker, dice = world.World(authors=AUTHORS), random.Random(1)
    lines = [f"    line_{n} = {dice.randrange(10**6)} * width + offset_{dice.randrange(99)}" for n in range(LINES)]
    root = Blob("\n".join(lines).encode())
    lineages: list[tuple[Blob, str | None]] = [(root, None)] * LINEAGES
    for number in range(records):
        at = dice.randrange(LINEAGES)
        script, parent = lineages[at]
        new: Blob | None = None
        if number % SCRIPT_EVERY == 0:
            edited = script.data.decode().split("\n")
            edited[dice.randrange(LINES)] = f"    edited_{number} = {dice.randrange(10**6)} * depth + 1"
            new = Blob("\n".join(edited).encode(), script.sha256 if parent else None)
        record = maker.result(maker.author(), source=(new or script).sha256, parent=parent if new else None)
        if new is not None:
            lineages[at] = new, record.id
        elif parent is None:
            new = root
        yield record.raw, new


def fill(path: Path) -> None:
    """Makes the replica that has everything."""
    with Store(path, world.NETWORK) as store:
        raws: list[bytes] = []
        scripts: list[Blob] = []
        for raw, script in made(RECORDS):
            raws.append(raw)
            scripts += [script] if script else []
            if len(raws) == BATCH:
                store.ingest(raws, scripts)
                raws, scripts = [], []
        store.ingest(raws, scripts)


def packed_bytes(path: Path) -> Figures:
    """Returns what records and scripts take in a replica, packed, without indexes."""
    with Store(path, world.NETWORK) as store:
        records = store._database.row("SELECT count(*), sum(length(raw)), sum(length(plain(raw, form))) FROM records")
        scripts = store._database.row("SELECT count(*), sum(length(data)) FROM blobs")
        assert records is not None
        assert scripts is not None
        return {"records": records[0], "record_bytes": records[1], "plain_bytes": records[2],
                "scripts": scripts[0], "script_bytes": scripts[1], "digest": store.digest()}  # fmt: skip


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def serve(socket: Path, path: Path) -> None:
    """Answers on a socket until standard input ends; says first how long its summaries took, at last its peak."""
    with Store(path, world.NETWORK) as store:
        replica, budgets = Replica(store), Budgets(time.monotonic)
        began = time.perf_counter()
        await replica.current()
        summaries_s = time.perf_counter() - began
        await replica.missing()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answer(SocketStream(reader, writer), replica, budgets.of("asks"))

        server = await asyncio.start_unix_server(handle, socket)
        print(json.dumps({"summaries_s": summaries_s}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()
    print(json.dumps({"peak_mib": peak_mib()}), flush=True)


async def catch_up(socket: Path, path: Path) -> Figures:
    """Pulls everything into a fresh replica, then once more, then one record that is new there."""
    with Store(path, world.NETWORK) as store:
        replica, budgets = Replica(store), Budgets(time.monotonic)

        async def once() -> tuple[PullReport, float]:
            stream = SocketStream(*await asyncio.open_unix_connection(socket))
            began = time.perf_counter()
            report = await pull(stream, replica, budgets.of("answers"))
            assert report.problem is None, report.problem
            assert (report.bytes_in, report.bytes_out) == (stream.received, stream.sent)
            return report, time.perf_counter() - began

        first, seconds = await once()
        again, again_s = await once()
        return {"seconds": seconds, "records": first.records, "blobs": first.blobs, "equal": first.equal,
                "wire": first.bytes_in + first.bytes_out, "again": again.bytes_in + again.bytes_out,
                "again_s": again_s, "peak_mib": peak_mib()}  # fmt: skip


def table(size: Figures, figures: Figures, server: Figures) -> str:
    packed = size["record_bytes"] + size["script_bytes"]
    rows = [
        (f"catching up {size['records']:,} records and {size['scripts']:,} scripts of 25 kB, two processes",
         f"{figures['seconds']:.1f} s", f"≤ {SECONDS_MAX:.0f} s"),
        (f"bytes on the wire, both ways, over packed bytes in the replica ({packed:,}: records"
         f" {size['record_bytes']:,} of {size['plain_bytes']:,} signed, scripts {size['script_bytes']:,})",
         f"{figures['wire']:,}: {figures['wire'] / packed:.2f}", f"≤ {RATIO_MAX}"),
        ("bytes between equal replicas, both ways", f"{figures['again']:,} ({figures['again_s'] * 1e3:.1f} ms)",
         f"≤ {EQUAL_BYTES_MAX:,}"),
        ("summaries of all records, from nothing", f"{server['summaries_s']:.2f} s", "–"),
        ("peak memory, who asks and who answers",
         f"{figures['peak_mib']:.0f} and {server['peak_mib']:.0f} MiB", "–"),
    ]  # fmt: skip
    return "\n".join(["| what | measured | goal |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def test_catching_up(tmp_path: Path) -> None:
    here = [sys.executable, str(Path(__file__).resolve())]
    socket, full, fresh = tmp_path / "s", tmp_path / "full.sqlite3", tmp_path / "fresh.sqlite3"
    subprocess.run([*here, "fill", str(full)], check=True, timeout=900)
    size = packed_bytes(full)
    with subprocess.Popen(
        [*here, "serve", str(socket), str(full)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        server = json.loads(process.stdout.readline())
        done = subprocess.run(
            [*here, "catch_up", str(socket), str(fresh)], stdout=subprocess.PIPE, text=True, check=True, timeout=600
        )
        server |= json.loads(process.communicate()[0])
    figures = json.loads(done.stdout)
    text = table(size, figures, server)
    print("\n" + text)
    if out := os.environ.get("AUTORESEARCH_BENCH_OUT"):
        Path(out).write_text(text + "\n")
    after = packed_bytes(fresh)
    assert (figures["records"], figures["blobs"], figures["equal"]) == (size["records"], size["scripts"], True)
    assert after["digest"] == size["digest"]
    assert figures["wire"] <= RATIO_MAX * (size["record_bytes"] + size["script_bytes"])
    assert figures["again"] <= EQUAL_BYTES_MAX
    assert RECORDS > 100_000 or figures["seconds"] <= SECONDS_MAX


if __name__ == "__main__":
    name, *paths = sys.argv[1:]
    if name == "fill":
        fill(Path(paths[0]))
    elif name == "serve":
        asyncio.run(serve(Path(paths[0]), Path(paths[1])))
    else:
        print(json.dumps(asyncio.run(catch_up(Path(paths[0]), Path(paths[1])))))
