"""Asks the other nodes how far one's own log went, where this home cannot know: a restored back-up, a key alone.

What they hold of it comes here first. Numbers that were signed and sent to somebody who is away now would still be
given out twice, so the log goes on well beyond the last number that anybody knows; a log may have gaps.
Left out: doubting (Store.own_log). Rejected: going on at the next number, as one record that reached a single node is
enough to freeze its author for good.
"""

import time
from collections.abc import Callable

from ensue.identity import Identity
from node.home import Home, open_replica
from node.swarm.child import SwarmProcess
from node.swarm.invite import Invite
from node.swarm.peerbook import PeerBook

ASKED_WITHIN_S = 60.0
OTHERS_TOO_S = 3.0
"""How long others may answer after the first one has."""
NUMBERS_LEFT_OUT = 1_024
"""Numbers that may have been given out and are known to nobody who answered; most of a day's at two minutes each."""


def ask_for_own_log(home: Home, invite: Invite | None, note: Callable[[str], None]) -> bool:
    """Return whether another node answered, so that the own log goes on after all that is known of it anywhere."""
    own = Identity.load(home.key).peer_id
    with open_replica(home) as store:
        book = PeerBook.load(store, own)
        if invite is not None:
            book.add(invite.addresses, "invite")
            book.save(store)
        if len(book) == 0:
            return False
        note("this home was restored: asking the other nodes how far its own log went")
        with SwarmProcess(home, note) as swarm:
            if not swarm.wait_for_memory(store, ASKED_WITHIN_S):
                return False
            time.sleep(OTHERS_TOO_S)
        end = store.own_log.end(own)
        # A record that is not its author's first names one before it; where none is known, the network stands for it.
        store.own_log.confirm(own, end.seq + NUMBERS_LEFT_OUT, end.id or store.network)
        note(f"the other nodes know {end.seq} records of this one; {NUMBERS_LEFT_OUT} numbers are left out after them")
        return True
