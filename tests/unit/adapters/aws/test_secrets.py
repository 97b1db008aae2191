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


class Site:
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
        request = {"SecretId": name, "SecretString": json.dumps(value)}
        self.script.add_response("put_secret_value", {}, request)

    def token(self, *, doubted: bool = False) -> str:
        """The secret token of the one webhook; empty without a webhook."""
        secrets = self.store.webhook_secrets(NAME, doubted=doubted)
        return secrets[HOOK].tokens[0] if secrets else ""


@pytest.fixture
def site() -> Iterator[Site]:
    with scripted("secretsmanager") as (client, script):
        yield Site(client, script)


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
def test_webhook_secrets_newest_first(stored: object, read: object, site: Site) -> None:
    site.holds(stored)
    assert site.store.webhook_secrets(NAME) == read


def test_tokens_do_not_print_themselves(site: Site) -> None:
    site.holds({"token": "glpat-1"}, GITLAB)
    assert site.store.gitlab_token(GITLAB) == "glpat-1"
    site.holds({"runner_id": 31, "token": "glrt-hidden"}, POOL)
    token = site.store.pool_token(POOL)
    assert token == PoolToken(runner_id=31, token="glrt-hidden")
    assert "hidden" not in repr(token)


@pytest.mark.parametrize("made", [True, False], ids=["made and never filled", "absent"])
def test_a_webhook_secret_may_be_empty_and_the_gitlab_token_may_not(made: bool, site: Site) -> None:
    for name in (NAME, GITLAB):
        if made:
            site.script.add_response("get_secret_value", {}, {"SecretId": name})
        else:
            site.fails(ABSENT)
    assert [site.store.webhook_secrets(NAME) for _ in range(2)] == [{}, {}], "remembered, too"
    with pytest.raises(Refused, match=GITLAB if made else ABSENT):
        site.store.gitlab_token(GITLAB)


def test_a_pool_is_always_looked_up_anew(site: Site) -> None:
    site.fails(ABSENT)
    assert site.store.find_pool_token(POOL) is None
    for runner_id in (31, 32):
        site.holds(pool(runner_id), POOL)
        site.clock.go(1)
        token = site.store.find_pool_token(POOL)
        assert token == PoolToken(runner_id=runner_id, token=f"glrt-{runner_id}")
    site.clock.go(1)
    site.fails("AccessDeniedException")
    with pytest.raises(Refused, match="AccessDenied"):
        site.store.find_pool_token(POOL)


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", Transient), ("AccessDeniedException", Refused)]
)
def test_a_failed_reading_is_not_an_empty_secret(
    code: str, kind: type[Exception], site: Site
) -> None:
    site.fails(code)
    with pytest.raises(kind):
        site.token()


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
def test_nonsense_is_refused_without_repeating_it(stored: object, site: Site) -> None:
    site.holds(stored)
    with pytest.raises(Refused, match=NAME) as caught:
        site.token()
    assert "AAECAwQ" not in str(caught.value)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_a_copy_is_used_until_it_is_too_old(site: Site) -> None:
    site.holds(only(tokens=["old"]))
    assert site.token() == "old"
    site.clock.go(TTL.total_seconds())
    assert site.token() == "old"
    site.clock.go(1)
    site.holds(only(tokens=["new"]))
    assert site.token() == "new"


def test_a_forger_costs_one_reading_in_two_seconds(site: Site) -> None:
    site.holds(only(tokens=["first"]))
    assert site.token(doubted=True) == "first", "a first reading needs no second"
    for token in ("at-0-s", "at-2.2-s"):
        site.holds(only(tokens=[token]))
        for _ in range(11):
            assert site.token(doubted=True) == token
            assert site.token() == token
            site.clock.go(0.2)


def test_a_doubt_is_not_forgotten_when_the_copy_gets_too_old() -> None:
    with scripted("secretsmanager") as (client, script):
        site = Site(client, script)
        site.store = SecretStore(client, timedelta(seconds=1), site.clock)
        for token in ("first", "doubted", "too-old"):
            site.holds(only(tokens=[token]))
        assert site.token() == "first"
        assert site.token(doubted=True) == "doubted"
        site.clock.go(2)
        assert [site.token(doubted=True) for _ in range(2)] == ["too-old"] * 2


