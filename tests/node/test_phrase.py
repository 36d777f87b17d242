"""The recovery phrase: what was written down comes back, and what was written wrong is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import UserError
from node import phrase

SEEDS = st.binary(min_size=phrase.SEED_BYTES, max_size=phrase.SEED_BYTES)
# The last of BIP-39's published vectors for 256 bits.
SEED = bytes.fromhex("f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f")
TEXT = (
    "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group "
    "space point ten exist slush involve unfold"
)
WORDS = TEXT.split()


def test_the_published_vector():
    assert phrase.words_of(SEED) == WORDS
    assert phrase.seed_of(" ".join(WORDS)) == SEED


@given(SEEDS)
def test_what_is_shown_comes_back(seed):
    words = phrase.words_of(seed)
    assert phrase.seed_of("\n".join(phrase.rows(words))) == seed
    assert phrase.seed_of(" ".join(word[:4].upper() for word in words)) == seed
    assert phrase.seed_of("# a comment of abandon abandon\n" + ",  ".join(words)) == seed


@given(SEEDS, st.integers(0, 23), st.integers(0, 2047))
def test_one_other_word_is_noticed_or_another_phrase(seed, place, other):
    """A check sum of eight bits lets one wrong word in 256 pass; then the key that comes back is another one."""
    words = phrase.words_of(seed)
    changed = [*words[:place], phrase._english().wordlist[other], *words[place + 1 :]]
    if phrase._english().check(" ".join(changed)):
        assert (phrase.seed_of(" ".join(changed)) == seed) == (changed == words)
    else:
        with pytest.raises(UserError, match="check sum"):
            phrase.seed_of(" ".join(changed))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [*WORDS[:6], "warior", *WORDS[7:]],
            "word 7 of the recovery phrase, 'warior', is not in the list of words: the nearest is 'warrior'",
        ),
        ([*WORDS[:6], "\u202ewar", *WORDS[7:]], "word 7 of the recovery phrase"),
        (WORDS[:23], "has 24 words, and here are 23"),
        ([*WORDS, "zoo"], "has 24 words, and here are 25"),
        ([WORDS[1], WORDS[0], *WORDS[2:]], "check sum"),
        ([], "here are 0"),
        (["x" * 5000], "is no recovery phrase"),
        (["abandon"] * 500, "here are 500"),
    ],
)
def test_wrong_phrases(words, said):
    with pytest.raises(UserError) as caught:
        phrase.seed_of(" ".join(words))
    assert said in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_word_is_known_by_its_first_four_letters():
    assert phrase.is_word(" Void ", "void")
    assert phrase.is_word("warr", "warrior")
    assert not phrase.is_word("war", "warrior")
    assert not phrase.is_word("", "void")
