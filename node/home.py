"""Where a node keeps its things: one folder with the key, the replica, the workspace, the data and the runs.

Leaves out what is inside the files. A folder per kind of thing under several platform roots was rejected: one folder
can be copied, backed up and thrown away as a whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import UserError

if TYPE_CHECKING:
    from ensue.store import Store

HOME_VARIABLE = "AUTORESEARCH_HOME"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one node; making the object touches nothing on disk."""

    path: Path

    @property
    def key(self) -> Path:
        """The Ed25519 key file, mode 0600."""
        return self.path / "node.key"

    @property
    def genesis(self) -> Path:
        """The signed file that names the network."""
        return self.path / "genesis.json"

    @property
    def database(self) -> Path:
        """The replica of the collective memory."""
        return self.path / "replica.sqlite3"

    @property
    def workspace(self) -> Path:
        """The git repository with every experiment's script."""
        return self.path / "workspace"

    @property
    def data(self) -> Path:
        """The prepared data of tracks; can be made anew."""
        return self.path / "data"

    @property
    def runs(self) -> Path:
        """One folder for each run in flight."""
        return self.path / "runs"

    @property
    def lock(self) -> Path:
        """The file that a running node holds locked."""
        return self.path / "node.lock"

    @property
    def settings(self) -> Path:
        """The owner's settings, TOML."""
        return self.path / "settings.toml"

    @property
    def hardware(self) -> Path:
        """What this machine was measured to be, JSON; can be made anew."""
        return self.path / "hardware.json"

    @property
    def founded(self) -> bool:
        """True where a node was founded or joined a network here."""
        return self.genesis.exists()

    def create(self) -> None:
        """Make the folder, readable by its owner alone; raise UserError where that cannot be done."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the home folder {self.path} cannot be made ({error.strerror}): set {HOME_VARIABLE} to one you own"
            ) from error


def default_home() -> Home:
    """Return the home of AUTORESEARCH_HOME, or the platform's own data folder."""
    named = os.environ.get(HOME_VARIABLE, "").strip()
    if named:
        return Home(Path(named).expanduser().absolute())
    import platformdirs

    return Home(Path(platformdirs.user_data_dir("autoresearch", appauthor=False)))


def open_replica(home: Home) -> Store:
    """Return the replica of the node in `home`; raise UserError where no node was founded yet."""
    if not home.founded:
        raise UserError(f"no node here yet ({home.path}): run `autoresearch join`, it founds one and starts research")
    from ensue.genesis import Genesis
    from ensue.people import Trust
    from ensue.store import Store

    genesis = Genesis.load(home.genesis)
    return Store(home.database, genesis.network_id, Trust.of(genesis))
