"""Queries over a real replica: what they show, their JSON, their empty states, and that nothing can harm a terminal."""

import contextlib
import json
import resource
import subprocess
import sys

import pytest

from ensue.identity import Identity
from ensue.record import sign
from ensue.store import Store, ownlog
from node import names, text

RESULT_FIELDS = {
    "id",
    "experiment",
    "track",
    "author",
    "name",
    "status",
    "metric",
    "value",
    "seed",
    "hardware_class",
    "description",
    "parent",
    "level",
    "created_at",
    "wall_s",
    "cpu_s",
    "source",
    "overhead_s",
}
QUERIES = [
    ["leaderboard"], ["leaderboard", "--by", "agent"], ["leaderboard", "--by", "class"], ["best"], ["log"],
    ["search", "matrix"], ["status"], ["rebuild", "--check"], ["config"],
]  # fmt: skip


def ranked(invoke, *arguments):
    return json.loads(invoke("leaderboard", "--json", *arguments).stdout)


def test_leaderboard_json_has_every_result_and_the_promised_fields(research, invoke):
    rows = ranked(invoke)
    assert [row["status"] for row in rows[:4]] == ["kept", "kept", "kept", "discarded"]
    assert len(rows) == 6
    assert [row["value"] for row in rows[:4]] == [1.5991, 1.605, 1.6123, 1.6201]
    for row in rows:
        assert row.keys() >= RESULT_FIELDS
        assert ("reason" in row) == (row["value"] is None)
    assert rows[0]["name"] == "ada"
    assert rows[0]["author"] == research.identity.peer_id
    assert rows[0]["track"] == research.track


def test_leaderboard_shows_aligned_columns_with_gains(research, invoke):
    shown = invoke("leaderboard").stdout.splitlines()
    assert shown[0] == "sotu · val_bpb, lower is better"
    assert shown[2].split()[:3] == ["1", "1.5991", "+0.0059"]
    assert "● kept" in shown[2]
    assert shown[2].endswith("depth 4 → 5")
    starts = {line.index("ada") for line in shown[2:]}
    assert len(starts) == 1


@pytest.mark.parametrize(("by", "count"), [("agent", 1), ("author", 1), ("class", 1), ("account", 1)])
def test_leaderboard_by_groups(research, invoke, by, count):
    assert [row["value"] for row in ranked(invoke, "--by", by)] == [1.5991] * count


def test_leaderboard_limit_and_levels(research, invoke):
    assert len(ranked(invoke, "--limit", "2")) == 2
    assert ranked(invoke, "--level", "confirmed") == []
    assert "No confirmed results on sotu" in invoke("leaderboard", "--level", "confirmed").stdout
    invoke("leaderboard", "--limit", "0", code=2)


def test_best(research, invoke):
    assert json.loads(invoke("best", "--json").stdout)["value"] == 1.5991
    shown = invoke("best").stdout
    assert "val_bpb 1.5991" in shown
    assert "+0.0059 (better)" in shown
    assert json.loads(invoke("best", "--class", "cpu-2t-avx512-128", "--json").stdout)["value"] == 1.5991
    assert json.loads(invoke("best", "--class", "h100", "--json").stdout) is None
    assert "there are cpu-2t-avx512-128" in invoke("best", "--class", "h100").stdout
    invoke("best", "--source", "--diff", code=2)


def test_best_source_and_diff(research, invoke):
    source = invoke("best", "--source").stdout
    assert "MATRIX_LR = 0.04" in source
    diff = invoke("best", "--diff").stdout
    assert "-MATRIX_LR = 0.02  # [0.002 .. 0.2] log; Muon's learning rate" in diff.splitlines()
    assert "+DEPTH = 5  # [2 .. 8] ; blocks" in diff.splitlines()
    assert "1.6123 → 1.5991" in diff


def test_a_script_goes_into_a_file_byte_for_byte(research, program, tmp_path):
    refused = next(row for row in research.store.results(research.track) if row.status == "refused")
    with (tmp_path / "train.py").open("wb") as file:
        command = [sys.executable, "-m", "node.cli.main", "show", refused.id, "--source"]
        subprocess.run(command, stdout=file, check=True, timeout=60)
    assert (tmp_path / "train.py").read_bytes() == research.store.blob(refused.source)
    assert "\x1b" not in program("show", refused.id, "--source").stdout


