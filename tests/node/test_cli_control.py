"""The owner's hand on the node: status, pause and resume talk through the replica, whether a node runs or not."""

import json
import time

from node.lock import NodeLock


def state(invoke):
    return json.loads(invoke("status", "--json").stdout)


def test_status_of_a_stopped_node(research, invoke):
    document = state(invoke)
    assert document["running"] is False
    assert document["now"] is None
    assert document["results_mine"] == {"kept": 3, "discarded": 1, "crashed": 1, "refused": 1}
    assert document["best"]["value"] == 1.5991
    assert abs(document["gain"] - 0.0132) < 1e-9
    shown = invoke("status").stdout
    assert "stopped; `autoresearch join` starts it" in shown
    assert "1.5991" in shown
    assert "better by 0.0132 than its baseline" in shown


def test_pause_and_resume(research, invoke):
    assert "paused" in invoke("pause").stdout
    assert research.store.local_get("control") == "pause"
    assert state(invoke)["paused"] is True
    assert "`autoresearch resume`" in invoke("status").stdout
    assert json.loads(invoke("resume", "--json").stdout) == {"paused": False, "running": False}
    assert research.store.local_get("control") is None


def test_status_of_a_running_node(research, invoke):
    now_ms = int(time.time() * 1000)
    said = {"pid": 1, "phase": "training", "description": "depth \x1b[2J", "progress": 0.5, "updated_ms": now_ms}
    with NodeLock(research.home.lock):
        research.store.local_set("node", json.dumps(said))
        document = state(invoke)
        assert document["running"] is True
        assert document["now"]["phase"] == "training"
        shown = invoke("status").stdout
        assert "researching" in shown
        assert "training · depth \\x1b[2J" in shown
        assert "50%" in shown
        research.store.local_set("node", json.dumps(said | {"updated_ms": now_ms - 600_000}))
        assert "nothing for 10 min" in invoke("status").stdout
        for nonsense in ("{", "[]", json.dumps({"progress": "much", "updated_ms": None, "phase": 5})):
            research.store.local_set("node", nonsense)
            assert "researching" in invoke("status").stdout
        research.home.settings.write_text(
            f'hours = "{(time.localtime().tm_hour + 2) % 24}-{(time.localtime().tm_hour + 3) % 24}"\n'
        )
        assert "waiting" in invoke("status").stdout
    assert state(invoke)["running"] is False


def test_status_shows_the_track_that_was_worked_on(research, invoke):
    """A track given to `join` by a flag is not in the settings, and yet what the owner wants to hear of."""
    research.home.settings.write_text('track = "climbmix"\n')
    assert state(invoke)["track"] == research.track
    assert "No results on climbmix yet" in invoke("leaderboard").stdout
    assert "are on sotu: add --track" in invoke("leaderboard").stdout
