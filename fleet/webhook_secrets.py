"""What a delivery may prove itself with: each webhook has secrets of its own."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from fleet.hook_scope import HookScope

# Of each kind, for one webhook: the newest, the one before, and those of rotations that GitLab did
# not answer. After that a rotation offers the newest again until GitLab was seen to use it.
KEPT = 4


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WebhookSecrets:
    """The secrets of one webhook, newest first. One signing token ends the plain ones."""

    signing: tuple[str, ...] = ()  # "whsec_…"; GitLab 19.0 and newer
    tokens: tuple[str, ...] = ()  # what GitLab sends as X-Gitlab-Token

    def __post_init__(self) -> None:
        """Refuse what could let anyone in: an empty secret equals an empty header."""
        for kind in (self.signing, self.tokens):
            if len(kind) > KEPT or not all(secret.strip() for secret in kind):
                raise ValueError("at most four secrets of each kind, none of them empty")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is configured, so that every delivery is refused."""
        return not (self.signing or self.tokens)

    @property
    def demanded(self) -> tuple[str, ...]:
        """Those that a delivery is verified with, newest first."""
        return self.signing or self.tokens

    def without_older_than(self, secret_id: str | None) -> "WebhookSecrets":
        """Without those before the secret that GitLab was seen to use; without it, unchanged."""
        return replace(
            self,
            signing=_up_to(secret_id, self.signing),
            tokens=_up_to(secret_id, self.tokens),
        )


AllWebhookSecrets = Mapping[str, WebhookSecrets]  # by the webhook's name, as `webhook_name` gives


def webhook_name(scope: HookScope, url: str) -> str:
    """Name the webhook of a scope at an address: "project:77@1f3a9c2b"."""
    address = url.rstrip("/").encode(errors="surrogatepass")
    return f"{scope}@{sha256(address).hexdigest()[:8]}"


def scope_of_name(name: str) -> HookScope | None:
    """The scope in a webhook's name; None where it has none."""
    with suppress(ValueError):
        return HookScope.read(name.partition("@")[0])
    return None


def secret_id(secret: str) -> str:
    """What names a secret in events and rows. It is drawn from 32 random bytes: nobody goes back.

    Twelve hexadecimal digits.
    """
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()[:12]


def _up_to(wanted: str | None, secrets: tuple[str, ...]) -> tuple[str, ...]:
    ids = [secret_id(secret) for secret in secrets]
    return secrets[: ids.index(wanted) + 1] if wanted in ids else secrets
