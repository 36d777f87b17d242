"""How often somebody may ask: so many requests in a sliding window for each address on the network, account and domain.

Everything here is in memory and bounded; what must outlast a restart stands in the ledger. Left out: what is counted
for a mailbox (issuing). Rejected: the storage that comes with `limits`, which grows with every key it sees and walks
through all of them a hundred times a second.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from limits import RateLimitItem, RateLimitItemPerHour
from limits.storage import Storage
from limits.storage.base import SlidingWindowCounterSupport, TimestampedSlidingWindow
from limits.strategies import SlidingWindowCounterRateLimiter

KEYS_MAX = 20_000
"""Keys that one sort of limit counts; the one that was not seen for longest is forgotten first."""
_V6_NEIGHBOURS = 48
_V6_HOME = 64
_NEIGHBOURS_FACTOR = 8

Clock = Callable[[], float]


class BoundedStorage(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """Counts in memory for `limits`, for at most KEYS_MAX keys; of two windows for each key, as the strategy asks."""

    def __init__(self, keys_max: int = KEYS_MAX, clock: Clock = time.time) -> None:
        super().__init__()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._keys_max = keys_max
        self._clock = clock

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def base_exceptions(self) -> type[Exception]:
        """The error that storages of others raise; this one raises none."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count a key up and return the count."""
        count = self.get(key) + amount
        ends = self._counts[key][1] if key in self._counts else self._clock() + expiry
        self._counts[key] = count, ends
        self._counts.move_to_end(key)
        while len(self._counts) > self._keys_max:
            self._counts.popitem(last=False)
        return count

    def get(self, key: str) -> int:
        """Return the count of a key."""
        count, ends = self._counts.get(key, (0, 0.0))
        if ends <= self._clock():
            self._counts.pop(key, None)
            return 0
        return count

    def get_expiry(self, key: str) -> float:
        """Return when a key is forgotten."""
        return self._counts.get(key, (0, self._clock()))[1]

    def check(self) -> bool:
        """Return that it works."""
        return True

    def reset(self) -> int:
        """Forget everything; return how many keys there were."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget a key."""
        self._counts.pop(key, None)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count a key up unless its two windows, the older one by the share that is left of it, are full."""
        before, left_s, current, _ = self.get_sliding_window(key, expiry)
        if int(before * left_s / expiry + current) + amount > limit:
            return False
        self.incr(self.sliding_window_keys(key, expiry, self._clock())[1], 2 * expiry, amount)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the count of the window before and the seconds of it that still count, and the same of this window."""
        now = self._clock()
        before, current = self.sliding_window_keys(key, expiry, now)
        left_s = expiry - now % expiry
        return self.get(before), left_s, self.get(current), left_s + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget both windows of a key."""
        for window in self.sliding_window_keys(key, expiry, self._clock()):
            self.clear(window)


class Rate:
    """So many requests in a window for each key; for several threads."""

    def __init__(self, item: RateLimitItem, *, clock: Clock = time.time, keys_max: int = KEYS_MAX) -> None:
        self._item = item
        self._storage = BoundedStorage(keys_max, clock)
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._storage)

    def allows(self, key: str) -> bool:
        """Count a request; return False, and do not count it, where its key has had as many as it may."""
        with self._lock:
            return self._limiter.hit(self._item, key)


def an_hour(count: int, clock: Clock = time.time) -> Rate:
    """Return a limit of so many an hour."""
    return Rate(RateLimitItemPerHour(count), clock=clock)


class ByAddress:
    """A limit for each address on the network: of IPv6 for the /64 of a household, and eight times that for its /48."""

    def __init__(self, count: int, clock: Clock = time.time) -> None:
        self._near = an_hour(count, clock)
        self._wide = an_hour(count * _NEIGHBOURS_FACTOR, clock)

    def allows(self, address: str) -> bool:
        """Count a request of an address; what is no address counts as one key."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return self._near.allows("other")
        if isinstance(found, ipaddress.IPv6Address):
            if found.ipv4_mapped is None:
                home, wide = (
                    ipaddress.ip_network((int(found), bits), strict=False) for bits in (_V6_HOME, _V6_NEIGHBOURS)
                )
                return self._wide.allows(str(wide)) and self._near.allows(str(home))
            return self._near.allows(str(found.ipv4_mapped))
        return self._near.allows(str(found))