def test_show_every_kind(research, invoke):
    for record in research.store.records():
        document = json.loads(invoke("show", record.id, "--json").stdout)
        assert document["id"] == record.id
        assert document["kind"] == record.kind
        assert record.id in invoke("show", record.id[:12]).stdout
    failed = next(row for row in research.store.results(research.track) if row.status == "crashed")
    assert "because it fell over" in invoke("show", failed.id).stdout
    assert invoke("show", failed.id, "--log").stdout.startswith("step 1\n\\x1b[2J")


def test_show_what_is_not_there(research, invoke):
    for wrong in ("ffffffffff", "zz", "abc", ""):
        done = invoke("show", wrong, code=1)
        assert done.stdout == ""
        assert done.stderr.startswith("autoresearch: ")
        assert done.stderr.count("\n") == 1
    best = research.store.best(research.track)
    assert "kept no output" in invoke("show", best.id, "--log", code=1).stderr
    lesson = next(research.store.records(kind="insight"))
    assert "has no script" in invoke("show", lesson.id, "--source", code=1).stderr


def again_by(research, name, **more):
    """Let somebody else sign another result of the best one's experiment; return its id."""
    best = research.store.best(research.track)
    body = {**research.store.get(best.id).body, "agent": name, "value": 1.6001, **more}
    with contextlib.closing(Store(research.home.path / f"{name}.sqlite3", research.store.network)) as other:
        identity = Identity.generate()
        ownlog.begin(other.path, research.store.network, identity.peer_id)
        record = other.append(identity, "result", body)
    assert research.store.ingest([record.raw]).accepted == (record.id,)
    return record.id, identity


def test_show_says_who_else_ran_the_same_experiment(research, invoke):
    best = research.store.best(research.track).id
    assert json.loads(invoke("show", best, "--json").stdout)["duplicates"] == []
    assert "also run by" not in invoke("show", best).stdout
    board = invoke("leaderboard", "--json", "--limit", "3").stdout
    first, author = again_by(research, "bob")
    second, _ = again_by(research, "cyd", status="crashed", value=None, holdout=None, reason="it fell over")
    assert research.store.claims.results_of(research.store.result(best).experiment) == [best, first, second]
    assert json.loads(invoke("show", best, "--json").stdout)["duplicates"] == [first, second]
    lines = invoke("show", best).stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("also run by"))
    assert lines[at].split()[3:] == ["bob", f"…{author.peer_id[-8:]}", first[:10], "1.6001"]
    assert lines[at + 1].split()[0] == "cyd"
    assert lines[at + 1].endswith(f"{second[:10]}  crashed")
    assert json.loads(invoke("show", first, "--json").stdout)["duplicates"] == [best, second]
    assert json.loads(board)[0]["id"] == best == json.loads(invoke("best", "--json").stdout)["id"]


def test_a_rerun_by_the_same_node_and_a_withdrawn_one_are_no_duplicates(research, invoke):
    best = research.store.best(research.track).id
    body = research.store.get(best).body
    mine = research.store.append(research.identity, "result", {**body, "seed": 8}).id
    other, author = again_by(research, "bob")
    assert json.loads(invoke("show", best, "--json").stdout)["duplicates"] == [other]
    assert json.loads(invoke("show", other, "--json").stdout)["duplicates"] == [best, mine]
    withdrawn = {"target": other, "reason": "a mistake"}
    with Store(research.home.path / "bob.sqlite3", research.store.network) as store:
        record = store.append(author, "retraction", withdrawn)
    assert research.store.ingest([record.raw]).accepted == (record.id,)
    assert json.loads(invoke("show", best, "--json").stdout)["duplicates"] == []


def test_diff_with_parent_and_between_two(research, invoke):
    rows = research.store.results(research.track)
    diff = invoke("diff", rows[1].id[:10]).stdout
    assert "-MATRIX_LR = 0.02" in diff
    other = json.loads(invoke("diff", rows[0].id, rows[-1].id, "--json").stdout)
    assert "+DEPTH = 5" in other["diff"]
    assert (other["from"], other["to"]) == (rows[0].id, rows[-1].id)
    assert "the scripts are the same" in invoke("diff", rows[0].id, rows[0].id).stdout
    assert "has no parent" in invoke("diff", rows[0].id, code=1).stderr


