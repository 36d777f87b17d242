"""What is said of a finished run: its log, cut to size, and in words why it was kept or not."""

from pathlib import Path

from ensue.store import ResultRow
from node.journal import Entry
from verify.evidence import Verdict


def head_and_tail(path: Path, bytes_max: int) -> bytes:
    """Return a log of at most `bytes_max` bytes: whole, or its beginning and its end with a line between them."""
    try:
        log = path.read_bytes()
    except FileNotFoundError:
        return b""
    if len(log) <= bytes_max:
        return log
    left_out = f"\n… {len(log) - bytes_max} bytes left out …\n".encode()
    kept = max(0, bytes_max - len(left_out) - 8)
    return log[: kept // 2] + left_out + log[len(log) - kept // 2 :]


def verdict_words(row: ResultRow, verdict: Verdict | None, entry: Entry) -> str:
    """Return in words why a result was kept or not, and how it met its expectation."""
    if verdict is None:
        return "no value"
    if verdict.gain is None:
        words = "the first value here"
    elif verdict.kept:
        words = f"better by {verdict.gain:.4f}, more than the {verdict.threshold:.4f} that noise explains"
    elif verdict.gain > 0:
        words = f"better by {verdict.gain:.4f}, which noise explains (up to {verdict.threshold:.4f})"
    else:
        words = f"worse by {-verdict.gain:.4f}"
    if entry.mean is not None and row.value is not None:
        words += f"; expected {entry.mean:.4f} ± {entry.sd or 0.0:.4f}"
    return words
