"""hivemind's parts load without torch, in little memory, and only in a version that fits."""

import subprocess
import sys

import pytest
from transport_peers import key

PYTHON_MIB_MAX = 90

WHOLE = """
import asyncio, re, sys
from pathlib import Path
from ensue.identity import Identity
from node.transport.daemon import P2pdTransport
from node.transport.index import Index
async def main():
    path = sys.argv[1]
    node = await P2pdTransport.start(path, listen=["/ip4/127.0.0.1/tcp/0"], nat_port_map=False, auto_nat=False)
    index = await Index.start(node, Identity.load(path), "ab" * 32)
    await index.announce(await node.addresses(), version="0")
    def mib(name, process):  # not ru_maxrss, which a child inherits from who started it
        return int(re.search(name + r":\\s+(\\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024
    print(mib("VmHWM", "self"), mib("VmRSS", node.process_id))
    await index.close()
    await node.close()
asyncio.run(main())
print(sorted({"torch", "numpy", "pydantic", "libp2p"} & {name.partition(".")[0] for name in sys.modules}))
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )


def test_transport_and_index_need_no_torch_and_little_memory(tmp_path):
    done = run(WHOLE, str(key(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")
    figures, modules = done.stdout.splitlines()
    python_mib, p2pd_mib = map(float, figures.split())
    print(f"memory: Python {python_mib:.0f} MiB, p2pd {p2pd_mib:.0f} MiB")
    assert modules == "[]"
    assert python_mib < PYTHON_MIB_MAX


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("import importlib.metadata as m; m.version = lambda name: '1.2.0'", "needs 1.1.12 or later below 1.2: run"),
        ("import importlib.metadata as m; m.version = lambda name: '1.1.3'", "hivemind 1.1.3 is installed, and"),
        ("import sys, types; sys.modules['hivemind'] = types.ModuleType('hivemind')", "All of hivemind is loaded"),
        (
            "import sys; sys.modules['hivemind.p2p'] = None",
            "cannot be loaded .*; run `make setup`, and import no libp2p",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(before, words):
    code = f"{before}\nfrom node.transport.torchless import load\ntry: load()\nexcept Exception as e: print(type(e), e)"
    done = run(code)
    assert done.stderr == ""
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(done.stdout)
    assert "LibraryMismatch" in done.stdout
    assert len(done.stdout.splitlines()) == 1