def test_log_is_one_line_a_record(research, invoke):
    shown = invoke("log").stdout.splitlines()
    assert len(shown) == 1 + research.store.count()
    assert "depth 4 → 5" in shown[-1]
    assert len(json.loads(invoke("log", "--json", "--kind", "insight").stdout)) == 1
    assert len(json.loads(invoke("log", "--json", "--limit", "2").stdout)) == 2
    for author in (
        research.identity.peer_id,
        research.identity.peer_id[-6:],
        "ada",
        names.key(research.identity.peer_id),
    ):
        assert len(json.loads(invoke("log", "--json", "--author", author).stdout)) == 7
    assert "No such records" in invoke("log", "--author", "nobody").stdout


def test_lineage(research, invoke):
    rows = research.store.results(research.track)
    shown = invoke("lineage", rows[1].id).stdout.splitlines()
    assert [line.split()[2] for line in shown[:2]] == ["1.6123", "1.6050"]
    assert shown[2].startswith("├─ ")
    assert shown[-1].startswith("└─ ")
    assert len(shown) == 6
    document = json.loads(invoke("lineage", rows[1].id, "--json").stdout)
    assert [row["id"] for row in document["ancestors"]] == [rows[0].id]
    assert len(document["descendants"]) == 4


def test_lineage_draws_the_best_of_many_children_that_led_nowhere(research, invoke):
    best = research.store.best(research.track)
    for number in range(30):
        value = None if number == 3 else 1.7 - number / 100
        research.add("crashed" if value is None else "discarded", value, f"barren {number}", "nothing", parent=best.id)
    shown = invoke("lineage", best.id).stdout.splitlines()
    assert shown[-1].endswith("… 22 more that led nowhere: --all draws them too")
    below = [line.split() for line in shown if line.startswith(("├─ ", "└─ ")) and "more" not in line]
    assert [float(words[3]) for words in below] == [round(1.7 - number / 100, 2) for number in range(22, 30)]
    assert len(invoke("lineage", best.id, "--all").stdout.splitlines()) == len(shown) - 1 + 22
    assert len(json.loads(invoke("lineage", best.id, "--json").stdout)["descendants"]) == 30
    built_on = research.store.results(research.track)[-28]
    research.add("discarded", 1.9, "a child of it", "nothing", parent=built_on.id)
    assert built_on.id[:10] in invoke("lineage", best.id).stdout


def test_search(research, invoke):
    hits = json.loads(invoke("search", "matrix", "learning", "rate", "--json").stdout)
    assert {hit["kind"] for hit in hits} >= {"insight"}
    assert "1.6050" in invoke("search", "matrix lr").stdout
    assert "Nothing about" in invoke("search", "zebra crossing").stdout
    for odd in ('"', "NEAR(", "*", "a AND", "'; DROP TABLE records; --", "\x1b[2J", "x" * 5000):
        invoke("search", odd)


def test_rebuild(research, invoke):
    assert "equal" in invoke("rebuild", "--check").stdout
    assert json.loads(invoke("rebuild", "--json").stdout)["equal"] is True
    assert len(ranked(invoke)) == 6


