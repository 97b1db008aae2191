"""Every reason is a sentence that a user can understand, and no two are the same."""

import re

import pytest

from fleet.reasons import SENTENCES, Reason

# What stands beside a sentence in `explain`: "unit-tests waits: <sentence>".
LINE_WIDTH = 100
# Words of the trade that a user of GitLab has no reason to know. Source: style.md 4.1.
JARGON = re.compile(r"\b(build|worker|node|server|task|quota|exception|none|null|todo)\b", re.I)


def test_every_reason_has_a_sentence_and_no_sentence_lacks_one() -> None:
    assert set(SENTENCES) == set(Reason)


def test_no_two_sentences_are_the_same() -> None:
    plain = [re.sub(r"\W+", " ", sentence).lower() for sentence in SENTENCES.values()]
    assert len(set(plain)) == len(plain)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_own_id_in_logs_and_metrics(reason: Reason) -> None:
    assert reason.value == reason.name.lower()
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason.value)
    assert f"{reason}" == reason.value


@pytest.mark.parametrize("reason", Reason)
def test_a_sentence_says_something_to_the_user(reason: Reason) -> None:
    """It continues a line, fits on it, is more than its own id again, and speaks our words."""
    sentence = SENTENCES[reason]
    words = set(re.findall(r"[a-z]+", sentence.lower()))
    assert sentence == sentence.strip()
    assert sentence[-1] not in ".!,:;"
    assert len(sentence.split()) >= 3
    assert len(sentence) <= LINE_WIDTH
    assert sentence.count("`") % 2 == 0
    assert words - set(reason.value.split("_")), "it repeats its id"
    assert not JARGON.search(sentence)
    assert sentence[0].islower() or sentence.startswith(("GitLab", "AWS"))
