"""Says what to install where the library of the light client is missing, before anything of it is imported.

Left out: everything else. It is apart because py-libp2p is no need of a node, so that most installations lack it.
"""

import importlib

from ensue.errors import UserError


def require() -> None:
    """Returns if py-libp2p can be imported; raises UserError that says why not and what to install."""
    try:
        importlib.import_module("trio")
        importlib.import_module("libp2p")
    except ImportError as missing:
        raise UserError(
            f"`watch` speaks with nodes through py-libp2p, which cannot be loaded here ({missing}): run "
            "`pip install 'autoresearch[light]'`, which needs a C compiler and the headers of libgmp and of Python."
        ) from missing