@pytest.mark.parametrize("query", QUERIES, ids=" ".join)
def test_json_is_one_document_and_nothing_else(research, invoke, query):
    done = invoke(*query, "--json")
    json.loads(done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize("query", [*QUERIES, ["lineage", "ROOT"], ["search", "peek"]], ids=" ".join)
def test_nothing_of_a_stranger_reaches_the_terminal(research, invoke, query):
    root = research.store.results(research.track)[0].id
    for arguments in (query, [*query, "--json"]):
        done = invoke(*[root if word == "ROOT" else word for word in arguments], color=False)
        for character in "\x1b\x07\x9b\u202e\u2069":
            assert character not in done.stdout


def test_without_a_node_every_query_says_what_to_do(home, invoke):
    for query in (
        ["leaderboard"],
        ["best"],
        ["log"],
        ["status"],
        ["pause"],
        ["search", "x"],
        ["show", "abcd"],
        ["plot"],
    ):
        done = invoke(*query, code=1)
        assert done.stdout == ""
        assert "run `autoresearch join`" in done.stderr
        assert done.stderr.count("\n") == 1
    assert not home.path.exists()


def test_empty_states_say_what_to_do(founded, invoke):
    assert "No results on sotu yet" in invoke("leaderboard").stdout
    assert "Nothing kept on sotu yet" in invoke("best").stdout
    assert "No such records" in invoke("log").stdout
    assert ranked(invoke) == []
    assert "none yet" in invoke("status").stdout


def test_an_unknown_track_names_those_there_are(founded, invoke):
    assert "choose one of" in invoke("leaderboard", "--track", "chess", code=1).stderr
    assert ranked(invoke, "--track", founded.track[:12]) == []


def test_a_broken_settings_file_is_one_sentence(research, invoke):
    research.home.settings.write_text("track = sotu\n")
    done = invoke("leaderboard", code=1)
    assert str(research.home.settings) in done.stderr
    assert done.stderr.count("\n") == 1


def spent_s(program, *arguments):
    """Processor seconds of one command: on an idle machine it takes as long; a busy one makes all of them dearer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = program(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_queries_start_fast_and_light(research, program):
    heavy = ["torch", "optuna", "rich", "matplotlib", "numpy", "git", "httpx", "hivemind"]

    def reference(_: str) -> subprocess.CompletedProcess[str]:
        loads = [sys.executable, "-c", "import asyncio, pydantic"]
        return subprocess.run(loads, capture_output=True, text=True, check=False, timeout=60)

    # In turns, as what else runs changes; 2.2 times on an idle machine, where the whole takes 0.22 s.
    spent = [(spent_s(program, "leaderboard"), spent_s(reference, "")) for _ in range(5)]
    assert min(query for query, _ in spent) < 3 * min(loading for _, loading in spent), spent
    for query in (["leaderboard"], ["best"], ["status"], ["log"], ["search", "matrix"], ["--help"], ["config"]):
        code = (
            "import sys\nfrom node.cli.main import cli\n"
            f"try:\n    cli.main({query!r}, prog_name='autoresearch')\n"
            "except SystemExit as end:\n    assert not end.code\n"
            f"print([name for name in {heavy!r} if name in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert found.stdout.splitlines()[-1] == "[]", query


@pytest.mark.parametrize("wide", [60, 80, 100, 140])
def test_tables_fit_the_terminal(research, invoke, monkeypatch, wide):
    monkeypatch.setenv("COLUMNS", str(wide))
    for query in (["leaderboard"], ["log"], ["search", "matrix"], ["insight"], ["config"], ["lineage", "ROOT"]):
        root = research.store.results(research.track)[0].id
        shown = invoke(*[root if word == "ROOT" else word for word in query]).stdout
        assert max(text.width(line) for line in shown.splitlines() if not line.startswith(("\nfile", "file:"))) <= wide


def test_scripts_made_to_be_slow_to_compare_are_refused(founded, invoke):
    lines = ["".join(f"{number * step % 100:02d}\n" for number in range(40_000)) for step in (1, 37)]
    first = founded.add("kept", 1.6, lines[0], "many lines")
    founded.add("kept", 1.5, lines[1], "other lines", first, lines[0])
    refused = invoke("best", "--diff", code=1).stderr
    assert "more than 5,000 lines" in refused
    assert "--source" in refused


def test_levels_are_told_with_their_reasons(research, invoke):
    shown = invoke("show", best_id(invoke)).stdout
    assert "recorded: this network trusts no verifier" in shown
    assert "✓" not in invoke("leaderboard").stdout
    assert "verifiers vouch for nobody yet" in invoke("leaderboard", "--level", "official").stdout
    assert "verifiers vouch for nobody yet" in invoke("best", "--level", "official").stdout
    assert json.loads(invoke("best", "--level", "official", "--json").stdout) is None
    research.vouch()
    row = json.loads(invoke("best", "--json").stdout)
    account = research.store.people.account_of(research.identity.peer_id)
    assert (row["level"], row["account"]) == ("official", account)
    assert "✓" in invoke("leaderboard").stdout
    assert f"official: @{account[-8:]} is vouched for by …" in invoke("show", row["id"]).stdout
    planted = research.store.get(row["id"]).body | {"value": 0.5}
    stranger = Identity(bytes([77]) * 32)
    made = sign(stranger, network=research.store.network, seq=1, prev=None, time_ms=1, kind="result", body=planted)
    research.store.ingest([made.raw])
    assert json.loads(invoke("best", "--json").stdout)["id"] == row["id"]
    assert json.loads(invoke("best", "--level", "recorded", "--json").stdout)["id"] == made.id
    assert "recorded: its node speaks for no account" in invoke("show", made.id).stdout
    assert "confirmed" in invoke("best", "--level", "confirmed").stdout
    assert json.loads(invoke("status", "--json").stdout)["best"]["id"] == row["id"]
    by_account = json.loads(invoke("leaderboard", "--by", "account", "--json").stdout)
    assert [one["account"] for one in by_account] == [None, account]


def best_id(invoke) -> str:
    """The id of the best result."""
    found: str = json.loads(invoke("best", "--json").stdout)["id"]
    return found
