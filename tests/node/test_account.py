"""The account behind a node: made once, delegated once, brought back, rotated, revoked; and whole after every kill."""

import json
import os
import stat

import pytest

from ensue.errors import BadKeyFile, UserError
from ensue.identity import Identity
from ensue.store import Store
from node import account as accounts
from node import phrase, rotation
from node.home import Home, open_replica

SECOND = bytes([77]) * 32


def settled(founded, note=lambda words: None):
    return accounts.settle(founded.home, founded.store, founded.identity, note)


def kinds(founded):
    return [record.kind for record in founded.store.records()]


class Killed(BaseException):
    """A process that ends here and now."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_the_account_is_made_once_and_its_owner_is_told_once(founded):
    said = []
    account = settled(founded, said.append)
    assert account == accounts.key(founded.home).peer_id == founded.store.people.account_of(founded.identity.peer_id)
    assert settled(founded, said.append) == account
    assert kinds(founded) == ["delegation"]
    assert len(said) == 1
    assert "autoresearch keys backup" in said[0]
    assert stat.S_IMODE(accounts.path(founded.home).stat().st_mode) == 0o600
    assert founded.store.own_log.end(founded.identity.peer_id).seq == 1


def test_a_kill_between_key_and_delegation_is_mended_at_the_next_start(founded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", killed)
        with pytest.raises(Killed):
            settled(founded)
    made = accounts.key(founded.home).peer_id
    assert settled(founded) == made
    assert kinds(founded) == ["delegation"]


def test_a_home_without_the_account_file_keeps_its_account(founded):
    """As after a back-up without it: another account would lose who vouched for the first."""
    account = settled(founded)
    accounts.path(founded.home).unlink()
    assert settled(founded) == account
    assert accounts.key(founded.home) is None
    with pytest.raises(UserError, match="keys restore"):
        accounts.required(founded.home)


def test_a_key_file_that_is_none_is_named(founded):
    accounts.path(founded.home).write_bytes(b"x" * 68)
    accounts.path(founded.home).chmod(0o600)
    with pytest.raises(BadKeyFile, match=r"account\.key is damaged"):
        settled(founded)


def test_backup_to_a_file_and_restore_on_a_second_machine(founded, invoke, tmp_path, monkeypatch):
    account = settled(founded)
    target = tmp_path / "words.txt"
    assert "which only you can read" in invoke("keys", "backup", "--to", str(target)).stdout
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert json.loads(invoke("keys", "show", "--json").stdout)["backed_up"]["where"] == str(target)
    assert "name a new file" in invoke("keys", "backup", "--to", str(target), code=1).stderr
    monkeypatch.setenv("AUTORESEARCH_HOME", str(tmp_path / "second"))
    assert "lets this node speak for it" in invoke("keys", "restore", str(target)).stdout
    assert accounts.key(Home(tmp_path / "second")).peer_id == account


def test_restore_from_a_pipe_replaces_the_silent_account_and_keeps_its_key(founded, invoke):
    first = settled(founded)
    words = " ".join(phrase.words_of(SECOND))
    shown = json.loads(invoke("keys", "restore", "--json", input=words).stdout)
    second = Identity(SECOND).peer_id
    assert shown == {"account": second, "node": founded.identity.peer_id}
    assert founded.store.people.account_of(founded.identity.peer_id) == second
    assert accounts.aside(founded.home, first).read_bytes()[4:36] != SECOND
    assert Identity.load(accounts.aside(founded.home, first)).peer_id == first
    invoke("keys", "restore", input=words)
    assert kinds(founded) == ["delegation", "delegation"]


@pytest.mark.parametrize("step", ["note", "file", "delegation"])
def test_a_kill_during_restore_is_mended_by_the_next_start(founded, invoke, monkeypatch, step):
    first = settled(founded)
    words = " ".join(phrase.words_of(SECOND))
    second = Identity(SECOND).peer_id
    target = {"note": (Store, "local_set"), "file": (os, "link"), "delegation": (Store, "append")}[step]
    with monkeypatch.context() as patch:
        patch.setattr(*target, killed)
        with pytest.raises(Killed):
            invoke("keys", "restore", input=words)
    assert settled(founded) == (second if step == "delegation" else first)
    assert not list(founded.home.path.glob(".account.key.*"))
    invoke("keys", "restore", input=words)
    assert settled(founded) == second


def test_wrong_words_are_one_sentence(founded, invoke, tmp_path):
    settled(founded)
    words = phrase.words_of(SECOND)
    for given, said in (
        (" ".join(words[:-1]), "here are 23"),
        (" ".join(["zooo", *words[1:]]), "word 1 of the recovery phrase, 'zooo'"),
        ("\x1b[2J " * 24, "word 1"),
    ):
        shown = invoke("keys", "restore", input=given, code=1).stderr
        assert said in shown
        assert shown.count("\n") == 1
        assert "\x1b" not in shown
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    assert "is no text" in invoke("keys", "restore", str(binary), code=1).stderr
    assert "cannot be read" in invoke("keys", "restore", str(tmp_path / "absent"), code=1).stderr
    assert len(kinds(founded)) == 1


def test_the_key_leaves_the_machine_only_after_a_backup(founded, invoke, tmp_path):
    account = settled(founded)
    assert "on a terminal only" in invoke("keys", "backup", code=1).stderr
    assert "on a terminal only" in invoke("keys", "backup", "--remove", "--yes", code=1).stderr
    assert accounts.key(founded.home) is not None
    invoke("keys", "backup", "--to", str(tmp_path / "words"), "--remove", "--yes")
    assert accounts.key(founded.home) is None
    assert settled(founded) == account
    assert accounts.key(founded.home) is None
    assert "keys restore" in invoke("keys", "rotate", code=1).stderr
    assert "keys restore" in invoke("verify", "you@example.org", code=1).stderr
    invoke("keys", "restore", str(tmp_path / "words"))
    assert accounts.key(founded.home).peer_id == account == settled(founded)


def test_three_words_are_asked_before_the_key_leaves(founded, invoke, tmp_path, monkeypatch):
    settled(founded)
    words = phrase.words_of(accounts.seed(founded.home))
    monkeypatch.setattr("secrets.SystemRandom.sample", lambda self, places, count: [20, 3, 7])
    target = str(tmp_path / "words")
    wrong = "\n".join([words[3], "wrong"]) + "\n"
    assert "not word 8" in invoke("keys", "backup", "--to", target, "--remove", input=wrong, code=1).stderr
    assert accounts.key(founded.home) is not None
    right = "\n".join([words[3], words[7].upper(), words[20][:4]]) + "\n"
    invoke("keys", "backup", "--remove", input=right)
    assert accounts.key(founded.home) is None


def test_a_kill_while_the_key_is_removed_takes_it_away_at_the_next_start(founded, monkeypatch):
    account = settled(founded)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", killed)
        with pytest.raises(Killed):
            accounts.remove(founded.home, founded.store)
    assert accounts.key(founded.home) is not None
    assert settled(founded) == account
    assert accounts.key(founded.home) is None


def test_rotation_ends_the_old_key_and_goes_on_with_a_new_one(founded, invoke):
    account = settled(founded)
    old = founded.identity.peer_id
    result = founded.add("kept", 1.5, "LR = 1\n", "baseline")
    done = json.loads(invoke("keys", "rotate", "--json").stdout)
    new = Identity.load(founded.home.key).peer_id
    assert done == {"old": old, "last_seq": 2, "new": new}
    rows = {row.node: row.void_from for row in founded.store.people.nodes(account)}
    assert rows == {old: 3, new: None}
    assert founded.store.result(result).flags == ()
    late = founded.add("kept", 1.4, "LR = 2\n", "with the old key")
    assert founded.store.result(late).flags == ("revoked",)
    assert Identity.load(rotation.aside(founded.home, old)).peer_id == old
    again = json.loads(invoke("keys", "rotate", "--json").stdout)
    assert again["old"] == new
    assert again["last_seq"] == 2


@pytest.mark.parametrize("step", ["key", "records", "swap"])
def test_a_rotation_that_was_killed_is_undone_or_ended_at_the_next_start(founded, monkeypatch, step):
    settled(founded)
    old = founded.identity.peer_id
    target = {
        "key": ("ensue.store.ownlog.begin", killed),
        "records": ("ensue.store.Store.append_all", killed),
        "swap": ("node.rotation.finish", _killed_the_second_time()),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(*target)
        with pytest.raises(Killed):
            rotation.rotate(founded.home, founded.store)
    rotation.finish_at_start(founded.home)
    now = Identity.load(founded.home.key).peer_id
    assert (now == old) == (step != "swap")
    assert not rotation.draft(founded.home).exists()
    with open_replica(founded.home) as store:
        assert store.own_log.require(now).doubt is None
        assert (accounts.revoked_from(store, store.people.account_of(now), old) is None) == (step != "swap")


def _killed_the_second_time():
    calls = []

    def finish(home, store):
        calls.append(home)
        if len(calls) == 2:
            raise Killed
        return False

    return finish


def test_a_rotation_that_was_killed_is_what_the_next_one_returns(founded, monkeypatch):
    settled(founded)
    with monkeypatch.context() as patch:
        patch.setattr("node.rotation.finish", _killed_the_second_time())
        with pytest.raises(Killed):
            rotation.rotate(founded.home, founded.store)
    done = rotation.rotate(founded.home, founded.store)
    assert (done.old, done.last_seq) == (founded.identity.peer_id, 1)
    assert kinds(founded) == ["delegation", "delegation", "revocation"]


def test_a_running_node_is_not_rotated(founded, invoke):
    from node.lock import NodeLock

    settled(founded)
    with NodeLock(founded.home.lock):
        assert "end it with `autoresearch leave`" in invoke("keys", "rotate", code=1).stderr
    assert Identity.load(founded.home.key).peer_id == founded.identity.peer_id


def test_a_stolen_machine_is_revoked_and_what_it_signs_later_counts_no_more(founded, invoke):
    from ensue.record import sign
    from ensue.statements import delegation

    account = settled(founded)
    thief, network = Identity(bytes([9]) * 32), founded.store.network

    def signed(seq, kind, body, prev=None):
        return sign(thief, network=network, seq=seq, prev=prev, time_ms=seq, kind=kind, body=body)

    body = delegation(accounts.key(founded.home), network, thief.peer_id).model_dump()
    first = signed(1, "delegation", body)
    idea = {"track": founded.track, "text": "an idea"}
    second = signed(2, "hypothesis", idea, first.id)
    assert len(founded.store.ingest([first.raw, second.raw]).accepted) == 2
    assert "no node of your account ends with" in invoke("keys", "revoke", "nobody", code=1).stderr
    own = founded.identity.peer_id[-8:]
    assert "keys rotate" in invoke("keys", "revoke", own, code=1).stderr
    assert "at most 500" in invoke("keys", "revoke", thief.peer_id, "--reason", "x" * 501, code=1).stderr
    shown = invoke("keys", "revoke", f"…{thief.peer_id[-8:]}", "--reason", "stolen")
    assert "only numbers up to 2 count" in shown.stdout
    third = signed(3, "hypothesis", idea | {"text": "the thief's"}, second.id)
    founded.store.ingest([third.raw])
    rows = {row.node: row.void_from for row in founded.store.people.nodes(account)}
    assert rows[thief.peer_id] == 3
    assert [idea.flags for idea in founded.store.hypotheses(founded.track)] == [(), ("revoked",)]
    assert "was revoked already" in invoke("keys", "revoke", thief.peer_id, code=1).stderr
    listed = json.loads(invoke("contributions", "--json").stdout)
    assert [(one["kind"], one["this_node"], one["level"], one["received_by"]) for one in listed] == [
        ("delegation", True, "recorded", 0),
        ("delegation", False, "recorded", None),
        ("hypothesis", False, "recorded", None),
        ("revocation", True, "recorded", 0),
        ("hypothesis", False, "void", None),
    ]
    assert "from number 3 on" in listed[-1]["why"]


def test_a_revoked_node_says_so_and_gets_a_new_key(founded, invoke):
    from ensue.statements import revocation
    from node.standing import begin_as_person

    settled(founded)
    own = founded.identity
    gone = revocation(accounts.key(founded.home), founded.store.network, own.peer_id, 1, "lost")
    founded.store.append(own, "revocation", gone)
    said = []
    begin_as_person(founded.home, founded.store, own, said.append)
    assert "keys rotate" in said[-1]
    assert kinds(founded) == ["delegation", "revocation"]
    assert json.loads(invoke("keys", "rotate", "--json").stdout)["last_seq"] == 1
    said.clear()
    begin_as_person(founded.home, founded.store, Identity.load(founded.home.key), said.append)
    assert said == []


def test_contributions_say_what_counts_for_what(founded, invoke):
    """Recorded at first; official with the credential, but for what was withdrawn and what came after another end."""
    founded.add("kept", 1.5, "LR = 1\n", "baseline")
    founded.add("refused", None, "LR = 2\n", "peek", reason="it peeked")
    gone = founded.add("kept", 1.4, "LR = 3\n", "lr 1 → 3")
    before = {one["level"] for one in json.loads(invoke("contributions", "--json").stdout)}
    assert before == {"recorded"}
    founded.vouch()
    invoke("retract", gone, "a mistake")
    listed = [one for one in json.loads(invoke("contributions", "--json").stdout) if one["kind"] == "result"]
    assert [(one["level"], one["why"]) for one in listed] == [
        ("official", None),
        ("official", "refused by the scorer: it peeked"),
        ("void", "you withdrew it"),
    ]
    shown = invoke("contributions", "--limit", "4").stdout
    assert "your account is verified" in shown
    assert len(shown.splitlines()) == 7
