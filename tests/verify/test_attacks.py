"""Guessing, listing, flooding and reading: what an attacker gets out of a verifier, counted.

AUTORESEARCH_SOAK_GUESSES, _REGISTRATIONS and _TIMINGS set how many the soak makes. The service is asked as a function,
without a socket: a hundred thousand requests take minutes then, and no wait of a network hides a difference in time.
"""

import gc
import hashlib
import hmac
import os
import secrets
import time
from collections import Counter
from pathlib import Path

import pytest
from office import DAY_MS, ROOMY, Office, credential, refusal, someone
from scipy.stats import ks_2samp

from ensue.identity import Identity
from verify.request import SECRET_DIGITS, TRIES_MAX, ChallengeAnswer, parsed
from verify.service import Answer

few_or_many = pytest.mark.parametrize(
    "soak", [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.soak)]
)


def wanted(name: str, many: int, few: int, *, soak: bool) -> int:
    return int(os.environ.get(f"AUTORESEARCH_SOAK_{name}", many)) if soak else few


def table(capsys: pytest.CaptureFixture[str], **figures: object) -> None:
    """Print one row of figures as a Markdown table."""
    heads = " | ".join(name.replace("_", " ") for name in figures)
    with capsys.disabled():
        print(f"\n| {heads} |\n|{'--:|' * len(figures)}\n| {' | '.join(map(str, figures.values()))} |")


@few_or_many
@pytest.mark.timeout(3600)
def test_guessing(tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]):
    """One address under attack from ever new clients and accounts, for as long as the limits allow any guess at all."""
    guesses, office, outcomes = wanted("GUESSES", 100_000, 600, soak=soak), Office(tmp_path), Counter[str]()
    victim, made, drawn, began = "victim@gmail.com", 0, 0, time.monotonic()
    while made < guesses:
        challenge = office.ask(victim, Identity.generate()).challenge
        drawn += 1
        tag = f"{secrets.randbelow(100):02d}"
        for _ in range(TRIES_MAX + 1):
            code = f"{tag}{secrets.randbelow(10**SECRET_DIGITS):0{SECRET_DIGITS}d}"
            answer = office.confirm(challenge, code)
            outcomes[refusal(answer).error if answer.status != 200 else "right"] += 1
            made += 1
        office.now_ms += 20_000
    hours = drawn * 20 / 3600
    usable = len(office.letters()) * TRIES_MAX
    assert outcomes["right"] == 0
    assert set(outcomes) == {"wrong", "too many"}
    assert outcomes["wrong"] == drawn * TRIES_MAX
    assert len(office.letters()) <= 3 * (hours + 1)
    assert len(office.letters()) <= 10 * (hours / 24 + 1)
    office.close()
    if soak:
        chance = f"{usable / 10**SECRET_DIGITS:.1e}"
        table(capsys, guesses=made, challenges=drawn, hours_of_attack=round(hours), that_met_a_code=usable,
              chance_of_one_hit=chance, hits=0, seconds=round(time.monotonic() - began))  # fmt: skip


def test_one_challenge_under_thousands_of_guesses(tmp_path: Path):
    """However many come at once, five are looked at."""
    office = Office(tmp_path, dict(ROOMY))
    asked = office.ask(someone(), Identity.generate())
    outcomes = Counter(
        refusal(office.confirm(asked.challenge, f"{asked.tag}{number:08d}")).error for number in range(1000)
    )
    assert outcomes == {"wrong": TRIES_MAX, "too many": 1000 - TRIES_MAX}
    office.close()


def test_codes_are_drawn_evenly(tmp_path: Path):
    office = Office(tmp_path)
    codes = [office.service.postman.draw("0" * 32, "00")[0][2:] for _ in range(20_000)]
    assert len(set(codes)) > 19_990
    for place in range(SECRET_DIGITS):
        counts = Counter(code[place] for code in codes)
        assert all(1_750 < counts[digit] < 2_250 for digit in "0123456789")  # 2,000 ± 6 standard deviations
    office.close()


def _timed(office: Office, body: bytes, path: str) -> tuple[float, Answer]:
    began = time.perf_counter()
    answer = office.post(path, body)
    return time.perf_counter() - began, answer


def _indistinct(first: list[float], second: list[float]) -> float:
    """Return the Kolmogorov-Smirnov p-value that two samples of times come from one distribution."""
    return float(ks_2samp(first, second).pvalue)


