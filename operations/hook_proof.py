"""Follows a sample delivery from GitLab to the ledger, hop by hop."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from adapters.gitlab import hooks
from adapters.gitlab.hook_values import SampleReceipt
from adapters.ledger.hooks import HEARD_EVERY
from fleet.errors import Refused
from fleet.job_event import NOT_PUBLISHED
from operations.webhooks import HookAddress, HookWorld, in_gitlab

# From GitLab's sample to the ledger: the bus, a state machine, and a function's cold start.
HEARD_WITHIN_S = 30.0
LOOK_EVERY_S = 1.0
# By the event that the webhook puts on the bus: the rule that takes it, and what the rule starts.
RULES: Mapping[str, tuple[str, str]] = {
    "job.pending": ("JobPending", "route"),
    "job.running": ("JobTaken", "settle"),
    "job.finished": ("JobTaken", "settle"),
}
_TO_BUS = "webhook to bus"
_BEFORE = "not tried: the hop before is not proven"
_NO_EVENT = (
    "GitLab's newest job is neither pending, running nor ended, and no earlier delivery can be sent"
    " again: run this after a job is pending"
)
_NOT_LISTED = (
    "GitLab does not list the delivery, so its newest job may be one without an event: run this"
    " after a job is pending"
)


Result = Literal["ok", "missing", "untried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedHop:
    """One hop: `missing` where the sample was lost, `untried` where it did not arrive."""

    hop: str
    result: Result
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedSample:
    """A sample that GitLab sent; `heard_at`: when the ledger had it."""

    hook_id: int
    heard_at: datetime | None
    hops: tuple[TriedHop, ...]

    @property
    def lost_at(self) -> TriedHop | None:
        """The hop that is missing, else the first that is not proven."""
        for result in ("missing", "untried"):
            for hop in self.hops:
                if hop.result == result:
                    return hop
        return None


def follow_sample(world: HookWorld, address: HookAddress) -> FollowedSample:
    """Have GitLab send a sample job event, and follow it until the ledger has it.

    Where GitLab's newest job has no event for the bus, an earlier delivery is sent again. That also
    has GitLab call a disabled webhook again. Raises `Refused` where GitLab has no such webhook or
    the fleet did not register it, no job to sample, or our webhook refuses the sample.
    """
    hook_id = in_gitlab(world, address)[0].hook_id
    row = world.rows.hook(address.instance, address.target.scope)
    if row is None or row.name != address.target.name:
        raise Refused(
            "the fleet did not register this webhook: run `runner-fleet webhook register`",
            scope=address.target.scope,
            url=address.target.url,
        )
    return _Sample(world=world, address=address, hook_id=hook_id).follow()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    world: HookWorld
    address: HookAddress
    hook_id: int

    def follow(self) -> FollowedSample:
        """Send it, and an earlier delivery where it has no event; then report each hop."""
        scope, gitlab = self.address.target.scope, self.address.gitlab
        listed_ids = {receipt.id for receipt in self._receipts()}
        try:
            sent, heard_at = self._send(
                lambda: hooks.test_hook(gitlab, scope, self.hook_id), listed_ids
            )
            if heard_at is None and sent is not None and sent.event not in RULES:
                earlier = next(
                    (receipt for receipt in self._receipts() if receipt.event in RULES), None
                )
                if earlier is None:
                    lost = TriedHop(hop=_TO_BUS, result="untried", says=_NO_EVENT)
                    return self._followed(None, (lost, *_untried("route")))
                _, heard_at = self._send(
                    lambda: hooks.resend(gitlab, scope, self.hook_id, earlier.id)
                )
                sent = earlier
        except Refused as error:
            if NOT_PUBLISHED not in str(error.facts.get("words")):
                raise
            says = f"the bus does not take it: see the log of {self.world.stack}-webhook"
            lost = TriedHop(hop=_TO_BUS, result="missing", says=says)
            return self._followed(None, (lost, *_untried("route")))
        event = sent.event if sent else None
        return self._followed(heard_at, tuple(self._behind_webhook(event, heard_at)))

    def _followed(self, heard_at: datetime | None, hops: tuple[TriedHop, ...]) -> FollowedSample:
        says = "our webhook took the sample"
        arrived = TriedHop(hop="GitLab to webhook", result="ok", says=says)
        return FollowedSample(hook_id=self.hook_id, heard_at=heard_at, hops=(arrived, *hops))

    def _send(
        self, send: Callable[[], None], listed_ids: Collection[int] | None = None
    ) -> tuple[SampleReceipt | None, datetime | None]:
        """What GitLab lists beyond `listed_ids`, and when the ledger had a delivery.

        A receipt that says that nothing follows ends the wait.
        """
        before, sent_at, sent = self._heard_at(), self.world.clock(), None
        send()
        while (self.world.clock() - sent_at).total_seconds() < HEARD_WITHIN_S:
            heard_at = self._heard_at()
            # A function that wrote down another delivery just before does not write this one.
            if heard_at is not None and (heard_at != before or heard_at >= sent_at - HEARD_EVERY):
                return sent, heard_at
            if listed_ids is not None and sent is None:
                sent = next((new for new in self._receipts() if new.id not in listed_ids), None)
            if sent is not None and sent.event not in RULES:
                break
            self.world.pause(LOOK_EVERY_S)
        return sent, None

    def _behind_webhook(self, event: str | None, heard_at: datetime | None) -> Iterator[TriedHop]:
        stack, rules = self.world.stack, [*dict.fromkeys(RULES.values())]
        if event is not None and event in RULES:
            rules = [RULES[event]]
        starts = " or ".join(machine for _, machine in rules)
        bus, ledger = f"bus to {starts}", f"{starts} to ledger"
        if heard_at is not None:
            yield TriedHop(hop=_TO_BUS, result="ok", says=f"{event or 'its event'} is on the bus")
            yield TriedHop(hop=bus, result="ok", says="its rule started it")
            yield TriedHop(hop=ledger, result="ok", says=f"noted at {heard_at:%F %T} UTC")
            return
        if event is None:
            yield TriedHop(hop=_TO_BUS, result="untried", says=_NOT_LISTED)
        else:
            yield TriedHop(hop=_TO_BUS, result="ok", says=f"{event} is on the bus")
        faults = [
            f"rule {stack}-{rule} {fault}"
            for rule, _ in rules
            if (fault := self.world.rule_fault(rule)) is not None
        ]
        if faults:
            yield TriedHop(hop=bus, result="missing", says="; ".join(faults))
        elif event is None:
            yield from _untried(starts)
            return
        else:
            yield TriedHop(hop=bus, result="ok", says="its rule is enabled")
        says = f"nothing was noted within {HEARD_WITHIN_S:.0f} s: see the log of {stack}-{starts}"
        result: Result = "untried" if faults else "missing"
        yield TriedHop(hop=ledger, result=result, says=_BEFORE if faults else says)

    def _receipts(self) -> tuple[SampleReceipt, ...]:
        return hooks.receipts(self.address.gitlab, self.address.target.scope, self.hook_id)

    def _heard_at(self) -> datetime | None:
        """When the fleet heard of this webhook last, as exactly as functions write that down."""
        row = self.world.rows.hook(self.address.instance, self.address.target.scope)
        return row.heard_at if row is not None and row.name == self.address.target.name else None


def _untried(starts: str) -> Iterator[TriedHop]:
    for hop in (f"bus to {starts}", f"{starts} to ledger"):
        yield TriedHop(hop=hop, result="untried", says=_BEFORE)
