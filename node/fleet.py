"""The loops of one start: one for each device, all under one identity and on one memory.

A single device's loop runs in the thread that calls. Of several each has a thread, since a sandbox dies with the thread
that started it, while the calling thread waits for signals. What stops one device, a driver's fault say, stops no other
one. Left out: the loop itself (agent). Rejected: a process for each device; the loops mostly wait, and a process more
costs 80 MiB.
"""

import threading
from collections.abc import Callable, Sequence

from ensue.errors import AutoresearchError
from experiments.sandbox import remove_tree
from node.agent import Agent
from node.control import Control

LOOK_S = 0.2


def go(agents: Sequence[Agent], control: Control, note: Callable[[str], None]) -> None:
    """Let every device research until stopped, or until their quota is reached; raise what ended the first that failed.

    What earlier starts left behind is brought to its end before, one device after the other.
    """
    for agent in agents:
        agent.recover()
    if len(agents) == 1:
        agents[0].run()
        return
    _clear_others(agents)
    failed: list[BaseException] = []

    def work(agent: Agent) -> None:
        try:
            agent.run()
        except AutoresearchError as error:
            failed.append(error)
            note(f"{agent.bench.hardware.device} has stopped: {error}")
        except BaseException as error:  # a fault of ours: nothing goes on beside it
            failed.append(error)
            control.end()
            raise

    threads = [threading.Thread(target=work, args=[agent], name=agent.bench.hardware.device) for agent in agents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(LOOK_S)
    if failed:
        raise failed[0]


def _clear_others(agents: Sequence[Agent]) -> None:
    """Delete what starts with another choice of devices left; each loop clears its own folder."""
    own = {agent.bench.runs for agent in agents}
    for folder in {runs.parent for runs in own}:
        for left in folder.iterdir() if folder.is_dir() else ():
            if left not in own:
                remove_tree(left)
