"""Many webhooks, one secret: no change of one may undo that of another."""

from collections.abc import Callable

import pytest

from adapters.aws.hook_secrets import LEASE, HookSecretStore
from adapters.ledger.fleet import FleetRows
from fleet.errors import Transient
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets, secret_id
from tests.fakes import AT, Clock, FakeSecrets, FakeTable

NAME = "fleet/webhook"
NONE = WebhookSecrets()


class Site:
    """The secret, the ledger, and processes that change it."""

    def __init__(self) -> None:
        self.secrets = FakeSecrets()
        self.rows = FleetRows(FakeTable())
        self.clock = Clock()

    def pause(self, seconds: float) -> None:
        self.clock.go(seconds)

    def process(self, secrets: FakeSecrets | None = None) -> HookSecretStore:
        return HookSecretStore(
            secrets or self.secrets, NAME, self.rows, self.clock, pause=self.pause
        )

    @property
    def stored(self) -> AllWebhookSecrets:
        return self.secrets.webhooks[NAME]


class Interrupted(FakeSecrets):
    """Between its reading and its writing something else happens."""

    def __init__(self, site: Site, meanwhile: Callable[[], None]) -> None:
        self.site = site
        self.meanwhile = meanwhile

    def webhook_secrets(self, name: str, *, doubted: bool = False) -> AllWebhookSecrets:
        return self.site.secrets.webhook_secrets(name)

    def store_webhook_secrets(self, name: str, secrets: AllWebhookSecrets) -> None:
        self.meanwhile()
        self.site.secrets.store_webhook_secrets(name, secrets)


def own(*tokens: str) -> WebhookSecrets:
    return WebhookSecrets(tokens=tokens)


def test_each_change_leaves_all_other_webhooks_alone() -> None:
    site = Site()
    for n in range(40):
        site.process().change(f"project:{n}@0", own(f"t{n}"), before=NONE)
    for n in range(0, 40, 3):
        site.process().change(f"project:{n}@0", own(f"new{n}", f"t{n}"), before=own(f"t{n}"))
    assert site.process().read() == {
        f"project:{n}@0": own(f"t{n}") if n % 3 else own(f"new{n}", f"t{n}") for n in range(40)
    }


def test_another_s_change_waits_for_the_one_under_way() -> None:
    site = Site()
    others: list[type[Exception]] = []

    def meanwhile() -> None:
        with pytest.raises(Transient, match="try again"):
            site.process().change("group:42@0", own("b"), before=NONE)
        others.append(Transient)

    site.process(Interrupted(site, meanwhile)).change("project:7@0", own("a"), before=NONE)
    site.process().change("group:42@0", own("b"), before=NONE)
    assert (site.stored, len(others)) == ({"project:7@0": own("a"), "group:42@0": own("b")}, 1)


def test_a_process_that_died_in_a_change_holds_up_others_for_a_minute() -> None:
    site = Site()
    assert site.rows.take_lease(LEASE, "dead", at=AT)
    site.clock.go(61)
    site.process().change("project:7@0", own("a"), before=NONE)
    site.rows.release_lease(LEASE, "dead")  # it was not dead, only late
    assert site.rows.take_lease(LEASE, "next", at=site.clock())


def test_secrets_before_the_one_in_use_are_forgotten() -> None:
    site = Site()
    site.process().change("project:7@0", own("new", "old", "older"), before=NONE)
    site.process().change("group:42@0", own("b", "a"), before=NONE)
    assert site.process().drop_older("project:7@0", secret_id("old")) == own("new", "old")
    assert site.process().drop_older("project:7@0", secret_id("not ours")) == own("new", "old")
    assert site.process().drop_older("project:8@0", secret_id("b")).is_empty
    assert site.stored == {"project:7@0": own("new", "old"), "group:42@0": own("b", "a")}
