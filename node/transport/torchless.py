"""Loads the parts of hivemind that a node needs, its binding to p2pd and its DHT, without torch.

`import hivemind` imports torch, averaging and mixtures of experts: 280 MiB of memory and five seconds. The packages
`hivemind`, `hivemind.utils` and `hivemind.dht` are entered in `sys.modules` as bare folders instead, so that their
own `__init__` never runs and only what is asked for is loaded (38 MiB, half a second). A process that needs all of
hivemind (averaging) must not call `load`. Rejected: a copy of those parts in this repository, which nobody would keep
up with theirs.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from node.transport.faults import LibraryMismatch

VERSION_FIRST = (1, 1, 12)
VERSION_END = (1, 2)
"""hivemind's versions that this was written for: from the first up to, and without, the end."""

_BARE = ("hivemind", "hivemind.utils", "hivemind.dht")
_REEXPORTED = ("asyncio", "logging", "serializer", "timed_storage", "networking", "nested")  # by hivemind.utils


class Library(NamedTuple):
    """What is used of hivemind; it has no type information of its own."""

    daemon: Path
    messages: types.ModuleType
    DecodeError: type[Exception]
    P2P: Any
    PeerID: Any
    Multiaddr: Any
    DHTNode: Any
    DHTProtocol: Any
    DHTLocalStorage: Any
    DictionaryDHTValue: Any
    ValueWithExpiration: Any
    node_module: types.ModuleType


@functools.cache
def load() -> Library:
    """Returns hivemind's parts; raises LibraryMismatch where it is missing, of another version, or already loaded."""
    version = _version()
    whole = sys.modules.get("hivemind")
    if whole is not None and not getattr(whole, "__autoresearch_bare__", False):
        raise LibraryMismatch("All of hivemind is loaded in this process already; start the swarm in one of its own.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # protobuf's and theirs, while they are imported
            return _import()
    except (ImportError, AttributeError, TypeError) as error:  # TypeError: protobuf refuses a second `crypto.pb`
        raise LibraryMismatch(
            f"hivemind {version} cannot be loaded ({error}); run `make setup`, and import no libp2p in this process."
        ) from error


def _version() -> str:
    try:
        version = importlib.metadata.version("hivemind")
    except importlib.metadata.PackageNotFoundError:
        raise LibraryMismatch("hivemind is not installed; run `make setup`.") from None
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if not VERSION_FIRST <= numbers < VERSION_END:
        first, end = (".".join(map(str, each)) for each in (VERSION_FIRST, VERSION_END))
        raise LibraryMismatch(
            f"hivemind {version} is installed, and this program needs {first} or later below {end}: run `make setup`."
        )
    return version


def _bare(name: str) -> types.ModuleType:
    """Enters a package in sys.modules as a folder whose own `__init__` does not run."""
    parent, _, last = name.rpartition(".")
    if parent:
        places = [f"{place}/{last}" for place in sys.modules[parent].__path__]
    else:
        found = importlib.util.find_spec(name)
        places = list(found.submodule_search_locations or ()) if found else []
    module = types.ModuleType(name)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None, is_package=True)
    module.__path__ = places
    module.__autoresearch_bare__ = True  # type: ignore[attr-defined]
    sys.modules[name] = module
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def _import() -> Library:
    bare = {name: _bare(name) for name in _BARE if name not in sys.modules}
    for name in _REEXPORTED:
        module = importlib.import_module(f"hivemind.utils.{name}")
        if "hivemind.utils" in bare:
            public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
            vars(bare["hivemind.utils"]).update(public)
    importlib.import_module("hivemind.utils.logging").use_hivemind_log_handler("nowhere")
    p2p = importlib.import_module("hivemind.p2p")
    node = importlib.import_module("hivemind.dht.node")
    storage = importlib.import_module("hivemind.dht.storage")
    return Library(
        daemon=Path(str(importlib.import_module("hivemind.hivemind_cli").__file__)).with_name("p2pd"),
        messages=importlib.import_module("hivemind.proto.p2pd_pb2"),
        DecodeError=importlib.import_module("google.protobuf.message").DecodeError,
        P2P=p2p.P2P,
        PeerID=p2p.PeerID,
        Multiaddr=importlib.import_module("hivemind.utils.multiaddr").Multiaddr,
        DHTNode=node.DHTNode,
        DHTProtocol=importlib.import_module("hivemind.dht.protocol").DHTProtocol,
        DHTLocalStorage=storage.DHTLocalStorage,
        DictionaryDHTValue=storage.DictionaryDHTValue,
        ValueWithExpiration=importlib.import_module("hivemind.utils.timed_storage").ValueWithExpiration,
        node_module=node,
    )
