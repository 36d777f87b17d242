"""From a request to a credential, step by step, and everything that must not happen on the way."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from office import DAY_MS, HOUR_MS, MINUTE_MS, Office, credential, other_code, refusal, someone

from ensue.identity import Identity
from ensue.record import decode
from verify.request import CODE_LIFE_S, TRIES_MAX, ChallengeRequest, parsed, signed_by_account

ADA = "Ada@Lovelace.org"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A verifier whose letters go into a folder."""
    made = Office(tmp_path)
    yield made
    made.close()


def official(office: Office, account: Identity) -> bool:
    return office.store.people.standing(account.peer_id, office.now_ms).official


def test_a_code_makes_an_account_official(office: Office):
    account = Identity.generate()
    asked = office.ask(ADA, account)
    assert asked.expires_s == CODE_LIFE_S
    (letter,) = office.letters()
    assert letter["To"] == ADA.replace("L", "l")
    assert office.code().startswith(f"{asked.tag}-")
    assert account.peer_id in letter.get_content().replace(" ", "").replace("\r\n", "")
    record = credential(office.confirm(asked.challenge, office.code()))
    assert record.author == office.verifier.peer_id
    assert record.body["account"] == account.peer_id
    assert record.body["expires_ms"] == office.now_ms + 180 * DAY_MS
    assert re.fullmatch("[0-9a-f]{64}", record.body["address"])
    assert official(office, account)
    state = office.get(f"/v1/challenges/{asked.challenge}")
    assert b'"state":"confirmed"' in state.body


def test_a_code_is_typed_in_any_way(office: Office):
    for spell in (str, lambda code: code.replace("-", ""), lambda code: f" {code.replace('-', ' - ')} "):
        asked = office.ask(someone(), Identity.generate())
        assert office.confirm(asked.challenge, spell(office.code())).status == 200


def test_a_code_is_right_once(office: Office):
    asked = office.ask(ADA, Identity.generate())
    assert office.confirm(asked.challenge, office.code()).status == 200
    assert refusal(office.confirm(asked.challenge, office.code())).error == "used"
    assert len(list(office.store.records(kind="credential"))) == 1


def test_five_tries_and_no_more(office: Office):
    asked, wrong = office.ask(ADA, Identity.generate()), other_code(office.code())
    left = [refusal(office.confirm(asked.challenge, wrong)).left for _ in range(TRIES_MAX)]
    assert left == [4, 3, 2, 1, 0]
    assert refusal(office.confirm(asked.challenge, office.code())).error == "too many"
    office.restart()
    assert refusal(office.confirm(asked.challenge, office.code())).error == "too many"


def test_what_is_no_code_costs_no_try(office: Office):
    asked = office.ask(ADA, Identity.generate())
    for typed in ("", "1234", "abcdefghij", "١٢٣٤٥٦٧٨٩٠", "12-3456-789012"):
        found = refusal(office.confirm(asked.challenge, typed))
        assert (found.error, found.left) == ("wrong", None)
    assert office.confirm(asked.challenge, office.code()).status == 200


def test_ten_minutes_and_no_more(office: Office):
    asked = office.ask(ADA, Identity.generate())
    office.now_ms += CODE_LIFE_S * 1000
    assert b'"expired"' in office.get(f"/v1/challenges/{asked.challenge}").body
    assert refusal(office.confirm(asked.challenge, office.code())).error == "expired"
    office.now_ms -= MINUTE_MS  # a clock that is set back brings no code back
    assert refusal(office.confirm(asked.challenge, office.code())).error == "expired"


def test_codes_and_tries_outlast_a_restart(office: Office):
    asked, code = office.ask(ADA, Identity.generate()), office.code()
    assert refusal(office.confirm(asked.challenge, other_code(code))).left == 4
    office.restart()
    assert refusal(office.confirm(asked.challenge, other_code(code))).left == 3
    assert office.confirm(asked.challenge, code).status == 200


def test_a_request_is_for_one_verifier_and_one_network_once(office: Office):
    account, other = Identity.generate(), Identity.generate()
    assert office.refused(ADA, account, verifier=other.peer_id) == "verifier"
    assert office.refused(ADA, account, network="0" * 64) == "network"
    for changed in ({"email": "eve@evil.org"}, {"nodes": [other.peer_id]}, {"nonce": "0" * 32}):
        assert office.refused(ADA, account, **changed) == "signature"
    assert office.refused(ADA, account, account=other.peer_id) == "signature"
    body = office.request(ADA, account)
    assert office.post("/v1/challenges", body).status == 202
    assert refusal(office.post("/v1/challenges", body)).error == "stale"
    office.restart()
    assert refusal(office.post("/v1/challenges", body)).error == "stale"
    assert len(office.letters()) == 1