@few_or_many
@pytest.mark.timeout(3600)
def test_known_and_unknown_addresses_take_as_long(tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]):
    """Same answer, same time: asked in turn, in random order, so that nothing but the address differs."""
    pairs = wanted("TIMINGS", 4_000, 80, soak=soak)
    office = Office(tmp_path, dict(ROOMY))
    known = [someone() for _ in range(pairs)]
    for address in known:
        office.verified(address, Identity.generate())
    office.now_ms += 2 * DAY_MS  # what was asked lately is another matter than who takes part
    office.service.postman.tidy()
    office.service.postman.start()  # letters go out in a thread, as in service
    times: dict[bool, list[float]] = {True: [], False: []}
    said: dict[bool, set[str]] = {True: set(), False: set()}
    gc.disable()
    try:
        for address in known:
            for is_known in secrets.choice(((True, False), (False, True))):
                request = office.request(address if is_known else someone(), Identity.generate())
                took, answer = _timed(office, request, "/v1/challenges")
                times[is_known].append(took)
                found = parsed(ChallengeAnswer, answer.body)
                said[is_known].add(f"{answer.status} {sorted(answer.headers.items())} {found.expires_s} {found.said}")
    finally:
        gc.enable()
    office.close()
    assert said[True] == said[False]
    assert len(said[True]) == 1
    p = _indistinct(times[True], times[False])
    if soak:
        known, unknown = (round(sorted(times[one])[pairs // 2] * 1e6) for one in (True, False))
        table(capsys, asked_for=pairs, known_median_us=known, unknown_median_us=unknown, ks_p=f"{p:.3f}")
    assert p > 1e-4


@few_or_many
@pytest.mark.timeout(3600)
def test_unknown_challenges_and_wrong_codes_take_as_long(
    tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]
):
    pairs = wanted("TIMINGS", 4_000, 80, soak=soak)
    office = Office(tmp_path, dict(ROOMY))
    real = [office.ask(someone(), Identity.generate()).challenge for _ in range(-(-pairs // TRIES_MAX))]
    times: dict[bool, list[float]] = {True: [], False: []}
    gc.disable()
    try:
        for number in range(pairs):
            for is_real in secrets.choice(((True, False), (False, True))):
                challenge = real[number % len(real)] if is_real else secrets.token_hex(16)
                began = time.perf_counter()
                answer = office.confirm(challenge, "0123456789")
                times[is_real].append(time.perf_counter() - began)
                assert refusal(answer).error == "wrong"
    finally:
        gc.enable()
    office.close()
    p = _indistinct(times[True], times[False])
    if soak:
        real, unknown = (round(sorted(times[one])[pairs // 2] * 1e6) for one in (True, False))
        table(capsys, guesses=pairs, real_median_us=real, unknown_median_us=unknown, ks_p=f"{p:.3f}")
    assert p > 1e-4


def test_public_credentials_tell_no_address(tmp_path: Path):
    """A dictionary that holds every address, every usual digest, and the secrets that an outsider can see."""
    office = Office(tmp_path, dict(ROOMY))
    people = [f"{name}@lovelace.org" for name in ("ada", "bob", "carl", "dora", "eve")]
    records = [office.verified(one, Identity.generate()) for one in people]
    digests = {record.body["address"] for record in records}
    words = [spelled for one in people for spelled in (one, one.upper(), one.split("@")[0], f"mailto:{one}")]
    keys = [
        *(b"", office.verifier.public_key, office.verifier.peer_id.encode(), bytes.fromhex(office.store.network)),
        *(office.store.network.encode(), b"autoresearch-address-v1\0", b"\0" * 32),
    ]
    purposes = [b"", b"autoresearch-address-v1\0", b"autoresearch-domain-v1\0"]
    guesses = set()
    for word in words:
        for purpose in purposes:
            data = purpose + word.encode()
            guesses |= {hashlib.new(name, data).hexdigest() for name in ("sha256", "sha3_256", "blake2s")}
            guesses |= {hmac.new(key, data, "sha256").hexdigest() for key in keys}
            guesses |= {hashlib.sha256(key + data).hexdigest() for key in keys}
    assert len(guesses) > 500
    assert guesses & digests == set()
    raw = b"".join(record.raw for record in office.store.records()).lower()
    assert [word for word in words if len(word) > 3 and word.lower().encode() in raw] == []
    other = Office(tmp_path / "other", dict(ROOMY))  # another verifier's digests of the same people match none
    assert {other.verified(one, Identity.generate()).body["address"] for one in people} & digests == set()
    for one in (office, other):
        one.close()


@few_or_many
@pytest.mark.timeout(3600)
def test_registrations_in_bulk(tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]):
    """From 100 clients, with 50 domains that nobody listed and one that is listed: three accounts a domain and day."""
    tries = wanted("REGISTRATIONS", 10_000, 160, soak=soak)
    office = Office(tmp_path)
    domains = [f"{secrets.token_hex(5)}.org" for _ in range(49)] + ["mailinator.com"]
    clients = [f"192.0.2.{number}" for number in range(100)]
    outcomes, began, letters = Counter[str](), time.monotonic(), 0
    for number in range(tries):
        body = office.request(f"p{number}@{domains[number % 50]}", Identity.generate())
        answer = office.post("/v1/challenges", body, clients[number % 100])
        if answer.status != 202:
            outcomes[refusal(answer).error] += 1
            continue
        confirmed = office.confirm(parsed(ChallengeAnswer, answer.body).challenge, office.code())
        letters += 1
        outcomes["an account" if confirmed.status == 200 else refusal(confirmed).error] += 1
        if confirmed.status == 200:
            credential(confirmed)
    assert outcomes["an account"] == 49 * 3
    assert len(list(office.store.records(kind="credential"))) == 49 * 3
    assert letters <= 100 * 20
    assert outcomes["disposable"] > 0
    office.close()
    if soak:
        found = {what.replace(" ", "_"): count for what, count in sorted(outcomes.items())}
        table(capsys, registrations=tries, **found, seconds=round(time.monotonic() - began))


def test_memory_of_limits_is_bounded():
    from verify.rates import KEYS_MAX, ByAddress, an_hour

    now = [0.0]
    rate = an_hour(2, clock=lambda: now[0])
    for number in range(KEYS_MAX + 1000):
        assert rate.allows(str(number))
    assert len(rate) == KEYS_MAX
    assert [rate.allows("x") for _ in range(3)] == [True, True, False]
    now[0] += 2 * 3600
    assert rate.allows("x")
    clients = ByAddress(1, clock=lambda: now[0])
    allowed = sum(clients.allows(f"2001:db8:0:{number:x}::1") for number in range(100))
    assert allowed == 8  # a /48 has eight times what a /64 has
    assert clients.allows("::ffff:192.0.2.1")
    assert not clients.allows("192.0.2.1")
    assert clients.allows("no address")
    assert not clients.allows("another one")
