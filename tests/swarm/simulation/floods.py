"""People who are verified, and very many fresh keys that sign true records: what the ring of unverified keys is for.

Every flooder hands its records to a node it dials, tells everybody of them, and answers whoever asks. Left out: liars
(liars, crowd), since a flood of true records breaks no rule.
"""

import asyncio
import hashlib
from pathlib import Path
from random import Random

from ensue import statements
from ensue.errors import NetworkError
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record, sign
from node.sync import news
from node.sync import wire as protocol
from node.sync.replica import Off, inline
from node.transport.ports import Stream, TransportError
from simulation import words
from simulation.crowd import TOPIC
from simulation.driver import Swarming
from simulation.node import SimNode
from simulation.transport import SimTransport
from simulation.wire import Wire

VERIFIER = words.identity("verifier")
TRUST = Trust(words.NETWORK, words.identity("founder").peer_id, (VERIFIER.peer_id,), 1)
FOR_EVER_MS = 2**45
NOISE_BYTES = 4_000


def account(of: Identity) -> Identity:
    """Returns the account of the person who runs a node."""
    return words.identity("account", of.peer_id)


def delegation(of: Identity) -> dict[str, object]:
    """Returns the body with which a node says whose it is."""
    return statements.delegation(account(of), words.NETWORK, of.peer_id).model_dump(mode="json")


def credentials(nodes: list[Identity]) -> list[Record]:
    """Returns the log of a verifier that vouches for the people of some nodes."""
    made: list[Record] = []
    for seq, node in enumerate(nodes, 1):
        body = {
            "account": account(node).peer_id,
            "address": words.sha(node.peer_id),
            "expires_ms": FOR_EVER_MS,
            "nodes": [node.peer_id],
            "request": words.sha(f"request {seq}"),
            "supersedes": None,
        }
        prev = made[-1].id if made else None
        made.append(
            sign(VERIFIER, network=words.NETWORK, seq=seq, prev=prev, time_ms=seq, kind="credential", body=body)
        )
    return made


def participants(wire: Wire, count: int, folder: Path, unverified_bytes: int, off: Off = inline) -> list[SimNode]:
    """Returns nodes that know each other; nobody has vouched for them yet."""
    nodes: list[SimNode] = []
    homes: list[str] = []
    for number in range(count):
        drive = Swarming(("participant", number), homes, off, unverified_bytes)
        who = words.identity("participant", number)
        nodes.append(SimNode(wire, who, f"/ip4/{11 + number}.1.0.1/tcp/4001", folder, drive, TRUST))
    homes += [node.full_address for node in nodes]
    return nodes


class Flooder:
    """A fresh key with some true records, each of some kilobytes that nothing makes smaller."""

    def __init__(self, wire: Wire, number: int, records: int) -> None:
        self.identity = words.identity("flooder", number)
        self.raws: list[bytes] = []
        prev = None
        for seq in range(1, records + 1):
            noise = hashlib.shake_128(f"{number} {seq}".encode()).hexdigest(NOISE_BYTES // 2)
            fields = {"network": words.NETWORK, "seq": seq, "prev": prev, "time_ms": seq}
            record = sign(
                self.identity,
                **fields,
                kind="insight",
                body=words.bodies.insight(noise[:2_000], scope=noise[:100], more=noise),
            )
            self.raws.append(record.raw)
            prev = record.id
        self.bytes = sum(map(len, self.raws))
        address = f"/ip4/{150 + number % 20}.{number // 250}.1.{number % 250 + 1}/tcp/4001"
        self.transport = SimTransport(wire, self.identity.peer_id, address)
        self.transport.passes_on = False
        self._chance = Random(f"flooder {number}")

    async def start(self, victims: list[str], for_s: float) -> None:
        """Begins at a moment of its own within some seconds."""
        await self.transport.serve(protocol.PROTOCOL, self._answer)
        await self.transport.subscribe(TOPIC, lambda *_: None)
        self.transport.own(self._press(victims, for_s), "press")

    async def _press(self, victims: list[str], for_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, for_s))
        try:
            peer = await self.transport.connect(self._chance.choice(victims))
            heads = [news.Head(self.identity.public_key, len(self.raws))]
            await self.transport.publish(TOPIC, news.encode(news.News(heads)))
            stream = await self.transport.open(peer, protocol.PROTOCOL)
            await stream.send(protocol.frame(protocol.Hello(protocol.VERSION, bytes.fromhex(words.NETWORK))))
            for raw in self.raws:
                await stream.send(protocol.frame(protocol.Give(protocol.pack_records([raw]))))
                await protocol.receive_answer(stream)
        except (TransportError, NetworkError):
            return

    async def _answer(self, stream: Stream) -> None:
        while True:
            request, _ = await protocol.receive_request(stream)
            if isinstance(request, protocol.Hello):
                answer = protocol.Welcome(protocol.VERSION, "", 0, bytes(32), 0, bytes(32))
            else:
                answer = protocol.Records(protocol.pack_records(self.raws), 512)
            await stream.send(protocol.frame(answer))
