"""The secrets that verify a webhook's deliveries; each webhook has its own."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from fleet.hook_scope import HookScope

# Of each kind, for one webhook: the newest, the former, and those of rotations that GitLab did not
# answer. After that a rotation offers the newest again until GitLab uses it.
KEPT = 4
# A delivery without proof causes a new reading, but no more often than this: until then a function
# may not know a new secret.
DOUBT_EVERY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WebhookSecrets:
    """The secrets of one webhook, newest first. One signing token ends the plain ones."""

    signing: tuple[str, ...] = ()  # "whsec_…"; GitLab 19.0 and newer
    tokens: tuple[str, ...] = ()  # what GitLab sends as X-Gitlab-Token

    def __post_init__(self) -> None:
        """Refuse empty secrets: they equal an empty header."""
        for kind in (self.signing, self.tokens):
            if len(kind) > KEPT or not all(secret.strip() for secret in kind):
                raise ValueError("at most four secrets of each kind, none of them empty")

    @property
    def is_empty(self) -> bool:
        """Whether there is no secret, so that every delivery is refused."""
        return not (self.signing or self.tokens)

    @property
    def demanded(self) -> tuple[str, ...]:
        """The secrets that verify a delivery, newest first."""
        return self.signing or self.tokens

    def without_older_than(self, secret_id: str | None) -> "WebhookSecrets":
        """Without the secrets older than `secret_id`; unchanged where that is not among them."""
        return replace(
            self,
            signing=_up_to(secret_id, self.signing),
            tokens=_up_to(secret_id, self.tokens),
        )


AllWebhookSecrets = Mapping[str, WebhookSecrets]  # by the webhook's name, as `webhook_name` gives


def webhook_name(scope: HookScope, url: str) -> str:
    """The name of the webhook of a scope at an address: "project:77@1f3a9c2b"."""
    address = url.rstrip("/").encode(errors="surrogatepass")
    return f"{scope}@{sha256(address).hexdigest()[:8]}"


def scope_of_name(name: str) -> HookScope | None:
    """The scope in a webhook's name; None where it has none."""
    with suppress(ValueError):
        return HookScope.read(name.partition("@")[0])
    return None


def secret_id(secret: str) -> str:
    """The id of a secret in events and rows. Secrets have 32 random bytes: no id reveals one.

    Twelve hexadecimal digits.
    """
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()[:12]


def _up_to(wanted: str | None, secrets: tuple[str, ...]) -> tuple[str, ...]:
    ids = [secret_id(secret) for secret in secrets]
    return secrets[: ids.index(wanted) + 1] if wanted in ids else secrets
