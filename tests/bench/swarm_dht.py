"""The plain way to share records: each process one DHTNode of hivemind that stores and reads them; for the benchmark.

`swarm_dht.py SECONDS [ADDRESS…]` prints its addresses, then answers requests on standard input, one JSON list a line:
["store", key, subkey or null, value in base64] and ["await", key, subkey or null], which asks every so many SECONDS
until the value is there. Each answer is {"id", "at_s"} on the clock that all processes of a machine share. hivemind is
loaded without torch, which is in its favour; nothing else differs from how its documentation uses it.
"""

import asyncio
import base64
import json
import sys
import time
from typing import Any

from node.transport.torchless import load

TTL_S = 3_600.0
GIVEN_UP_S = 10.0


async def awaited(node: Any, key: str, subkey: str | None, every_s: float) -> None:
    """Ask until the value is there; a list of many entries has to be read anew each time."""
    end = time.monotonic() + GIVEN_UP_S
    while time.monotonic() < end:
        found = await node.get(key, latest=subkey is not None)
        if found is not None and (subkey is None or (isinstance(found.value, dict) and subkey in found.value)):
            return
        await asyncio.sleep(every_s)
    raise TimeoutError(f"{key} {subkey} is not there")


async def main(every_s: float, addresses: list[str]) -> None:
    library = load()
    node = await library.DHTNode.create(
        initial_peers=addresses, host_maddrs=["/ip4/127.0.0.1/tcp/0"], nat_port_map=False, auto_nat=False,
        use_relay=False, startup_timeout=60.0,
    )  # fmt: skip
    print(json.dumps([str(one) for one in await node.get_visible_maddrs()]), flush=True)
    reader = asyncio.StreamReader(limit=1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        what, key, subkey, *value = json.loads(line)
        if what == "store":
            data = base64.b64decode(value[0])
            while not await node.store(key, data, library.node_module.get_dht_time() + TTL_S, subkey=subkey):
                await asyncio.sleep(every_s)  # it is refused now and then; whoever publishes would try again
        else:
            try:
                await awaited(node, key, subkey, every_s)
            except TimeoutError:
                print(json.dumps({"key": key, "at_s": None}), flush=True)
                continue
        print(json.dumps({"key": key, "at_s": time.monotonic()}), flush=True)
    await node.shutdown()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2:]))
