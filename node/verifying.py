"""The verifier inside a home: made when a network is founded, served while the node runs, asked without any port.

Its key, pepper, ledger, settings and letters lie in HOME/verifier. Left out: what it answers (verify.service).
Rejected: a verifier in every home, which nobody would trust: who joins others has theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import AutoresearchError
from ensue.genesis import Genesis
from ensue.identity import Identity
from node.home import Home
from node.lock import NodeLock
from node.registering import registered
from verify.key import KEY_NAME

if TYPE_CHECKING:
    import httpx

    from ensue.store import Store
    from verify.service import Service
    from verify.settings import Settings

FOLDER, LOCK_NAME = "verifier", "verifier.lock"
LISTENS_NOTE = "verifier listens"
"""Where the verifier of this home answers while the node runs, a URL."""
AUTO, OFF = "auto", "off"
LOOPBACK = "127.0.0.1:0"


def folder(home: Home) -> Path:
    """Return where a home's verifier keeps its things."""
    return home.path / FOLDER


def own(home: Home) -> str | None:
    """Return the peer id of the verifier in a home, None without one; raise BadKeyFile."""
    path = folder(home) / KEY_NAME
    return Identity.load(path).peer_id if path.exists() else None


def founded_with(home: Home) -> str:
    """Return the peer id of a new network's own verifier, whose key is made first if there is none."""
    folder(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Identity.load_or_create(folder(home) / KEY_NAME).peer_id


def opened(home: Home, store: Store, chosen: Settings) -> Service:
    """Return the service of the verifier in a home, whose key is made if there is none; close it after use."""
    from verify.service import Service

    name = Genesis.load(home.genesis).name
    return Service(folder(home), store, chosen, network_name=name, software=f"autoresearch {version('autoresearch')}")


def announce(service: Service, store: Store) -> bool:
    """Let a record say where the verifier is reached, unless the newest says so; return whether one was made."""
    chosen, verifier = service.settings, service.identity.peer_id
    before = store.people.announced(verifier)
    if not chosen.url or (
        before and (before.url, before.name, before.contact) == (chosen.url, chosen.name, chosen.contact)
    ):
        return False
    store.append(service.identity, "verifier", {"url": chosen.url, "name": chosen.name, "contact": chosen.contact})
    return True


@contextmanager
def running(home: Home, store: Store, chosen: Settings, listen: str) -> Iterator[tuple[Service, str]]:
    """Serve the verifier of a home while the context lasts; yield it, and the URL at which it listens.

    Raises UserError where it cannot listen, and whatever opening it raises.
    """
    from node import serving

    with ExitStack() as held:
        folder(home).mkdir(mode=0o700, parents=True, exist_ok=True)
        held.enter_context(NodeLock(folder(home) / LOCK_NAME))
        listening = held.enter_context(serving.bound(listen))
        url = serving.url_of(listening)
        service = opened(home, store, chosen.model_copy(update={"url": chosen.url or url}))
        held.callback(service.close)
        with serving.Serving(service, listening):
            if chosen.url:
                announce(service, store)
            store.local_set(LISTENS_NOTE, url, durable=False)
            try:
                yield service, url
            finally:
                store.local_set(LISTENS_NOTE, None, durable=False)


@contextmanager
def served(home: Home, store: Store, listen: str, note: Callable[[str], None]) -> Iterator[None]:
    """Serve the verifier of a home, if it has one, in the background while the context lasts.

    Nothing waits for it to start, and one that cannot be served is told of and keeps nobody from research.
    """
    if listen == OFF or own(home) is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_served, args=(home, store, listen, note, ended), name="verifying", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _served(home: Home, store: Store, listen: str, note: Callable[[str], None], ended: threading.Event) -> None:
    from verify.settings import load

    try:
        chosen = load(folder(home))
        told = {"listen", "url"} & chosen.model_fields_set
        at = (chosen.listen if told else LOOPBACK) if listen == AUTO else listen
        with running(home, store, chosen, at) as (service, _):
            registered(home, store, service.identity, ended.wait)
    except AutoresearchError as error:
        note(f"the verifier of this home is not served: {error}")


def in_process(home: Home, store: Store) -> httpx.AsyncClient:
    """Return a client that asks the verifier of a home in this process; closing it closes the verifier.

    Letters are handed over before the answer comes. Raises UserError where the home has no verifier, or a wrong one.
    """
    import httpx

    from node.serving import Application
    from verify.settings import load

    chosen = load(folder(home))
    url = chosen.url or store.local_get(LISTENS_NOTE) or ""
    service = opened(home, store, chosen.model_copy(update={"url": url}))
    application = Application(service)

    class Inside(httpx.ASGITransport):
        async def aclose(self) -> None:
            application.close()
            service.close()

    return httpx.AsyncClient(transport=Inside(app=application), base_url="http://verifier.inside")
