import pytest
from hypothesis import given, settings, strategies as st

from fleet.hook_scope import HookScope
from fleet.webhook_secrets import (
    KEPT,
    WebhookSecrets,
    scope_of_name,
    secret_id,
    webhook_name,
)

SECRETS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=KEPT, unique=True).map(tuple)


@pytest.mark.parametrize(
    "kinds",
    [
        {"signing": ("",)},
        {"tokens": ("good", "  ")},
        {"signing": tuple("abcde")},
        {"tokens": tuple("abcde")},
    ],
)
def test_what_could_let_anyone_in_cannot_be_made(kinds: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="at most four"):
        WebhookSecrets(**kinds)


def test_secrets_are_empty_only_without_any() -> None:
    assert WebhookSecrets().is_empty
    assert not WebhookSecrets(signing=("a",)).is_empty
    assert not WebhookSecrets(tokens=("a", "b")).is_empty


def test_printing_secrets_does_not_show_them() -> None:
    assert "hidden" not in repr(WebhookSecrets(signing=("hidden",), tokens=("hidden",)))


@settings(max_examples=50)
@given(SECRETS, SECRETS, st.text("abc", min_size=1, max_size=4))
def test_what_gitlab_was_seen_to_use_stays_with_all_newer(
    signing: tuple[str, ...], tokens: tuple[str, ...], used: str
) -> None:
    own = WebhookSecrets(signing=signing, tokens=tokens)
    remaining = own.without_older_than(secret_id(used))
    for before, after in ((signing, remaining.signing), (tokens, remaining.tokens)):
        newer = before.index(used) + 1 if used in before else len(before)
        assert after == before[:newer]
    assert own.without_older_than(None) == own


def test_one_scope_has_a_webhook_for_each_address() -> None:
    scopes = {HookScope(kind="group", id=number) for number in (4, 42)}
    names = {webhook_name(scope, url) for scope in scopes for url in ("a", "b")}
    assert len(names) == 4
    assert {scope_of_name(name) for name in names} == scopes
    (scope, *_) = scopes
    assert webhook_name(scope, "https://a/webhook/") == webhook_name(scope, "https://a/webhook")
    assert scope_of_name("nonsense") is None
