"""Secrets Manager with a cache that ages: a rotated secret needs no deployment."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.aws.clients import aws_call
from fleet.errors import Refused
from fleet.field_names import fields_at_fault
from fleet.webhook_secrets import DOUBT_EVERY, KEPT, AllWebhookSecrets, WebhookSecrets

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

    from fleet.config.model import PoolConfig

# Secrets Manager's limit of one secret: about 450 webhooks during a rotation, else 750.
LARGEST = 65_536  # bytes
KINDS = ("signing", "tokens")
NOT_THERE = "ResourceNotFoundException"  # also: a secret that has no value yet

# GitLab takes the base64 of exactly 32 bytes.
SigningToken = Annotated[str, Field(pattern=r"^whsec_[A-Za-z0-9+/]{43}=$")]
Secret = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True)


class _GitLabSecret(_Stored):
    token: Secret


class _PoolSecret(_Stored):
    runner_id: int
    token: Secret


class _HookSecret(_Stored):
    signing: tuple[SigningToken, ...] = Field(default=(), max_length=KEPT)
    tokens: tuple[Secret, ...] = Field(default=(), max_length=KEPT)


class _WebhookSecret(_Stored):
    # What an older fleet stored for all webhooks together proves nothing: `status` shows each
    # webhook as refused, and `webhook register` makes secrets of its own.
    hooks: dict[str, _HookSecret] = Field(default_factory=dict)


StoredT = TypeVar("StoredT", bound=_Stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolToken:
    """A pool's own runner record in GitLab: its presence, and its shared credential."""

    runner_id: int
    token: str = ""

    def __repr__(self) -> str:
        return f"PoolToken(runner_id={self.runner_id})"


def pool_secret(prefix: str, pool: str, *, is_protected: bool) -> str:
    """The name of a pool's secret: of each trust level under a prefix of its own, for IAM."""
    return f"{prefix}{'protected' if is_protected else 'open'}/{pool}"


