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
from fleet.webhook_secrets import WebhookSecrets
from tests.fakes import Clock
from tests.unit.adapters.stubs import scripted

NAME, GITLAB, POOL = "fleet/webhook", "fleet/gitlab", "fleet/pool/docker"
FIRST = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SECOND = "whsec_HR4fAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
TTL = timedelta(minutes=5)
HOOK = "project:7@1f3a9c2b"
ABSENT = "ResourceNotFoundException"


def only(**secrets: list[str]) -> dict[str, object]:
    """One webhook and its secrets, as they are stored."""
    return {"hooks": {HOOK: secrets}}


def pool(runner_id: int) -> dict[str, object]:
    return {"runner_id": runner_id, "token": f"glrt-{runner_id}"}


class Kept:
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

    def takes(self, value: object, name: str) -> None:
        """The next writing is of this."""
        asked = {"SecretId": name, "SecretString": json.dumps(value)}
        self.script.add_response("put_secret_value", {}, asked)

    def token(self, *, doubted: bool = False) -> str:
        """The secret token of the one webhook; empty without a webhook."""
        secrets = self.store.webhook_secrets(NAME, doubted=doubted)
        return secrets[HOOK].tokens[0] if secrets else ""


@pytest.fixture
def kept() -> Iterator[Kept]:
    with scripted("secretsmanager") as (client, script):
        yield Kept(client, script)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (
            {"hooks": {HOOK: {"signing": [SECOND, FIRST], "tokens": ["t"]}, "group:4@0": {}}},
            {
                HOOK: WebhookSecrets(signing=(SECOND, FIRST), tokens=("t",)),
                "group:4@0": WebhookSecrets(),
            },
        ),
        # What an older fleet stored for all webhooks proves nothing.
        ({"signing": [FIRST], "tokens": ["t"]}, {}),
    ],
)
def test_webhook_secrets_newest_first(stored: object, read: object, kept: Kept) -> None:
    kept.holds(stored)
    assert kept.store.webhook_secrets(NAME) == read


def test_tokens_do_not_print_themselves(kept: Kept) -> None:
    kept.holds({"token": "glpat-1"}, GITLAB)
    assert kept.store.gitlab_token(GITLAB) == "glpat-1"
    kept.holds({"runner_id": 31, "token": "glrt-hidden"}, POOL)
    token = kept.store.pool_token(POOL)
    assert token == PoolToken(runner_id=31, token="glrt-hidden")
    assert "hidden" not in repr(token)


@pytest.mark.parametrize("made", [True, False], ids=["made and never filled", "absent"])
def test_a_webhook_secret_may_be_empty_and_the_gitlab_token_may_not(made: bool, kept: Kept) -> None:
    for name in (NAME, GITLAB):
        if made:
            kept.script.add_response("get_secret_value", {}, {"SecretId": name})
        else:
            kept.fails(ABSENT)
    assert [kept.store.webhook_secrets(NAME) for _ in range(2)] == [{}, {}], "remembered, too"
    with pytest.raises(Refused, match=GITLAB if made else ABSENT):
        kept.store.gitlab_token(GITLAB)


def test_a_pool_is_always_looked_up_anew(kept: Kept) -> None:
    kept.fails(ABSENT)
    assert kept.store.find_pool_token(POOL) is None
    for runner_id in (31, 32):
        kept.holds(pool(runner_id), POOL)
        kept.clock.go(1)
        found = kept.store.find_pool_token(POOL)
        assert found == PoolToken(runner_id=runner_id, token=f"glrt-{runner_id}")
    kept.clock.go(1)
    kept.fails("AccessDeniedException")
    with pytest.raises(Refused, match="AccessDenied"):
        kept.store.find_pool_token(POOL)


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", Transient), ("AccessDeniedException", Refused)]
)
def test_a_failed_reading_is_not_an_empty_secret(
    code: str, kind: type[Exception], kept: Kept
) -> None:
    kept.fails(code)
    with pytest.raises(kind):
        kept.token()


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
def test_nonsense_is_refused_without_repeating_it(stored: object, kept: Kept) -> None:
    kept.holds(stored)
    with pytest.raises(Refused, match=NAME) as caught:
        kept.token()
    assert "AAECAwQ" not in str(caught.value)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_a_copy_is_used_until_it_is_too_old(kept: Kept) -> None:
    kept.holds(only(tokens=["old"]))
    assert kept.token() == "old"
    kept.clock.go(TTL.total_seconds())
    assert kept.token() == "old"
    kept.clock.go(1)
    kept.holds(only(tokens=["new"]))
    assert kept.token() == "new"


def test_a_forger_costs_one_reading_in_two_seconds(kept: Kept) -> None:
    kept.holds(only(tokens=["first"]))
    assert kept.token(doubted=True) == "first", "a first reading needs no second"
    for token in ("at-0-s", "at-2.2-s"):
        kept.holds(only(tokens=[token]))
        for _ in range(11):
            assert kept.token(doubted=True) == token
            assert kept.token() == token
            kept.clock.go(0.2)


