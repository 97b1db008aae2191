import pytest

from fleet.webhook_secrets import WebhookSecrets


@pytest.mark.parametrize(
    "kinds",
    [
        {"signing": ("",)},
        {"tokens": ("good", "  ")},
        {"signing": ("a", "b", "c")},
        {"tokens": ("a", "b", "c")},
    ],
)
def test_what_could_let_anyone_in_cannot_be_made(kinds: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="at most two"):
        WebhookSecrets(**kinds)


def test_is_empty_only_without_any() -> None:
    assert WebhookSecrets().is_empty
    assert not WebhookSecrets(signing=("a",)).is_empty
    assert not WebhookSecrets(tokens=("a", "b")).is_empty


def test_is_not_told_by_printing_it() -> None:
    assert "hidden" not in repr(WebhookSecrets(signing=("hidden",), tokens=("hidden",)))
