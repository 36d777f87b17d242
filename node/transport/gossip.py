"""GossipSub through p2pd's control connection: small messages to all who subscribed to a topic.

p2pd checks who published (its messages are signed with the key of the peer id), forwards, and drops repetitions;
nothing of ours runs before it forwards. Messages are hints: what matters is signed inside and checked by the listener.
"""

import asyncio
import logging
from typing import Any

from node.transport.control import Control, hang_up
from node.transport.faults import DaemonLost, MessageTooLarge
from node.transport.ports import Listener, TransportError

GOSSIP_BYTES_MAX = 65_536
"""Bytes of one gossiped message, sent or heard; p2pd keeps messages above 1 MiB to itself in silence."""
LISTENERS_MAX = 64
"""Listeners of all topics together."""
RESUBSCRIBE_S = 1.0
"""How long after a broken subscription it is made again."""

logger = logging.getLogger(__name__)


class Gossip:
    """Publishes, and keeps one subscription a topic alive; survives a restart of p2pd."""

    def __init__(self, peer_id: str) -> None:
        self._peer_id = peer_id
        self._listeners: dict[str, list[Listener]] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._control: Control | None = None

    async def attach(self, control: Control) -> None:
        """Begins to work with a p2pd that has just started, and subscribes to every topic again."""
        await self.detach()
        self._control = control
        for topic in self._listeners:
            await self._read(topic)

    async def detach(self) -> None:
        """Stops listening; the listeners are kept."""
        self._control = None
        tasks = list(self._reading.values())
        self._reading.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossips a message; raises MessageTooLarge, DaemonLost."""
        if len(data) > GOSSIP_BYTES_MAX:
            raise MessageTooLarge(
                f"A message of {len(data):,} bytes cannot be gossiped; send at most {GOSSIP_BYTES_MAX:,} bytes."
            )
        control = self._running()
        await control.ask(**self._request(control, "PUBLISH", topic, data))

    async def subscribe(self, topic: str, listener: Listener) -> None:
        """Calls `listener` with publisher and message for each message of others; it must not block."""
        if sum(map(len, self._listeners.values())) >= LISTENERS_MAX:
            raise TransportError(f"{LISTENERS_MAX} listeners are too many; subscribe once and share.")
        self._listeners.setdefault(topic, []).append(listener)
        if topic not in self._reading and self._control is not None:
            await self._read(topic)

    async def neighbours(self, topic: str) -> list[str]:
        """Returns the peer ids of connected peers that subscribed to a topic."""
        control = self._running()
        answer = await control.ask(**self._request(control, "LIST_PEERS", topic))
        return [control.peer_text(each) for each in answer.pubsub.peerIDs]

    def _running(self) -> Control:
        if self._control is None:
            raise DaemonLost("The network daemon is being restarted; try again in a moment.")
        return self._control

    @staticmethod
    def _request(control: Control, kind: str, topic: str, data: bytes | None = None) -> dict[str, Any]:
        request = control.messages.PSRequest(type=getattr(control.messages.PSRequest, kind), topic=topic, data=data)
        return {"type": control.messages.Request.PUBSUB, "pubsub": request}

    async def _read(self, topic: str) -> None:
        """Starts reading a topic; returns when p2pd has confirmed, or is found to be gone."""
        confirmed = asyncio.Event()
        task = asyncio.create_task(self._keep_reading(self._running(), topic, confirmed), name=f"gossip {topic}")
        self._reading[topic] = task
        await confirmed.wait()

    async def _keep_reading(self, control: Control, topic: str, confirmed: asyncio.Event) -> None:
        while True:
            try:
                _, reader, writer = await control.begin(**self._request(control, "SUBSCRIBE", topic))
                try:
                    confirmed.set()
                    while True:
                        self._hear(control, topic, await control.read(reader, control.messages.PSMessage))
                finally:
                    await hang_up(writer)
            except DaemonLost:
                return  # the restart attaches again
            except (TransportError, OSError, EOFError) as error:
                logger.debug("the subscription to %s ended: %s", topic, error)
            finally:
                confirmed.set()
            await asyncio.sleep(RESUBSCRIBE_S)

    def _hear(self, control: Control, topic: str, message: Any) -> None:
        publisher = control.peer_text(getattr(message, "from"))
        if publisher == self._peer_id or len(message.data) > GOSSIP_BYTES_MAX:
            return
        for listener in self._listeners[topic]:
            try:
                listener(publisher, message.data)
            except Exception:  # one listener's fault must not silence the topic
                logger.exception("a listener of %s failed", topic)
