"""Fetches what a run printed from another node: outputs stay where they were made until somebody asks for one.

Left out: which record names which output (cli). What comes is compared with its hash, kept, and then served here too.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from ensue.store import Store
from node.swarm.inquiry import OTHER_ADDRESSES_MAX, OTHERS_MAX, NothingThere, Place, inquire
from node.swarm.peerbook import PeerBook
from node.sync.ask import Asker
from node.sync.pull import pull_blobs
from node.sync.replica import Replica, inline


def fetch(store: Store, sha256: str, own: str, author: str) -> None:
    """Takes in a blob by its hash: of its author's node if that is known and answers, else of another one.

    `own` is this node's peer id. Raises NothingThere where nobody who answers has it, TransportError, NetworkError and
    UserError, each a sentence.
    """
    book = PeerBook.load(store, own)
    peers = book.candidates(OTHERS_MAX, time.time_ns() // 1_000_000)
    known = book.get(author)
    first = [known] if known is not None else []
    addresses = [address for peer in [*first, *peers] for address in peer.addresses[:OTHER_ADDRESSES_MAX]]
    if not addresses:
        raise NothingThere("no other node is known here to ask: `autoresearch join` finds some")
    place = Place(tuple(dict.fromkeys(addresses)), store.network)
    with tempfile.TemporaryDirectory(prefix="autoresearch-output-") as folder:
        asyncio.run(_fetch(store, sha256, place, Path(folder)))


async def _fetch(store: Store, sha256: str, place: Place, folder: Path) -> None:
    replica = Replica(store, inline)

    async def read(asker: Asker, network: str) -> bool:
        report = await pull_blobs(asker, replica, asker.budget, [bytes.fromhex(sha256)])
        if report.problem is not None:
            raise report.problem
        if not store.has_blob(sha256):
            raise NothingThere("the nodes that answer do not have it: try again when its author's node is there")
        return True

    await inquire(place, folder, read)
