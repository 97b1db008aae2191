import json
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from adapters.aws.secrets import PoolToken, SecretStore
from fleet.errors import Refused, Transient
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets
from tests.unit.adapters.stubs import Clock, scripted

NAME = "fleet/webhook"
FIRST = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SECOND = "whsec_HR4fAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
TTL = timedelta(minutes=5)
HOOK = "project:7@1f3a9c2b"


def only(**secrets: list[str]) -> dict[str, object]:
    """One webhook and its secrets, as they are stored."""
    return {"hooks": {HOOK: secrets}}


def tokens(secrets: AllWebhookSecrets) -> tuple[str, ...]:
    """The secret tokens of the one webhook."""
    return secrets[HOOK].tokens


class Kept:
    """A store, its script and its clock."""

    def __init__(self, client: Any, script: Stubber) -> None:
        self.script = script
        self.clock = Clock()
        self.store = SecretStore(client, TTL, self.clock)

    def holds(self, value: object, name: str = NAME) -> None:
        """The next reading brings this."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.script.add_response("get_secret_value", {"SecretString": text}, {"SecretId": name})

    def fails(self, code: str, call: str = "get_secret_value") -> None:
        """The next such call fails."""
        self.script.add_client_error(call, code, http_status_code=400)


@pytest.fixture
def kept() -> Iterator[Kept]:
    with scripted("secretsmanager") as (client, script):
        yield Kept(client, script)


class TestReading:
    """What is stored, as values."""

    def test_webhook_secrets_newest_first(self, kept: Kept) -> None:
        kept.holds(
            {"hooks": {HOOK: {"signing": [SECOND, FIRST], "tokens": ["t"]}, "group:4@0": {}}}
        )
        assert kept.store.webhook_secrets(NAME) == {
            HOOK: WebhookSecrets(signing=(SECOND, FIRST), tokens=("t",)),
            "group:4@0": WebhookSecrets(),
        }

    def test_what_an_older_fleet_stored_for_all_webhooks_proves_nothing(self, kept: Kept) -> None:
        kept.holds({"signing": [FIRST], "tokens": ["t"]})
        assert kept.store.webhook_secrets(NAME) == {}

    def test_gitlab_token(self, kept: Kept) -> None:
        kept.holds({"token": "glpat-1"}, "fleet/gitlab")
        assert kept.store.gitlab_token("fleet/gitlab") == "glpat-1"

    def test_pool_token_does_not_print_itself(self, kept: Kept) -> None:
        kept.holds({"runner_id": 31, "token": "glrt-hidden"}, "fleet/pool/docker")
        pool = kept.store.pool_token("fleet/pool/docker")
        assert pool == PoolToken(runner_id=31, token="glrt-hidden")
        assert "hidden" not in repr(pool)

    def test_no_webhook_secret_yet_is_an_empty_one(self, kept: Kept) -> None:
        kept.fails("ResourceNotFoundException")
        assert kept.store.webhook_secrets(NAME) == {}

    def test_a_secret_that_was_made_and_never_filled_is_empty_too(self, kept: Kept) -> None:
        kept.script.add_response("get_secret_value", {}, {"SecretId": NAME})
        assert kept.store.webhook_secrets(NAME) == {}

    def test_a_gitlab_token_that_was_never_filled_in_is_an_error(self, kept: Kept) -> None:
        kept.script.add_response("get_secret_value", {}, {"SecretId": "fleet/gitlab"})
        with pytest.raises(Refused, match="fleet/gitlab"):
            kept.store.gitlab_token("fleet/gitlab")

    def test_a_pool_that_has_no_record_yet(self, kept: Kept) -> None:
        kept.fails("ResourceNotFoundException")
        assert kept.store.find_pool_token("fleet/pool/docker") is None

    def test_a_pool_is_always_looked_up_anew(self, kept: Kept) -> None:
        for runner_id in (31, 32):
            kept.holds({"runner_id": runner_id, "token": "glrt-1"}, "p")
            kept.clock.pass_(1)
            found = kept.store.find_pool_token("p")
            assert found == PoolToken(runner_id=runner_id, token="glrt-1")

    def test_a_pool_that_cannot_be_looked_up(self, kept: Kept) -> None:
        kept.fails("AccessDeniedException")
        with pytest.raises(Refused, match="AccessDenied"):
            kept.store.find_pool_token("p")

    def test_no_gitlab_token_is_an_error(self, kept: Kept) -> None:
        kept.fails("ResourceNotFoundException")
        with pytest.raises(Refused, match="ResourceNotFoundException"):
            kept.store.gitlab_token("fleet/gitlab")

    @pytest.mark.parametrize(
        ("code", "kind"),
        [("ThrottlingException", Transient), ("AccessDeniedException", Refused)],
    )
    def test_a_failed_reading_is_not_an_empty_secret(
        self, code: str, kind: type[Exception], kept: Kept
    ) -> None:
        kept.fails(code)
        with pytest.raises(kind):
            kept.store.webhook_secrets(NAME)

    @pytest.mark.parametrize(
        "stored",
        [
            "whsec_hidden",
            {"hooks": "hidden"},
            {"hooks": {HOOK: {"signing": "whsec_hidden"}}},
            only(signing=[FIRST, ""]),
            only(signing=["whsec_hidden"]),
            only(tokens=["hidden with spaces"]),
            only(tokens=[f"hidden-{n}" for n in range(5)]),
            only(signing=[FIRST, SECOND] * 3),
            only(tokens=[""]),
            ["hidden"],
        ],
    )
    def test_nonsense_is_refused_without_repeating_it(self, stored: object, kept: Kept) -> None:
        kept.holds(stored)
        with pytest.raises(Refused, match=NAME) as caught:
            kept.store.webhook_secrets(NAME)
        assert "AAECAwQ" not in str(caught.value)
        assert "hidden" not in "".join(traceback.format_exception(caught.value))


class TestCache:
    """One copy for a while."""

    def test_is_used_until_it_is_too_old(self, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        assert tokens(kept.store.webhook_secrets(NAME)) == ("old",)
        kept.clock.pass_(TTL.total_seconds())
        assert tokens(kept.store.webhook_secrets(NAME)) == ("old",)
        kept.clock.pass_(1)
        kept.holds(only(tokens=["new"]))
        assert tokens(kept.store.webhook_secrets(NAME)) == ("new",)

    def test_a_doubting_caller_gets_the_newest_however_young_the_copy_is(self, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        kept.store.webhook_secrets(NAME)
        kept.holds(only(tokens=["new"]))
        assert tokens(kept.store.webhook_secrets(NAME, doubted=True)) == ("new",)
        assert tokens(kept.store.webhook_secrets(NAME)) == ("new",)

    def test_a_forger_costs_one_reading_in_two_seconds(self, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        kept.store.webhook_secrets(NAME)
        for token in ("at-0-s", "at-2.2-s"):
            kept.holds(only(tokens=[token]))
            for _ in range(11):
                assert tokens(kept.store.webhook_secrets(NAME, doubted=True)) == (token,)
                kept.clock.pass_(0.2)

    def test_a_doubt_is_not_forgotten_when_the_copy_gets_too_old(self) -> None:
        with scripted("secretsmanager") as (client, script):
            kept = Kept(client, script)
            store = SecretStore(client, timedelta(seconds=1), kept.clock)
            for token in ("first", "doubted", "too-old"):
                kept.holds(only(tokens=[token]))
            store.webhook_secrets(NAME)
            assert tokens(store.webhook_secrets(NAME, doubted=True)) == ("doubted",)
            kept.clock.pass_(2)
            assert tokens(store.webhook_secrets(NAME, doubted=True)) == ("too-old",)
            assert tokens(store.webhook_secrets(NAME, doubted=True)) == ("too-old",)

    def test_a_first_reading_needs_no_second(self, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        assert tokens(kept.store.webhook_secrets(NAME, doubted=True)) == ("old",)

    def test_an_absent_secret_is_remembered_too(self, kept: Kept) -> None:
        kept.fails("ResourceNotFoundException")
        assert kept.store.webhook_secrets(NAME) == {}
        assert kept.store.webhook_secrets(NAME) == {}

    @pytest.mark.parametrize("doubted", [True, False])
    def test_a_reading_that_failed_is_not_remembered(self, doubted: bool, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        kept.store.webhook_secrets(NAME)
        if not doubted:
            kept.clock.pass_(TTL.total_seconds() + 1)
        kept.fails("ThrottlingException")
        with pytest.raises(Transient):
            kept.store.webhook_secrets(NAME, doubted=doubted)
        kept.holds(only(tokens=["new"]))
        assert tokens(kept.store.webhook_secrets(NAME, doubted=doubted)) == ("new",)

    def test_a_secret_that_is_not_there_any_more_is_empty_to_a_doubt(self, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        kept.store.webhook_secrets(NAME)
        kept.fails("ResourceNotFoundException")
        assert kept.store.webhook_secrets(NAME, doubted=True) == {}

    def test_many_who_ask_at_once_cause_one_reading(self, kept: Kept) -> None:
        kept.holds({"token": "a"}, "fleet/gitlab")
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(lambda _: kept.store.gitlab_token("fleet/gitlab"), range(8)))
        assert told == ["a"] * 8

    def test_is_never_used_beyond_its_age_however_it_was_asked_for(self, kept: Kept) -> None:
        kept.holds({"runner_id": 31, "token": "glrt-1"}, "p")
        kept.store.find_pool_token("p")
        assert kept.store.pool_token("p").runner_id == 31
        kept.clock.pass_(TTL.total_seconds() + 1)
        kept.holds({"runner_id": 32, "token": "glrt-2"}, "p")
        assert kept.store.pool_token("p") == PoolToken(runner_id=32, token="glrt-2")

    def test_each_name_has_its_own(self, kept: Kept) -> None:
        kept.holds({"token": "a"}, "one")
        kept.holds({"token": "b"}, "two")
        assert [kept.store.gitlab_token(name) for name in ("one", "two", "one")] == ["a", "b", "a"]


class TestWriting:
    """A new version of a secret."""

    def test_is_seen_at_once(self, kept: Kept) -> None:
        kept.holds(only(tokens=["old"]))
        kept.store.webhook_secrets(NAME)
        stored = only(signing=[FIRST])
        kept.script.add_response(
            "put_secret_value", {}, {"SecretId": NAME, "SecretString": json.dumps(stored)}
        )
        kept.holds(stored)
        kept.store.store_webhook_secrets(NAME, {HOOK: WebhookSecrets(signing=(FIRST,))})
        assert kept.store.webhook_secrets(NAME)[HOOK].signing == (FIRST,)

    @pytest.mark.parametrize(("webhooks", "fit"), [(400, True), (800, False)])
    def test_more_webhooks_than_one_secret_holds(
        self, webhooks: int, fit: bool, kept: Kept
    ) -> None:
        own = WebhookSecrets(signing=(FIRST, SECOND))
        many = {f"project:{n}@1f3a9c2b": own for n in range(10**8, 10**8 + webhooks)}
        if fit:
            kept.script.add_response("put_secret_value", {})
            kept.store.store_webhook_secrets(NAME, many)
        else:
            with pytest.raises(Refused, match="one webhook for a group"):
                kept.store.store_webhook_secrets(NAME, many)

    def test_makes_the_secret_where_there_is_none(self, kept: Kept) -> None:
        kept.fails("ResourceNotFoundException", "put_secret_value")
        kept.script.add_response(
            "create_secret",
            {},
            {"Name": "fleet/gitlab", "SecretString": '{"token": "glpat-1"}'},
        )
        kept.store.store_gitlab_token("fleet/gitlab", "glpat-1")

    def test_of_a_pool(self, kept: Kept) -> None:
        kept.script.add_response(
            "put_secret_value",
            {},
            {"SecretId": "p", "SecretString": '{"runner_id": 31, "token": "glrt-1"}'},
        )
        kept.store.store_pool_token("p", PoolToken(runner_id=31, token="glrt-1"))

    @pytest.mark.parametrize("code", [None, "ResourceNotFoundException"])
    def test_deleted_now_or_before(self, code: str | None, kept: Kept) -> None:
        if code:
            kept.fails(code, "delete_secret")
        else:
            asked = {"SecretId": "p", "ForceDeleteWithoutRecovery": True}
            kept.script.add_response("delete_secret", {}, asked)
        kept.store.delete_pool_token("p")

    def test_deleted_is_seen_at_once(self, kept: Kept) -> None:
        kept.holds({"runner_id": 31, "token": "glrt-1"}, "p")
        kept.store.pool_token("p")
        kept.script.add_response("delete_secret", {})
        kept.store.delete_pool_token("p")
        kept.fails("ResourceNotFoundException")
        with pytest.raises(Refused, match="ResourceNotFoundException"):
            kept.store.pool_token("p")

    def test_that_failed_may_have_been_written_so_it_is_read_again(self, kept: Kept) -> None:
        kept.holds({"token": "old"}, "fleet/gitlab")
        kept.store.gitlab_token("fleet/gitlab")
        kept.fails("InternalServiceError", "put_secret_value")
        with pytest.raises(Transient):
            kept.store.store_gitlab_token("fleet/gitlab", "new")
        kept.holds({"token": "new"}, "fleet/gitlab")
        assert kept.store.gitlab_token("fleet/gitlab") == "new"


@pytest.mark.parametrize(
    ("failures", "write", "call"),
    [
        (
            {"put_secret_value": "ResourceNotFoundException", "create_secret": "AccessDenied"},
            lambda store: store.store_gitlab_token("fleet/gitlab", "glpat-1"),
            "CreateSecret",
        ),
        (
            {"put_secret_value": "AccessDeniedException"},
            lambda store: store.store_gitlab_token("fleet/gitlab", "glpat-1"),
            "PutSecretValue",
        ),
        (
            {"delete_secret": "AccessDeniedException"},
            lambda store: store.delete_pool_token("p"),
            "DeleteSecret",
        ),
    ],
)
def test_a_failed_write_names_its_call(
    failures: dict[str, str], write: Callable[[SecretStore], None], call: str, kept: Kept
) -> None:
    for name, code in failures.items():
        kept.fails(code, name)
    with pytest.raises(Refused, match=rf"secretsmanager\.{call}"):
        write(kept.store)