def test_every_field_is_under_the_signature(office: Office):
    request = parsed(ChallengeRequest, office.request(ADA, Identity.generate()))
    assert signed_by_account(request)
    other = Identity.generate().peer_id
    for changed in (
        *({"network": "0" * 64}, {"verifier": other}, {"account": other}, {"email": "eve@evil.org"}),
        *({"nodes": [other]}, {"time_ms": request.time_ms + 1}, {"nonce": "0" * 32}),
    ):
        assert not signed_by_account(request.model_copy(update=changed))


def test_clocks_that_differ(office: Office):
    account = Identity.generate()
    early, late = office.request(ADA, account), office.request(ADA, account)
    office.now_ms += 11 * MINUTE_MS
    assert refusal(office.post("/v1/challenges", early)).error == "stale"
    office.now_ms -= 22 * MINUTE_MS
    assert refusal(office.post("/v1/challenges", late)).error == "stale"


def test_an_address_goes_to_another_account_once_a_week(office: Office):
    first, second, third = (Identity.generate() for _ in range(3))
    office.verified(ADA, first)
    record = office.verified("ada+new@lovelace.org", second)
    assert record.body["supersedes"] == {"account": first.peer_id, "heads": []}
    assert (official(office, first), official(office, second)) == (False, True)
    office.now_ms += 6 * DAY_MS
    again = office.ask(ADA, third)
    refused = refusal(office.confirm(again.challenge, office.code()))
    assert refused.error == "too many"
    assert "seven days" in refused.said
    assert refusal(office.confirm(again.challenge, office.code())).error == "too many"
    office.now_ms += DAY_MS
    assert office.verified(ADA, third).body["supersedes"]["account"] == second.peer_id


def test_of_the_older_account_only_what_is_known_goes_on_counting(office: Office):
    from ensue.statements import delegation

    first, second, node = Identity.generate(), Identity.generate(), office.founder
    for account in (first, first):
        made = office.store.append(node, "delegation", delegation(account, office.store.network, node.peer_id))
    office.verified(ADA, first)
    record = office.verified(ADA, second)
    assert record.body["supersedes"]["heads"] == [{"node": node.peer_id, "last_seq": made.seq}]


def test_the_same_account_renews(office: Office):
    account = Identity.generate()
    before = office.verified(ADA, account)
    office.now_ms += 170 * DAY_MS
    after = office.verified(ADA, account)
    assert after.body.get("supersedes") is None
    assert after.body["expires_ms"] == before.body["expires_ms"] + 170 * DAY_MS
    assert after.body["address"] == before.body["address"]
    assert after.body["request"] != before.body["request"]


def test_three_letters_an_hour_and_the_same_answer_beyond(office: Office):
    account = Identity.generate()
    answers = [office.ask(ADA, account) for _ in range(5)]
    assert len(office.letters()) == 3
    assert {answer.said for answer in answers} == {answers[0].said}
    for silent in answers[3:]:
        assert b'"waiting"' in office.get(f"/v1/challenges/{silent.challenge}").body
        assert refusal(office.confirm(silent.challenge, f"{silent.tag}-0000-0000")).left == 4
    office.now_ms += HOUR_MS + 1
    office.ask("ADA+1@lovelace.org", account)
    assert len(office.letters()) == 4


def test_ten_letters_a_day(office: Office):
    for _ in range(8):
        for _ in range(3):
            office.ask(ADA, Identity.generate())
        office.now_ms += HOUR_MS + 1
    assert len(office.letters()) == 10


def test_a_domain_may_have_three_accounts_a_day_and_fifty_in_all(tmp_path):
    office = Office(tmp_path, {"domain_letters_an_hour": "100000"})
    for number in range(60):
        asked = office.ask(f"person{number}@small.org", Identity.generate())
        answer = office.confirm(asked.challenge, office.code())
        assert (answer.status == 200) == (number % 4 < 3 and len(list(office.store.records(kind="credential"))) <= 50)
        if number % 4 == 3:
            assert refusal(answer).error == "domain full"
            office.now_ms += DAY_MS
    office.now_ms += DAY_MS
    assert len(list(office.store.records(kind="credential"))) == 45
    for number in range(60, 65):
        office.verified(f"person{number}@small.org", Identity.generate())
        office.now_ms += DAY_MS
    asked = office.ask("one.more@small.org", Identity.generate())
    refused = refusal(office.confirm(asked.challenge, office.code()))
    assert (refused.error, "as many accounts" in refused.said) == ("domain full", True)
    office.verified("person0@small.org", Identity.generate())  # whoever is known is not counted again
    office.close()