def test_a_doubt_is_not_forgotten_when_the_copy_gets_too_old() -> None:
    with scripted("secretsmanager") as (client, script):
        kept = Kept(client, script)
        kept.store = SecretStore(client, timedelta(seconds=1), kept.clock)
        for token in ("first", "doubted", "too-old"):
            kept.holds(only(tokens=[token]))
        assert kept.token() == "first"
        assert kept.token(doubted=True) == "doubted"
        kept.clock.go(2)
        assert [kept.token(doubted=True) for _ in range(2)] == ["too-old"] * 2


@pytest.mark.parametrize("doubted", [True, False])
def test_a_reading_that_failed_is_not_remembered(doubted: bool, kept: Kept) -> None:
    kept.holds(only(tokens=["old"]))
    kept.token()
    if not doubted:
        kept.clock.go(TTL.total_seconds() + 1)
    kept.fails("ThrottlingException")
    with pytest.raises(Transient):
        kept.token(doubted=doubted)
    kept.holds(only(tokens=["new"]))
    assert kept.token(doubted=doubted) == "new"


def test_a_secret_that_is_not_there_any_more_is_empty_to_a_doubt(kept: Kept) -> None:
    kept.holds(only(tokens=["old"]))
    kept.token()
    kept.fails(ABSENT)
    assert kept.token(doubted=True) == ""


def test_many_that_ask_at_once_cause_one_reading_of_each_name(kept: Kept) -> None:
    kept.holds({"token": "a"}, GITLAB)
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda _: kept.store.gitlab_token(GITLAB), range(8)))
    kept.holds({"token": "b"}, "another")
    assert [*tokens, kept.store.gitlab_token("another")] == ["a"] * 8 + ["b"]
    assert kept.store.gitlab_token(GITLAB) == "a"


def test_a_copy_is_never_used_beyond_its_age_however_it_was_asked_for(kept: Kept) -> None:
    kept.holds(pool(31), POOL)
    kept.store.find_pool_token(POOL)
    assert kept.store.pool_token(POOL).runner_id == 31
    kept.clock.go(TTL.total_seconds() + 1)
    kept.holds(pool(32), POOL)
    assert kept.store.pool_token(POOL).runner_id == 32


def test_a_new_version_is_read_at_once(kept: Kept) -> None:
    kept.holds(only(tokens=["old"]))
    kept.token()
    stored = only(signing=[FIRST])
    kept.takes(stored, NAME)
    kept.holds(stored)
    kept.store.store_webhook_secrets(NAME, {HOOK: WebhookSecrets(signing=(FIRST,))})
    assert kept.store.webhook_secrets(NAME)[HOOK].signing == (FIRST,)


@pytest.mark.parametrize(("webhooks", "fit"), [(400, True), (800, False)])
def test_more_webhooks_than_one_secret_holds(webhooks: int, fit: bool, kept: Kept) -> None:
    own = WebhookSecrets(signing=(FIRST, SECOND))
    many = {f"project:{n}@1f3a9c2b": own for n in range(10**8, 10**8 + webhooks)}
    if fit:
        kept.script.add_response("put_secret_value", {})
        kept.store.store_webhook_secrets(NAME, many)
    else:
        with pytest.raises(Refused, match="one webhook for a group"):
            kept.store.store_webhook_secrets(NAME, many)


def test_a_secret_is_written_and_made_where_there_is_none(kept: Kept) -> None:
    kept.takes(pool(31), POOL)
    kept.store.store_pool_token(POOL, PoolToken(runner_id=31, token="glrt-31"))
    kept.fails(ABSENT, "put_secret_value")
    asked = {"Name": GITLAB, "SecretString": '{"token": "glpat-1"}'}
    kept.script.add_response("create_secret", {}, asked)
    kept.store.store_gitlab_token(GITLAB, "glpat-1")


def test_a_deletion_counts_at_once_also_of_what_was_deleted_before(kept: Kept) -> None:
    kept.holds(pool(31), POOL)
    kept.store.pool_token(POOL)
    asked = {"SecretId": POOL, "ForceDeleteWithoutRecovery": True}
    kept.script.add_response("delete_secret", {}, asked)
    kept.store.delete_pool_token(POOL)
    kept.fails(ABSENT)
    with pytest.raises(Refused, match=ABSENT):
        kept.store.pool_token(POOL)
    kept.fails(ABSENT, "delete_secret")
    kept.store.delete_pool_token(POOL)


def test_a_write_that_failed_may_have_been_made_so_it_is_read_again(kept: Kept) -> None:
    kept.holds({"token": "old"}, GITLAB)
    kept.store.gitlab_token(GITLAB)
    kept.fails("InternalServiceError", "put_secret_value")
    with pytest.raises(Transient):
        kept.store.store_gitlab_token(GITLAB, "new")
    kept.holds({"token": "new"}, GITLAB)
    assert kept.store.gitlab_token(GITLAB) == "new"


@pytest.mark.parametrize(
    ("failures", "write", "call"),
    [
        (
            {"put_secret_value": ABSENT, "create_secret": "AccessDenied"},
            lambda store: store.store_gitlab_token(GITLAB, "glpat-1"),
            "CreateSecret",
        ),
        (
            {"put_secret_value": "AccessDeniedException"},
            lambda store: store.store_gitlab_token(GITLAB, "glpat-1"),
            "PutSecretValue",
        ),
        (
            {"delete_secret": "AccessDeniedException"},
            lambda store: store.delete_pool_token(POOL),
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