@pytest.mark.parametrize("doubted", [True, False])
def test_a_reading_that_failed_is_not_remembered(doubted: bool, site: Site) -> None:
    site.holds(only(tokens=["old"]))
    site.token()
    if not doubted:
        site.clock.go(TTL.total_seconds() + 1)
    site.fails("ThrottlingException")
    with pytest.raises(Transient):
        site.token(doubted=doubted)
    site.holds(only(tokens=["new"]))
    assert site.token(doubted=doubted) == "new"


def test_a_secret_that_is_not_there_any_more_is_empty_to_a_doubt(
    site: Site,
) -> None:
    site.holds(only(tokens=["old"]))
    site.token()
    site.fails(ABSENT)
    assert site.token(doubted=True) == ""


def test_many_that_ask_at_once_cause_one_reading_of_each_name(
    site: Site,
) -> None:
    site.holds({"token": "a"}, GITLAB)
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda _: site.store.gitlab_token(GITLAB), range(8)))
    site.holds({"token": "b"}, "another")
    assert [*tokens, site.store.gitlab_token("another")] == ["a"] * 8 + ["b"]
    assert site.store.gitlab_token(GITLAB) == "a"


def test_a_copy_is_never_used_beyond_its_age_however_it_was_asked_for(
    site: Site,
) -> None:
    site.holds(pool(31), POOL)
    site.store.find_pool_token(POOL)
    assert site.store.pool_token(POOL).runner_id == 31
    site.clock.go(TTL.total_seconds() + 1)
    site.holds(pool(32), POOL)
    assert site.store.pool_token(POOL).runner_id == 32


def test_a_new_version_is_read_at_once(site: Site) -> None:
    site.holds(only(tokens=["old"]))
    site.token()
    stored = only(signing=[FIRST])
    site.takes(stored, NAME)
    site.holds(stored)
    site.store.store_webhook_secrets(NAME, {HOOK: WebhookSecrets(signing=(FIRST,))})
    assert site.store.webhook_secrets(NAME)[HOOK].signing == (FIRST,)


@pytest.mark.parametrize(("webhooks", "fit"), [(400, True), (800, False)])
def test_more_webhooks_than_one_secret_holds(webhooks: int, fit: bool, site: Site) -> None:
    own = WebhookSecrets(signing=(FIRST, SECOND))
    many = {f"project:{n}@1f3a9c2b": own for n in range(10**8, 10**8 + webhooks)}
    if fit:
        site.script.add_response("put_secret_value", {})
        site.store.store_webhook_secrets(NAME, many)
    else:
        with pytest.raises(Refused, match="one webhook for a group"):
            site.store.store_webhook_secrets(NAME, many)


def test_a_secret_is_written_and_made_where_there_is_none(site: Site) -> None:
    site.takes(pool(31), POOL)
    site.store.store_pool_token(POOL, PoolToken(runner_id=31, token="glrt-31"))
    site.fails(ABSENT, "put_secret_value")
    request = {"Name": GITLAB, "SecretString": '{"token": "glpat-1"}'}
    site.script.add_response("create_secret", {}, request)
    site.store.store_gitlab_token(GITLAB, "glpat-1")


def test_a_deletion_counts_at_once_also_of_what_was_deleted_before(
    site: Site,
) -> None:
    site.holds(pool(31), POOL)
    site.store.pool_token(POOL)
    request = {"SecretId": POOL, "ForceDeleteWithoutRecovery": True}
    site.script.add_response("delete_secret", {}, request)
    site.store.delete_pool_token(POOL)
    site.fails(ABSENT)
    with pytest.raises(Refused, match=ABSENT):
        site.store.pool_token(POOL)
    site.fails(ABSENT, "delete_secret")
    site.store.delete_pool_token(POOL)


def test_a_write_that_failed_may_have_been_made_so_it_is_read_again(
    site: Site,
) -> None:
    site.holds({"token": "old"}, GITLAB)
    site.store.gitlab_token(GITLAB)
    site.fails("InternalServiceError", "put_secret_value")
    with pytest.raises(Transient):
        site.store.store_gitlab_token(GITLAB, "new")
    site.holds({"token": "new"}, GITLAB)
    assert site.store.gitlab_token(GITLAB) == "new"


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
    failures: dict[str, str],
    write: Callable[[SecretStore], None],
    call: str,
    site: Site,
) -> None:
    for name, code in failures.items():
        site.fails(code, name)
    with pytest.raises(Refused, match=rf"secretsmanager\.{call}"):
        write(site.store)
