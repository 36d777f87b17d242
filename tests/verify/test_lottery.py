"""The lottery: nobody steers it, the author never sits, colluders rarely sit together, and duties are spread."""

import hashlib
import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import ExperimentError
from verify.lottery import LEAD_MAX, SEATS, checked_share, draw, is_checked, seed

ROUND = "5a" * 32
names = st.text("abcdefgh", min_size=1, max_size=3)


def result(number: int) -> str:
    """Return the id of a made-up result."""
    return hashlib.sha256(f"result {number}".encode()).hexdigest()


def at_least(wanted: int, seats: int, bad: int, people: int) -> float:
    """Return the chance of `wanted` bad seats or more, without replacement (hypergeometric)."""
    ways = [math.comb(bad, k) * math.comb(people - bad, seats - k) for k in range(seats + 1)]
    return sum(ways[wanted:]) / math.comb(people, seats)


@given(st.lists(names, max_size=12), names, st.integers(0, 9), st.dictionaries(names, st.integers(0, 9)), st.randoms())
def test_a_draw_is_a_law(
    people: list[str], author: str, seats: int, duties: dict[str, int], chance: random.Random
) -> None:
    drawn = draw(result(1), author=author, accounts=people, round_value=ROUND, seats=seats, duties=duties)
    assert author not in drawn
    assert len(set(drawn)) == len(drawn) <= seats
    assert set(drawn) <= set(people)
    mixed = people + people[:3]
    chance.shuffle(mixed)
    assert drawn == draw(result(1), author=author, accounts=mixed, round_value=ROUND, seats=seats, duties=duties)
    more = draw(result(1), author=author, accounts=people, round_value=ROUND, seats=seats + 3, duties=duties)
    assert more[: len(drawn)] == drawn
    if len(set(people) - {author}) >= 1 and seats:
        assert drawn, "somebody is always at or below the average"


def test_whoever_is_barred_never_sits() -> None:
    people = [f"p{n}" for n in range(10)]
    for number in range(200):
        drawn = draw(result(number), author="p0", accounts=people, round_value=ROUND, barred={"p1", "p2"})
        assert drawn
        assert set(drawn) == set(people) - {"p0", "p1", "p2"}


def test_a_tenth_that_colludes_seldom_holds_three_seats_of_seven() -> None:
    people = [f"p{n}" for n in range(120)]
    expected = at_least(3, SEATS, 12, 119)
    assert expected < 0.0257  # the binomial bound, that of endlessly many accounts
    draws, together = 2500, 0
    for number in range(draws):
        drawn = draw(result(number), author="p119", accounts=people, round_value=ROUND)
        together += sum(int(name[1:]) < 12 for name in drawn) >= 3
    assert together / draws == pytest.approx(expected, abs=4 * math.sqrt(expected / draws))
    assert together / draws <= 0.03


def test_duties_are_spread_and_colluders_gain_nothing_by_the_bound() -> None:
    people = [f"p{n}" for n in range(50)]
    chance, duties, together = random.Random(4), Counter[str](), 0
    draws = 1500
    for number in range(draws):
        author = chance.choice(people)
        drawn = draw(result(number), author=author, accounts=people, round_value=ROUND, duties=duties)
        duties.update(drawn)
        together += sum(int(name[1:]) < 5 for name in drawn) >= 3
        assert max(duties.values()) <= sum(duties.values()) / (len(people) - 1) + LEAD_MAX + 1
    assert len(duties) == len(people)
    assert min(duties.values()) >= 0.75 * SEATS * draws / len(people)
    assert together / draws <= 0.03


def test_trying_many_results_steers_nothing_before_the_round_value_is_known() -> None:
    """Of 300 results, the one that seats friends best under a guessed round value seats no more under the real one."""
    people = [f"p{n}" for n in range(60)]
    friends = {f"p{n}" for n in range(6)}

    def seated(number: int, round_value: str) -> int:
        return len(friends & set(draw(result(number), author="p59", accounts=people, round_value=round_value)))

    guesses = [hashlib.sha256(f"guess {n}".encode()).hexdigest() for n in range(15)]
    picked = [max(range(n, n + 100), key=lambda number: seated(number, guess)) for n, guess in enumerate(guesses)]
    assert sum(seated(n, guess) for n, guess in zip(picked, guesses, strict=True)) / 15 >= 2.5
    real = [hashlib.sha256(f"real {n}".encode()).hexdigest() for n in range(15)]
    found = sum(seated(n, value) for n in picked for value in real) / 225
    assert found == pytest.approx(SEATS * 6 / 59, abs=0.25)


def test_a_new_account_moves_nobody_else() -> None:
    people = [f"p{n}" for n in range(30)]
    before = draw(result(5), author="p0", accounts=people, round_value=ROUND, seats=30)
    after = draw(result(5), author="p0", accounts=[*people, "new"], round_value=ROUND, seats=30)
    assert tuple(name for name in after if name != "new") == before


def test_seeds_are_ones_own() -> None:
    seeds = {seed(result(r), f"p{p}", ROUND, n) for r in range(10) for p in range(10) for n in range(10)}
    assert len(seeds) == 1000
    assert 0 <= min(seeds) < max(seeds) < 2**31
    assert seed(result(0), "p0", ROUND, 1) != seed(result(0), "p0", "5b" * 32, 1)


def test_nobody_is_beyond_being_checked() -> None:
    shares = [checked_share(row) for row in range(1000)]
    assert shares[0] == 1
    assert shares[10] == Fraction(1, 2)
    assert shares == sorted(shares, reverse=True)
    assert min(shares) == Fraction(1, 10)
    for share in (Fraction(1), Fraction(1, 3), Fraction(1, 10)):
        found = sum(is_checked(result(n), ROUND, share) for n in range(3000)) / 3000
        assert found == pytest.approx(float(share), abs=0.03)
    assert all(is_checked(result(n), ROUND, Fraction(1)) for n in range(100))


def test_published_draws() -> None:
    """Every program of the network draws these."""
    drawn = draw(result(1), author="b", accounts=["a", "b", "c", "d", "e"], round_value=ROUND, seats=3)
    assert drawn == ("e", "d", "c")
    assert seed(result(1), "a", ROUND, 0) == 1588675373


@pytest.mark.parametrize("bad", ["", "5a" * 31, "5A" * 32, "5a" * 32 + "\n"])
def test_only_hashes_decide(bad: str) -> None:
    for one, other in ((bad, ROUND), (ROUND, bad)):
        with pytest.raises(ExperimentError, match="64 hexadecimal"):
            draw(one, author="a", accounts=["b"], round_value=other)
        with pytest.raises(ExperimentError):
            seed(one, "a", other, 0)
    with pytest.raises(ExperimentError):
        draw(ROUND, author="a", accounts=["b"], round_value=ROUND, seats=-1)
    with pytest.raises(ExperimentError):
        checked_share(-1)
