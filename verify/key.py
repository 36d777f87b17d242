"""The key of a verifier: made together with the mark of its log, so that none is ever used after another one's.

Left out: the pepper (pepper), which is a secret of another kind.
"""

import os
from contextlib import suppress
from pathlib import Path

from ensue.errors import BadKeyFile
from ensue.identity import Identity, sync_folder
from ensue.store import Store, ownlog

KEY_NAME = "verifier.key"


def key_of(folder: Path, store: Store) -> Identity:
    """Return the verifier's key, which is made first if there is none, with a log that may begin in this replica.

    Raises BadKeyFile, and LogInDoubt where the key came from elsewhere and may have signed what is not known here.
    """
    path = folder / KEY_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = path.with_name(f".{path.name}.new")
            identity = Identity.load_or_create(draft)
            ownlog.begin(store.path, store.network, identity.peer_id)  # first: a key without its mark is a restored one
            with suppress(FileExistsError, FileNotFoundError):  # another process was faster
                os.link(draft, path)
            draft.unlink(missing_ok=True)
            sync_folder(folder)
    except OSError as error:
        raise BadKeyFile(f"No key can be made at {path} ({error.strerror}): check the folder and the disk.") from None
    identity = Identity.load(path)
    store.own_log.require(identity.peer_id)
    return identity
