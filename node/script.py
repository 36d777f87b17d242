"""Whether a file may be an experiment at all: size, text, syntax, and the function that the scorer calls.

Nothing of the script is executed here. What it does when it runs is the sandbox's business.
"""

from __future__ import annotations

import ast
from pathlib import Path

from ensue.errors import BadScript
from experiments.harness import names_load_model

ENTRY = "load_model"


def read(path: Path, bytes_max: int) -> str:
    """Return the text of a script that could be run; raise BadScript naming what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise BadScript(f"{path} cannot be read ({error.strerror}): name a train.py") from error
    if len(data) > bytes_max:
        raise BadScript(f"{path} is larger than {bytes_max} bytes, which is all a script may have: shorten it")
    return checked(data, str(path))


def checked(data: bytes, name: str) -> str:
    """Return the text of a script's bytes after every check; raise BadScript naming line and reason."""
    try:
        source = data.decode("utf-8")
        tree = ast.parse(source)
        compile(source, name, "exec", dont_inherit=True)
    except UnicodeDecodeError as error:
        raise BadScript(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except SyntaxError as error:
        where = "" if error.lineno is None else f"line {error.lineno}: "
        raise BadScript(f"{name} does not compile ({where}{error.msg}): mend it and try again") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadScript(
            f"{name} does not compile ({str(error) or 'nested too deeply'}): mend it and try again"
        ) from error
    if not names_load_model(tree):
        raise BadScript(f"{name} has no function {ENTRY}(checkpoint, device): the scorer calls it to measure the model")
    return source
