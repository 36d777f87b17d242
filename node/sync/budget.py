"""What each peer may cost: bytes that it is sent, and faults until it is cut off for a while.

Every peer has an account that fills up with time. Strangers draw on one common account beside their own, so that a
thousand fresh keys cost no more than that one; who has sent records that were new and true is no stranger. Faults take
away standing, which comes back slowly; at zero the peer is cut off, each time for longer. The clock is passed in. Left
out: which peer to ask next (the swarm). Rejected: proofs of work, which hurt volunteers more than those who flood.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MIB = 1024 * 1024
STANDING_MAX = 100.0
"""Points of a peer that nothing is held against."""
FAULTS = {
    "refused record": 10.0,
    "record known already": 0.02,
    "not kept": 25.0,
    "garbage": 34.0,
    "slow": 10.0,
    "too much": 5.0,
}
"""Points that a fault takes away; any other takes as much as garbage."""
RECOVERY_S = 30.0
"""Seconds in which a point comes back."""
CUT_OFF_S = 60.0
CUT_OFF_S_MAX = 3_600.0
"""Seconds of the longest cut-off; each is twice as long as the one before."""
PEERS_REMEMBERED_MAX = 10_000
"""Accounts kept; beyond it those go first that were used longest ago and are not cut off."""
STREAMS_MAX = 4
"""Streams of one peer that are answered at once."""
REQUEST_COST_BYTES = 512
"""What a request costs beside the bytes of its answer."""
WAIT_S_MAX = 5.0
"""An answer is held back for at most so many seconds; a peer that would have to wait longer is told to come later."""
CHANGES_MAX, CHANGES_EACH_S = 4.0, 1 / 30
"""How often a peer may have less than it said shortly before, since it forgot strangers: at once, and a second."""
GOOD_RECORDS = 50
"""New records from a peer, after which it is no stranger."""
FLOOD_PEERS, FLOOD_S = 256, 60.0
"""So many new peers in such a time are a flood: strangers may give records then, and come again for more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast accounts fill up, and how much they hold."""

    peer_bytes: float = 256 * MIB
    peer_bytes_s: float = 4 * MIB
    strangers_bytes: float = 512 * MIB
    strangers_bytes_s: float = 8 * MIB


class Account:
    """An amount that fills up with time; it may be overdrawn by one answer."""

    def __init__(self, most: float, per_s: float, clock: Callable[[], float]) -> None:
        self._most, self._per_s, self._clock = most, per_s, clock
        self._amount, self._at_s = most, clock()

    def amount(self) -> float:
        """Returns what is there now."""
        now_s = self._clock()
        self._amount = min(self._most, self._amount + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._amount

    def take(self, amount: float) -> None:
        """Takes something away."""
        self._amount = self.amount() - amount

    def wait_s(self) -> float:
        """Returns after how many seconds there is something again."""
        return max(0.0, -self.amount()) / self._per_s


class Budget:
    """What one peer may cost."""

    def __init__(self, budgets: "Budgets") -> None:
        self._budgets = budgets
        limits, clock = budgets.limits, budgets.clock
        self._bytes = Account(limits.peer_bytes, limits.peer_bytes_s, clock)
        self._standing = Account(STANDING_MAX, 1 / RECOVERY_S, clock)
        self._changes = Account(CHANGES_MAX, CHANGES_EACH_S, clock)
        self._until_s = 0.0
        self._cut_offs = 0
        self.useful = 0
        """Records from this peer that were new and true."""
        self.streams = 0
        """Streams of this peer that are answered now."""
        self.chosen = False
        """Whether this node dialed the peer itself."""

    @property
    def flooding(self) -> bool:
        """Whether this may be one of very many fresh keys, which are told nothing larger than what they say."""
        return self.useful < GOOD_RECORDS and not self.chosen and self._budgets.flooded

    @property
    def cut_off(self) -> bool:
        """Whether this peer is neither asked nor answered now."""
        return self.cut_off_s > 0

    @property
    def cut_off_s(self) -> float:
        """For how many seconds it still is."""
        return max(0.0, self._until_s - self._budgets.clock())

    @property
    def standing(self) -> float:
        """Points left, up to STANDING_MAX."""
        return self._standing.amount()

    def fault(self, code: str, times: float = 1.0) -> None:
        """Notes something that no honest peer does, by a name in FAULTS; at no points left the peer is cut off."""
        self._standing.take(FAULTS.get(code, FAULTS["garbage"]) * times)
        if self._standing.amount() <= 0 and not self.cut_off:
            self._until_s = self._budgets.clock() + min(CUT_OFF_S_MAX, CUT_OFF_S * 2.0**self._cut_offs)
            self._cut_offs = min(self._cut_offs + 1, 16)
            self._standing.take(self._standing.amount() - STANDING_MAX / 2)  # half of it is there again afterwards

    def may_change(self) -> bool:
        """Notes that a peer has less than it said, and now says so; returns whether that is no fault: it is rare."""
        if self._changes.amount() < 1:
            return False
        self._changes.take(1)
        return True

    def earned(self, records: int) -> None:
        """Notes records that were new and true."""
        self.useful += records

    async def room(self) -> float:
        """Waits until an answer may be made and returns 0, or returns how many seconds are too long to wait."""
        accounts = [self._bytes] if self.useful >= GOOD_RECORDS else [self._bytes, self._budgets.strangers]
        wait_s = max(account.wait_s() for account in accounts)
        if wait_s > WAIT_S_MAX:
            return wait_s
        if wait_s:
            await self._budgets.sleep(wait_s)
        return 0.0

    def sent(self, count: int) -> None:
        """Notes the bytes of an answer, or of a part of one."""
        self._bytes.take(count)
        if self.useful < GOOD_RECORDS:
            self._budgets.strangers.take(count)


class Budgets:
    """The budgets of all peers, by peer id."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        limits: Limits | None = None,
    ) -> None:
        self.clock, self.sleep, self.limits = clock, sleep, limits or Limits()
        self.strangers = Account(self.limits.strangers_bytes, self.limits.strangers_bytes_s, clock)
        self._peers: OrderedDict[str, Budget] = OrderedDict()
        self._fresh_s: deque[float] = deque(maxlen=FLOOD_PEERS)

    @property
    def flooded(self) -> bool:
        """Whether there were FLOOD_PEERS new peers within the last FLOOD_S seconds."""
        return len(self._fresh_s) == FLOOD_PEERS and self.clock() - self._fresh_s[0] < FLOOD_S

    def of(self, peer: str) -> Budget:
        """Returns the budget of a peer."""
        found = self._peers.get(peer)
        if found is None:
            found = self._peers[peer] = Budget(self)
            self._fresh_s.append(self.clock())
            self._make_room()
        self._peers.move_to_end(peer)
        return found

    def _make_room(self) -> None:
        if len(self._peers) > PEERS_REMEMBERED_MAX:
            idle = (peer for peer, budget in self._peers.items() if not (budget.cut_off or budget.streams))
            self._peers.pop(next(idle, next(iter(self._peers))))