class PoolSecrets:
    """The tokens of one fleet's pools, for the function that may renew them."""

    def __init__(self, secrets: "SecretStore", prefix: str) -> None:
        self._secrets = secrets
        self._prefix = prefix

    def find(self, pool: "PoolConfig") -> PoolToken | None:
        """A pool's token, never from the cache; None when there is none yet."""
        return self._secrets.find_pool_token(self._name(pool))

    def store(self, pool: "PoolConfig", token: PoolToken) -> None:
        """Store a pool's token."""
        self._secrets.store_pool_token(self._name(pool), token)

    def _name(self, pool: "PoolConfig") -> str:
        return pool_secret(self._prefix, pool.name, is_protected=pool.protected_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    text: str
    read_at: datetime
    doubted_at: datetime | None  # when a doubt last caused a reading


class SecretStore:
    """Secrets by name, cached for `ttl`. No log line and no error has a secret."""

    def __init__(
        self, client: "SecretsManagerClient", ttl: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._ttl = ttl
        self._clock = clock
        self._copies: dict[str, _Copy] = {}
        self._lock = Lock()

    def webhook_secrets(self, name: str, *, doubted: bool = False) -> AllWebhookSecrets:
        """The secrets that verify deliveries, by webhook; empty when none are stored.

        `doubted`: a verification failed, so the copy may be a rotation behind. The store reads
        again, at most once in `DOUBT_EVERY`, so that a forger cannot cause a call each time.
        """
        with self._lock:
            copy = self._copies.get(name)
            if doubted and copy and not self._is_newer(copy.doubted_at, DOUBT_EVERY):
                self._copies[name] = self._fetch(name, "{}", doubted_at=self._clock())
        stored = self._read(name, _WebhookSecret, absent="{}")
        return {
            hook: WebhookSecrets(signing=own.signing, tokens=own.tokens)
            for hook, own in stored.hooks.items()
        }

    def newest_webhook_secrets(self, name: str) -> AllWebhookSecrets:
        """The same, never from the cache: for a caller that changes them."""
        with self._lock:
            self._copies.pop(name, None)
        return self.webhook_secrets(name)

    def gitlab_token(self, name: str) -> str:
        """The token that the fleet calls GitLab with, never from the cache: callers keep it."""
        return self._read(name, _GitLabSecret, max_age=timedelta(0)).token

    def pool_token(self, name: str) -> PoolToken:
        """A pool's runner record."""
        stored = self._read(name, _PoolSecret)
        return PoolToken(runner_id=stored.runner_id, token=stored.token)

    def find_pool_token(self, name: str) -> PoolToken | None:
        """A pool's runner record, never from the cache; None when there is none yet."""
        try:
            stored = self._read(name, _PoolSecret, max_age=timedelta(0))
        except Refused as exc:
            if exc.facts.get("code") != NOT_THERE:
                raise
            return None
        return PoolToken(runner_id=stored.runner_id, token=stored.token)

    def store_webhook_secrets(self, name: str, secrets: AllWebhookSecrets) -> None:
        """Write the secrets of all webhooks as the next version, or create the secret.

        Only `HookSecretStore` calls it, under its lease. Raises `Refused` when one secret is
        too small for them.
        """
        hooks = {
            hook: {kind: list(kept) for kind in KINDS if (kept := getattr(own, kind))}
            for hook, own in secrets.items()
            if not own.is_empty
        }
        if len(json.dumps({"hooks": hooks})) > LARGEST:
            raise Refused(
                "one stack holds the secrets of no more webhooks: "
                "use one webhook for a group instead of one for each project",
                webhooks=len(secrets),
            )
        self._write(name, {"hooks": hooks})

    def store_gitlab_token(self, name: str, token: str) -> None:
        """Write the token that the fleet calls GitLab with."""
        self._write(name, {"token": token})

    def store_pool_token(self, name: str, pool: PoolToken) -> None:
        """Write a pool's runner record."""
        self._write(name, {"runner_id": pool.runner_id, "token": pool.token})

    def delete_pool_token(self, name: str) -> None:
        """Delete a secret that may not exist, at once: another pool may take its name."""
        with self._lock:
            self._copies.pop(name, None)
            try:
                with aws_call("secretsmanager.DeleteSecret"):
                    self._client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
            except Refused as exc:
                if exc.facts["code"] != NOT_THERE:
                    raise

    def _read(
        self,
        name: str,
        kind: type[StoredT],
        *,
        max_age: timedelta | None = None,
        absent: str | None = None,
    ) -> StoredT:
        age = self._ttl if max_age is None else min(max_age, self._ttl)
        with self._lock:
            copy = self._copies.get(name)
            if copy is None or not self._is_newer(copy.read_at, age):
                copy = self._fetch(name, absent, doubted_at=copy.doubted_at if copy else None)
                self._copies[name] = copy
        try:
            return kind.model_validate_json(copy.text)
        except ValidationError as exc:
            fields = fields_at_fault(exc)
            raise Refused("the secret is not what we store", secret=name, fields=fields) from None

    def _is_newer(self, at: datetime | None, age: timedelta) -> bool:
        return at is not None and self._clock() - at <= age

    def _fetch(self, name: str, absent: str | None, *, doubted_at: datetime | None) -> _Copy:
        text = self._text(name, absent)
        return _Copy(text=text, read_at=self._clock(), doubted_at=doubted_at)

    def _text(self, name: str, absent: str | None) -> str:
        try:
            with aws_call("secretsmanager.GetSecretValue"):
                text = self._client.get_secret_value(SecretId=name).get("SecretString")
            return text or absent or ""  # the template makes it empty
        except Refused as exc:
            if absent is None or exc.facts["code"] != NOT_THERE:
                raise
            return absent

    def _write(self, name: str, value: dict[str, object]) -> None:
        text = json.dumps(value)
        with self._lock:
            self._copies.pop(name, None)
            try:
                with aws_call("secretsmanager.PutSecretValue"):
                    self._client.put_secret_value(SecretId=name, SecretString=text)
            except Refused as exc:
                if exc.facts["code"] != NOT_THERE:
                    raise
                with aws_call("secretsmanager.CreateSecret"):
                    self._client.create_secret(Name=name, SecretString=text)
