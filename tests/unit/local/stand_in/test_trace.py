"""The growing log: secrets never get through, however the output is cut; limit and checksum."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, strategies as st

from local.stand_in.trace import Trace, secrets_filter

pieces = st.lists(st.text(alphabet="abc", max_size=6), max_size=12)
secrets = st.lists(st.text(alphabet="abc", min_size=2, max_size=5), min_size=1, max_size=3)


def shown(trace: Trace, *parts: str | bytes) -> str:
    for part in parts:
        trace.write(part)
    trace.write("", is_end=True)
    return trace.read(0, 10_000_000).decode()


@pytest.mark.parametrize(
    ("hidden", "parts", "text"),
    [
        (["hunter2"], ["it is hun", "ter2!"], "it is [MASKED]!"),
        (["abc", "abcdef"], ["xabc", "defx abcx"], "x[MASKED]x [MASKED]x"),
        (["ab", "abcdef"], ["abcd", "x"], "[MASKED]cdx"),
        (["", ""], ["as ", "it is"], "as it is"),
    ],
)
def test_a_secret_becomes_a_word(hidden: list[str], parts: list[str], text: str) -> None:
    assert shown(Trace(secrets=hidden), *parts) == text


def test_what_only_begins_like_a_secret_comes_out() -> None:
    masker = secrets_filter(["hunter2"])
    assert masker.feed(b"a hunt") == b"a "
    assert masker.feed(b"ing") == b"hunting"
    assert masker.feed(b" hun") == b" "
    assert masker.feed(b"", is_end=True) == b"hun"


@given(hidden=secrets, parts=pieces)
def test_no_secret_is_left_in_what_comes_out(hidden: list[str], parts: list[str]) -> None:
    text = shown(Trace(secrets=hidden), *parts)
    assert not any(secret in rest for rest in text.split("[MASKED]") for secret in hidden)
    assert text == shown(Trace(secrets=hidden), "".join(parts))


TOKENS = st.text("glpat-crbxo.=_ ?&private_token1", max_size=40)


@given(texts=st.lists(TOKENS, max_size=4), tokens=st.lists(st.text("ab1", min_size=1)))
def test_tokens_are_hidden_however_they_are_cut(texts: list[str], tokens: list[str]) -> None:
    heads = ("glpat-", "glcbt-64_", "own-", "?private_token=")
    parts = [*texts, *(f" {heads[at % 4]}{token}" for at, token in enumerate(tokens)), *texts]
    text = shown(Trace(token_prefixes=["own-"]), *parts)
    assert text == shown(Trace(token_prefixes=["own-"]), "".join(parts))
    assert text == shown(Trace(token_prefixes=["own-"]), *"".join(parts))
    for at, token in enumerate(tokens):
        assert f" {heads[at % 4]}{token}" not in text


def test_a_character_in_two_pieces_stays_whole_and_what_is_no_text_is_replaced() -> None:
    whole = "ü".encode()
    assert shown(Trace(), whole[:1], whole[1:], b"a\xffb\xc3") == "üa\ufffdb\ufffd"


@pytest.mark.parametrize(
    ("limit", "text", "kept"),
    [(10, "0123456789abc", "0123456789"), (2, "€uro", ""), (2, "ab", "ab")],
)
def test_at_the_limit_it_says_so_once_and_takes_no_more(limit: int, text: str, kept: str) -> None:
    trace = Trace(limit_bytes=limit)
    read = shown(trace, text, "more")
    said = f"\n\033[33;1mJob's log exceeded limit of {limit} bytes.\n"
    assert read.startswith(kept + said)
    assert read.count("more") == 1  # in the sentence itself
    assert trace.checksum == f"crc32:{zlib.crc32(read.encode()):08x}"
    assert trace.size == len(read.encode())
