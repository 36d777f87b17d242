"""What people add: ideas, lessons and scripts become signed records, and wrong ones are refused with a sentence."""

import json

import pytest

from ensue.store import Store


def published(invoke, *arguments, **more):
    return json.loads(invoke(*arguments, "--json", **more).stdout)


def test_an_idea_with_a_change_knows_the_old_value(research, invoke):
    done = published(invoke, "hypothesis", "try", "a", "deeper", "net", "-c", "DEPTH=6", "-c", "matrix_lr=0.05")
    assert done["body"]["text"] == "try a deeper net"
    assert done["body"]["change"] == [
        {"knob": "DEPTH", "old": 5, "new": 6},
        {"knob": "MATRIX_LR", "old": 0.04, "new": 0.05},
    ]
    assert done["author"] == research.identity.peer_id
    idea = research.store.hypotheses(research.track, open_only=True)[0]
    assert idea.id == done["id"]
    assert research.store.rebuild(check=True).equal


def test_an_idea_about_an_unknown_constant_names_the_nearest(research, invoke):
    done = invoke("hypothesis", "x", "-c", "DEPHT=6", code=1)
    assert "did you mean DEPTH?" in done.stderr
    invoke("hypothesis", "x", "-c", "DEPTH", code=2)
    assert invoke("hypothesis", "x", "-c", "DEPTH=deep", code=1).stderr.count("\n") == 1
    assert research.store.hypotheses(research.track) == []


def test_an_idea_before_any_result_and_from_stdin(founded, invoke):
    done = published(invoke, "hypothesis", "-", "-c", "WARMUP=0.1", input="a warm-up helps\n")
    assert done["body"]["text"] == "a warm-up helps"
    assert done["body"]["change"] == [{"knob": "WARMUP", "old": None, "new": 0.1}]


@pytest.mark.parametrize("words", ["", "   ", "x" * 2001], ids=["empty", "blank", "long"])
def test_texts_that_no_record_can_hold(research, invoke, words):
    for kind in ("hypothesis", "insight"):
        done = invoke(kind, words, code=1)
        assert done.stderr.count("\n") == 1
    assert research.store.count() == 7


def test_a_lesson_with_evidence(research, invoke):
    best = research.store.best(research.track)
    arguments = ["insight", "depth pays", "-e", best.id[:8], "-e", best.id, "--scope", "5 layers", "--valid-days", "90"]
    body = published(invoke, *arguments)["body"]
    assert body["evidence"] == [best.id]
    assert (body["scope"], body["valid_days"]) == ("5 layers", 90)
    assert "depth pays" in invoke("search", "depth pays").stdout
    assert "Nodes" not in invoke("insight", "another").stdout
    lesson = next(research.store.records(kind="insight")).id
    assert "autoresearch: " in invoke("insight", "x", "-e", lesson, code=1).stderr


def test_submit_stores_the_script_beside_the_idea(research, invoke, tmp_path):
    best = research.store.best(research.track)
    script = tmp_path / "mine.py"
    script.write_bytes(research.store.blob(best.source).replace(b"0.04", b"0.03"))
    body = published(invoke, "submit", str(script))["body"]
    assert body["text"] == "matrix lr 0.04 → 0.03"
    assert body["change"] == [{"knob": "MATRIX_LR", "old": 0.04, "new": 0.03}]
    assert body["parent"] == best.id
    assert research.store.blob(body["source"]) == script.read_bytes()
    assert published(invoke, "submit", str(script), "-m", "because")["body"]["text"] == "because"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def broken(:\n", "does not compile (line 1"),
        (b"x = 1\n", "has no function load_model"),
        (b"class A:\n    def load_model(self, checkpoint, device): ...\n", "has no function load_model"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"\0", "does not compile"),
        (b"-" * 100_000 + b"4", "does not compile"),
        (b"#" * 200_000, "is larger than 131072 bytes"),
    ],
)
def test_a_script_that_cannot_be_an_experiment(research, invoke, tmp_path, content, said):
    script = tmp_path / "bad.py"
    script.write_bytes(content)
    for command in ("submit", "run"):
        done = invoke(command, str(script), code=1)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert research.store.hypotheses(research.track) == []


