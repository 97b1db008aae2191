"""What a delivery may prove itself with."""

from dataclasses import dataclass

KEPT = 2  # the newest and, while it is being rotated out, the one before


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WebhookSecrets:
    """The secrets of the stack's webhooks, newest first. One signing token ends the plain ones."""

    signing: tuple[str, ...] = ()  # "whsec_…"; GitLab 19.0 and newer
    tokens: tuple[str, ...] = ()  # what GitLab sends as X-Gitlab-Token

    def __post_init__(self) -> None:
        """Refuse what could let anyone in: an empty secret equals an empty header."""
        for kind in (self.signing, self.tokens):
            if len(kind) > KEPT or not all(secret.strip() for secret in kind):
                raise ValueError("at most two secrets of each kind, none of them empty")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is configured, so that every delivery is refused."""
        return not (self.signing or self.tokens)