def test_a_large_provider_has_a_rate_and_no_total(tmp_path):
    office = Office(tmp_path, {"provider_accounts_a_day": "5", "domain_accounts": "1"})
    for number in range(5):
        office.verified(f"person{number}@gmail.com", Identity.generate())
    asked = office.ask("person5@gmail.com", Identity.generate())
    assert refusal(office.confirm(asked.challenge, office.code())).error == "domain full"
    office.now_ms += DAY_MS
    office.verified("person5@gmail.com", Identity.generate())
    office.close()


def test_one_client_is_held_back_and_another_is_not(office: Office):
    for number in range(20):
        office.ask(f"me@place{number}.org", Identity.generate(), client="2001:db8::1")
    assert office.refused(someone(), client="2001:db8::dead:beef") == "too many"
    office.ask(someone(), Identity.generate(), client="2001:db8:0:1::1")
    office.ask(someone(), Identity.generate(), client="192.0.2.1")
    office.now_ms += 2 * HOUR_MS
    office.ask(someone(), Identity.generate(), client="2001:db8::1")


def test_an_account_and_a_domain_are_held_back(office: Office):
    account = Identity.generate()
    for _ in range(10):
        office.ask(someone(), account)
    assert office.refused(someone(), account) == "too many"
    for number in range(60):
        office.ask(f"p{number}@one.org", Identity.generate())
    assert office.refused("p60@one.org") == "too many"


def test_no_more_credentials_in_a_day_than_the_owner_wants(tmp_path):
    office = Office(tmp_path, {"accounts_a_day": "2"})
    for _ in range(2):
        office.verified(someone(), Identity.generate())
    assert office.refused(someone()) == "busy"
    office.now_ms += DAY_MS + 1
    office.verified(someone(), Identity.generate())
    office.close()


def test_nothing_but_a_digest_stays_of_an_address(office: Office):
    account = Identity.generate()
    done = office.ask("kept-nowhere@lovelace.org", account)
    code = office.code()
    office.confirm(done.challenge, code)
    office.ask("kept-nowhere-either@lovelace.org", Identity.generate())
    office.now_ms += CODE_LIFE_S * 1000
    office.service.postman.tidy()
    office.close()
    secrets = [
        b"kept-nowhere",
        b"lovelace",
        code.encode(),
        code.replace("-", "").encode(),
        code[3:].replace("-", "").encode(),
    ]
    for path in office.home.rglob("*"):
        if path.is_file() and path.suffix != ".eml":
            held = [secret for secret in secrets if secret in path.read_bytes().lower()]
            assert held == [], path.name
    office.__post_init__()


def test_the_log_holds_neither_addresses_nor_codes(office: Office, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    account = Identity.generate()
    office.verified("ada@lovelace.org", account)
    asked = office.ask("ada@lovelace.org", Identity.generate())
    office.confirm(asked.challenge, other_code(office.code()))
    assert account.peer_id in caplog.text
    for secret in ("ada", "lovelace", *map(str, [asked.challenge, office.code(), office.code().replace("-", "")])):
        assert secret not in caplog.text.replace(account.peer_id, "")


def test_a_ledger_that_is_lost_forgets_quotas_and_no_holder(office: Office):
    first, second = Identity.generate(), Identity.generate()
    office.verified(ADA, first)
    office.service.close()
    for path in office.folder.glob("ledger*"):
        path.unlink()
    office.open()
    assert office.verified(ADA, second).body["supersedes"]["account"] == first.peer_id


def test_the_record_is_one_of_the_verifiers_log(office: Office):
    first = office.verified(someone(), Identity.generate())
    second = office.verified(someone(), Identity.generate())
    assert (first.seq, second.seq, second.prev) == (1, 2, first.id)
    assert decode(second.raw, office.store.network).id == second.id
    assert {one.id for one in office.store.outbox()} >= {first.id, second.id}
