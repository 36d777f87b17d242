"""The doctor tries what research needs, says what to mend, and fails only where research cannot run."""

import json
import stat

import pytest

from node import account as accounts
from node import doctor


def checks(invoke, *arguments, code=0):
    done = json.loads(invoke("doctor", "--quick", "--json", *arguments, code=code).stdout)
    return done["verdict"], {check["name"]: check for check in done["checks"]}


def test_a_fresh_machine_needs_no_home(home, invoke):
    verdict, found = checks(invoke)
    assert verdict in ("ok", "warn")
    assert found["key"]["found"].startswith("none yet")
    wanted = {"python", "settings", "disk", "track", "git", "sandbox", "clock", "reachability", "verified"}
    assert wanted <= found.keys()
    assert not home.path.exists()


def test_text_has_a_fix_below_every_fault(founded, invoke):
    shown = invoke("doctor", "--quick").stdout
    assert "warn  key back-up" in shown
    assert "autoresearch doctor --backup-key FILE" in shown
    assert shown.strip().endswith("Research can run; what is marked would make it better.")


def test_backing_up_the_key(founded, invoke, tmp_path):
    target = tmp_path / "saved.key"
    _, found = checks(invoke, "--backup-key", str(target))
    assert found["key back-up"]["verdict"] == "ok"
    assert target.read_bytes() == founded.home.key.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    done = invoke("doctor", "--quick", "--backup-key", str(target), code=1)
    assert "cannot be made" in done.stderr


def test_the_account_is_backed_up_and_verified(founded, invoke, tmp_path):
    _, found = checks(invoke)
    assert found["verified"]["found"] == "no: this network trusts no verifier, so results stay at the level recorded"
    founded.vouch()
    _, found = checks(invoke)
    assert found["verified"]["verdict"] == "ok"
    assert found["key back-up"]["fix"].startswith("autoresearch keys backup")
    accounts.put(founded.home, bytes([41]) * 32)
    invoke("keys", "backup", "--to", str(tmp_path / "words"))
    assert checks(invoke)[1]["key back-up"]["verdict"] == "ok"


def test_a_key_with_wrong_rights_fails(founded, invoke):
    founded.home.key.chmod(0o644)
    verdict, found = checks(invoke, code=1)
    assert verdict == "fail"
    assert found["key"]["verdict"] == "fail"
    assert found["key"]["fix"]


def test_broken_settings_and_unknown_track_fail(founded, invoke):
    founded.home.settings.write_text("track = 5\n")
    _, found = checks(invoke, code=1)
    assert "line 1" in found["settings"]["found"]
    founded.home.settings.write_text('track = "chess"\n')
    _, found = checks(invoke, code=1)
    assert found["track"]["verdict"] == "fail"


def test_a_damaged_replica_fails(research, invoke):
    research.store.close()
    data = bytearray(research.home.database.read_bytes())
    data[:64] = bytes(64)
    research.home.database.write_bytes(data)
    _, found = checks(invoke, code=1)
    assert found["replica"]["verdict"] == "fail"


def test_no_room_and_no_git_fail(founded, invoke, monkeypatch):
    founded.home.settings.write_text("disk_free_bytes = 1125899906842624\n")
    monkeypatch.setenv("PATH", "/nowhere")
    _, found = checks(invoke, code=1)
    assert found["disk"]["verdict"] == "fail"
    assert found["git"]["verdict"] == "fail"


def test_without_bubblewrap_doctor_says_what_is_weaker(founded, program):
    import os
    import shutil

    git = shutil.which("git")
    folder = founded.home.path / "bin"
    folder.mkdir()
    (folder / "git").symlink_to(git)
    environ = os.environ | {"PATH": str(folder)}

    def wall(**settings):
        done = program("doctor", "--quick", "--json", env=environ | settings)
        return next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "sandbox")

    assert not wall()["found"].startswith("bubblewrap")
    assert wall()["verdict"] in ("warn", "fail")
    assert "bubblewrap" in wall()["fix"]
    assert wall(AUTORESEARCH_SANDBOX="bubblewrap")["verdict"] == "fail"


def test_a_paused_node_is_pointed_out(founded, invoke):
    founded.store.local_set("control", "pause")
    _, found = checks(invoke)
    assert found["node"] == {
        "name": "node",
        "verdict": "warn",
        "found": "stopped, paused",
        "fix": "autoresearch resume",
    }


@pytest.mark.parametrize(
    ("verdicts", "worst"), [([], "ok"), (["ok", "note"], "ok"), (["warn", "ok"], "warn"), (["warn", "fail"], "fail")]
)
def test_worst(verdicts, worst):
    assert doctor.worst([doctor.Check("x", verdict, "") for verdict in verdicts]) == worst