def test_what_is_known_already_is_refused(research, invoke, tmp_path):
    best = research.store.best(research.track)
    script = tmp_path / "same.py"
    script.write_bytes(research.store.blob(best.source))
    assert "is the best one already" in invoke("submit", str(script), code=1).stderr
    assert "cannot be read" in invoke("submit", str(tmp_path / "none.py"), code=1).stderr
    assert "cannot be read" in invoke("submit", str(tmp_path), code=1).stderr


def test_a_key_with_wrong_rights_is_refused_with_the_fix(research, invoke):
    research.home.key.chmod(0o644)
    done = invoke("hypothesis", "x", code=1)
    assert "chmod" in done.stderr or "600" in done.stderr
    assert done.stderr.count("\n") == 1


def test_publishing_while_another_process_writes(research, program):
    """Two logs of one author never fork: sequence numbers are drawn in the transaction."""
    import threading

    done = []
    threads = [
        threading.Thread(target=lambda number=number: done.append(program("hypothesis", f"idea {number}")))
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for number in range(20):
        research.add("discarded", 1.7, f"X = {number}\n", f"x {number}")
    for thread in threads:
        thread.join()
    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 3
    with Store(research.home.database, research.store.network) as store:
        mine = [record.seq for record in store.records(author=research.identity.peer_id)]
    assert sorted(mine) == list(range(1, 31))


def test_ideas_and_lessons_are_listed_with_what_became_of_them(research, invoke):
    assert "No ideas yet" in invoke("hypothesis").stdout
    first = published(invoke, "hypothesis", "an idea \x1b[2J")["id"]
    ideas = json.loads(invoke("hypothesis", "--json").stdout)
    assert [(idea["id"], idea["tried"], idea["claimed"]) for idea in ideas] == [(first, 0, 0)]
    shown = invoke("hypothesis").stdout.splitlines()
    assert "waits" in shown[1]
    assert shown[1].endswith("an idea \\x1b[2J")
    research.store.append(research.identity, "retraction", {"target": first, "reason": "no"})
    assert "retracted" in invoke("hypothesis").stdout
    published(invoke, "insight", "soon over", "--valid-days", "1")
    lessons = json.loads(invoke("insight", "--json").stdout)
    assert [lesson["expired"] for lesson in lessons] == [False, False]
    assert "stands" in invoke("insight").stdout


def test_withdrawing_a_result_moves_the_best_and_flags_descendants(research, invoke):
    rows = research.store.results(research.track)
    done = published(invoke, "retract", rows[1].id[:10], "measured", "wrongly")
    assert done["body"] == {"target": rows[1].id, "reason": "measured wrongly"}
    assert research.store.result(rows[1].id).flags == ("retracted",)
    assert research.store.result(rows[-1].id).flags == ("descends from retracted",)
    assert "[descends from retracted]" in invoke("leaderboard").stdout
    assert research.store.rebuild(check=True).equal
    assert "is a retraction" in invoke("retract", done["id"], "oops", code=1).stderr
    assert "retracted" in invoke("show", rows[1].id).stdout


def test_a_stranger_s_record_cannot_be_withdrawn(research, invoke, tmp_path):
    from ensue.identity import Identity

    stranger = Identity.generate()
    with Store(tmp_path / "other.sqlite3", research.store.network) as other:
        body = {
            "track": research.track,
            "text": "an idea",
            "change": [],
            "source": None,
            "parent": None,
            "agent": "eve",
        }
        record = other.append(stranger, "hypothesis", body)
    assert research.store.ingest([record.raw]).accepted == (record.id,)
    assert "was signed by another node" in invoke("retract", record.id, "no", code=1).stderr


def test_lists_show_the_newest(research, invoke):
    for number in range(5):
        invoke("hypothesis", f"idea {number}")
        invoke("insight", f"lesson {number}")
    ideas = json.loads(invoke("hypothesis", "--limit", "2", "--json").stdout)
    assert [idea["text"] for idea in ideas] == ["idea 3", "idea 4"]
    lessons = json.loads(invoke("insight", "--limit", "2", "--json").stdout)
    assert [lesson["text"] for lesson in lessons] == ["lesson 3", "lesson 4"]
    assert len(json.loads(invoke("insight", "--json").stdout)) == 6
