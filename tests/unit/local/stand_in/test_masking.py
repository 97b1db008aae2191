"""Secrets never get through, however the output is cut."""

from __future__ import annotations

from hypothesis import given, strategies as st

from local.stand_in.masking import Filters, Masker

pieces = st.lists(st.text(alphabet="abc", max_size=6), max_size=12)
secrets = st.lists(st.text(alphabet="abc", min_size=2, max_size=5), min_size=1, max_size=3)


def through(masker: Masker | Filters, parts: list[str]) -> str:
    return (b"".join(masker.feed(part.encode()) for part in parts) + masker.flush()).decode()


def test_a_secret_becomes_a_word() -> None:
    assert through(Masker(["hunter2"]), ["it is hunter2!"]) == "it is [MASKED]!"


def test_a_secret_in_two_pieces_is_found() -> None:
    assert through(Masker(["hunter2"]), ["it is hun", "ter2!"]) == "it is [MASKED]!"


def test_what_only_begins_like_a_secret_comes_out() -> None:
    masker = Masker(["hunter2"])
    assert masker.feed(b"a hunt") == b"a "
    assert masker.feed(b"ing") == b"hunting"
    assert masker.feed(b" hun") == b" "
    assert masker.flush() == b"hun"


def test_of_two_secrets_the_longer_is_hidden_whole() -> None:
    assert through(Masker(["abc", "abcdef"]), ["xabc", "defx abcx"]) == "x[MASKED]x [MASKED]x"


def test_a_longer_secret_that_does_not_come_leaves_the_shorter_hidden() -> None:
    assert through(Masker(["ab", "abcdef"]), ["abcd", "x"]) == "[MASKED]cdx"


def test_nothing_to_hide_changes_nothing() -> None:
    assert through(Masker(["", ""]), ["as ", "it is"]) == "as it is"


@given(hidden=secrets, parts=pieces)
def test_no_secret_is_left_in_what_comes_out(hidden: list[str], parts: list[str]) -> None:
    shown = through(Masker(hidden), parts)
    for rest in shown.split("[MASKED]"):
        assert not any(secret in rest for secret in hidden)


@given(hidden=secrets, parts=pieces)
def test_the_cutting_makes_no_difference(hidden: list[str], parts: list[str]) -> None:
    assert through(Masker(hidden), parts) == through(Masker(hidden), ["".join(parts)])


TOKENS = st.text("glpat-crbxo.=_ ?&private_token1", max_size=40)


@given(texts=st.lists(TOKENS, max_size=4), tokens=st.lists(st.text("ab1", min_size=1)))
def test_tokens_are_hidden_however_they_are_cut(texts: list[str], tokens: list[str]) -> None:
    heads = ("glpat-", "glcbt-64_", "own-", "?private_token=")
    parts = [*texts, *(f" {heads[at % 4]}{token}" for at, token in enumerate(tokens)), *texts]
    shown = through(Filters([], ["own-"]), parts)
    assert shown == through(Filters([], ["own-"]), ["".join(parts)])
    assert shown == through(Filters([], ["own-"]), list("".join(parts)))
    for at, token in enumerate(tokens):
        assert f" {heads[at % 4]}{token}" not in shown
