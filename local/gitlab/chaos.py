"""Faults on demand, drawn from a seeded source so that a run can be repeated."""

import random
import re
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChaos:
    """Faults of deliveries; probabilities from 0 to 1."""

    drop: float = 0.0
    delay_s: tuple[float, float] = (0.0, 0.0)  # least, most
    duplicate: float = 0.0
    reorder: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiChaos:
    """Which API calls fail, and how. `status=None` switches it off."""

    status: int | None = None
    rate: float = 1.0  # probability, from 0 to 1
    for_s: float | None = None
    retry_after_s: int | None = None
    paths: str | None = None  # regular expression searched in the path below /api/v4


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOrder:
    """A change of the faults in force; absent parts keep their value."""

    webhooks: WebhookChaos | None = None
    api: ApiChaos | None = None
    hook_disabled: bool | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFate:
    """The fate of one delivery: number of copies, delay, and whether later ones pass it."""

    copies: int
    delay_s: float
    is_held_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiFault:
    """An answer that replaces the real one."""

    status: int
    retry_after_s: int | None


class Chaos:
    """The faults in force."""

    def __init__(self, seed: int) -> None:
        self.webhooks = WebhookChaos()
        self.api = ApiChaos()
        self._api_until: datetime | None = None
        self._random = random.Random(seed)  # noqa: S311  repeatable on purpose

    def apply(self, order: ChaosOrder, *, at: datetime) -> None:
        """Put an order in force."""
        if order.seed is not None:
            self._random.seed(order.seed)
        if order.webhooks is not None:
            self.webhooks = order.webhooks
        if order.api is not None:
            self.api = order.api
            seconds = order.api.for_s
            self._api_until = None if seconds is None else at + timedelta(seconds=seconds)

    def fate_of_delivery(self) -> DeliveryFate:
        """Draw the fate of the next delivery."""
        rules, draw = self.webhooks, self._random.random
        if draw() < rules.drop:
            return DeliveryFate(copies=0, delay_s=0.0, is_held_back=False)
        return DeliveryFate(
            copies=2 if draw() < rules.duplicate else 1,
            delay_s=self._random.uniform(*rules.delay_s),
            is_held_back=draw() < rules.reorder,
        )

    def fault_of_call(self, path: str, *, at: datetime) -> ApiFault | None:
        """Draw the fault of a call to this path (below /api/v4); None for no fault."""
        rules = self.api
        if rules.status is None or (self._api_until is not None and at >= self._api_until):
            return None
        if rules.paths is not None and not re.search(rules.paths, path):
            return None
        if self._random.random() >= rules.rate:
            return None
        return ApiFault(status=rules.status, retry_after_s=rules.retry_after_s)
