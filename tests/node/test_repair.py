"""A damaged replica on a real node's home: what still verifies is saved by one command."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_rebuild_saves_what_a_damaged_replica_still_holds(tmp_path: Path):
    home = tmp_path / "home"
    environment = {**os.environ, "AUTORESEARCH_HOME": str(home), "AUTORESEARCH_TRACK": str(ROOT / "tests/tracks/tiny")}

    def autoresearch(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "node.cli.main", *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)

    assert autoresearch("join", "--experiments", "2").returncode == 0
    database = home / "replica.sqlite3"
    pages = bytearray(database.read_bytes())
    page = len(pages) // 8192 // 2
    pages[page * 8192 : (page + 1) * 8192] = b"\xa5" * 8192
    database.write_bytes(pages)

    refused = autoresearch("leaderboard")
    if refused.returncode:  # a page that this query does not touch is found by the check only
        assert "autoresearch rebuild" in refused.stderr
        assert "Traceback" not in refused.stderr
    mended = autoresearch("rebuild")
    assert mended.returncode == 0, mended.stderr
    assert "Traceback" not in mended.stderr
    assert autoresearch("rebuild", "--check").returncode == 0
    assert autoresearch("join", "--experiments", "1").returncode == 0
    assert autoresearch("rebuild", "--check").returncode == 0
