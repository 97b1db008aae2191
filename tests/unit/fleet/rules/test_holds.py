"""What is remembered while GitLab gives no credential, and what it keeps from being launched."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fleet.errors import FleetError, Refused, Transient
from fleet.holds import Hold, HoldKind
from fleet.model import ScalePlan
from fleet.reasons import Reason
from fleet.rules.holds import (
    CredentialRequest,
    advice,
    asks_again_in_s,
    held_by,
    hold_for,
    is_problem,
    lifted,
    sentence,
)
from fleet.rules.scale import PROBES_AT_MOST, decide_scale
from tests.unit.fleet.facts import AT, LIMITS, ago, job, jobs, snapshot

RECORD = CredentialRequest(pool="docker", project_id=None)
TOKEN = CredentialRequest(pool="docker", project_id=None, shared=True)


def hold(**facts: Any) -> Hold:
    """A refusal of a quarter of an hour whose time to ask has come."""
    base = Hold(kind=HoldKind.REFUSAL, since=ago(900), ask_at=AT, words="401 no")
    return replace(base, **facts)


EARLY = {"ask_at": AT + timedelta(seconds=1)}


def waits(plan: ScalePlan) -> dict[int, str]:
    return {key.job_id: reason.value for key, reason in plan.waiting.items()}


@pytest.mark.parametrize(
    ("holds", "launch", "reasons"),
    [
        pytest.param((hold(),), [100], {"gitlab_refuses"}, id="one asks"),
        pytest.param((hold(**EARLY),), [], {"gitlab_refuses"}, id="not yet"),
        pytest.param((hold(**EARLY, kind=HoldKind.OUTAGE),), [], {"gitlab_out"}, id="an outage"),
        pytest.param((hold(**EARLY, pool="arm"),), [100, 101, 200], set(), id="another pool's"),
        pytest.param((hold(**EARLY, project_id=1),), [200], {"gitlab_refuses"}, id="a project's"),
        pytest.param((hold(project_id=1),), [100, 200], {"gitlab_refuses"}, id="that asks"),
        pytest.param((hold(lifted_at=AT),), [100, 101, 200], set(), id="over"),
        pytest.param((hold(), hold(pool="docker", **EARLY)), [], {"gitlab_refuses"}, id="both"),
    ],
)
def test_a_hold_lets_a_single_launch_probe(
    holds: tuple[Hold, ...], launch: list[int], reasons: set[str]
) -> None:
    plan = decide_scale(snapshot((*jobs(2), *jobs(1, project=2)), holds=holds), LIMITS)
    assert sorted(item.job_id for item in plan.launch) == launch
    assert set(waits(plan).values()) == reasons
    assert len(waits(plan)) == 3 - len(launch)
    assert plan.reason is (Reason.BACKLOG if launch else Reason(next(iter(reasons))))
    assert not plan.again


@pytest.mark.parametrize(
    ("holds", "warm", "reason"),
    [
        ((hold(),), 1, "idle_target"),
        ((hold(**EARLY),), 0, "gitlab_refuses"),
        ((hold(**EARLY, project_id=1),), 2, "idle_target"),
        ((), 2, "idle_target"),
    ],
)
def test_idle_runners_are_held_too(holds: tuple[Hold, ...], warm: int, reason: str) -> None:
    plan = decide_scale(snapshot(holds=holds), replace(LIMITS, idle_target=2))
    assert (plan.warm, plan.reason.value) == (warm, reason)


def test_a_full_pool_asks_nothing() -> None:
    plan = decide_scale(snapshot(jobs(2), holds=(hold(),)), replace(LIMITS, ceiling=0))
    assert (plan.launch, set(waits(plan).values())) == ((), {"at_ceiling", "gitlab_refuses"})


def test_of_many_holds_the_longest_unasked_ask() -> None:
    waiting = tuple(job(n, project=n) for n in range(1, 31))
    holds = tuple(hold(project_id=n, ask_at=ago(n)) for n in range(1, 31))
    plan = decide_scale(snapshot(waiting, holds=holds), replace(LIMITS, ceiling=99))
    assert {item.project_id for item in plan.launch} == set(range(31 - PROBES_AT_MOST, 31))


@pytest.mark.parametrize(
    ("credential_request", "failure", "scope", "kind"),
    [
        (RECORD, Transient(status=503), (None, None), "outage"),
        (RECORD, Transient(), (None, None), "outage"),
        (RECORD, Refused(status=401), (None, None), "refusal"),
        (RECORD, Refused(status=403), (None, None), "refusal"),
        (RECORD, Refused(status=422), ("docker", None), "refusal"),
        (RECORD, Refused("not as we know it"), ("docker", None), "refusal"),
        (replace(RECORD, project_id=7), Refused(status=404), (None, 7), "refusal"),
        (replace(RECORD, project_id=7), Refused(status=400), ("docker", 7), "refusal"),
        (TOKEN, Refused(status=403), ("docker", None), "refusal"),
        (TOKEN, Refused(status=401), ("docker", None), "refusal"),
        (TOKEN, Transient(status=502), (None, None), "outage"),
        (RECORD, Transient(retry_after_s=0.2), (None, None), "pace"),
        (TOKEN, Transient(status=429, retry_after_s=60), (None, None), "pace"),
    ],
)
def test_a_failure_holds_what_would_fail_as_it_did(
    credential_request: CredentialRequest,
    failure: FleetError,
    scope: tuple[str | None, int | None],
    kind: str,
) -> None:
    hold = hold_for(credential_request, failure, (), AT)
    assert (hold.scope, hold.kind, hold.since, hold.failures) == (scope, kind, AT, 1)


@pytest.mark.parametrize(
    ("failure", "waits_s", "again_in_s"),
    [
        (Transient(), [1, 2, 4, 8, 16, 20, 20], [1, 2, 4, 8, 16, None, None]),
        (Transient(retry_after_s=0.2), [10] * 7, [10] * 7),
        (Refused(status=401), [20] * 7, [None] * 7),
    ],
)
def test_an_outage_is_asked_about_soon_and_a_refusal_with_the_tick(
    failure: FleetError, waits_s: list[int], again_in_s: list[int | None]
) -> None:
    known: list[Hold] = []
    at = AT
    paused: list[float] = []
    again: list[int | None] = []
    for _ in range(7):
        known = [hold_for(RECORD, failure, known, at)]
        paused.append((known[0].ask_at - at).total_seconds())
        again.append(asks_again_in_s(known[0], at))
        at = known[0].ask_at
    assert (paused, again) == (waits_s, again_in_s)
    assert known[0].since == AT
    over = replace(known[0], lifted_at=at)
    assert hold_for(RECORD, failure, [over], at).since == at


def test_a_credential_lifts_the_holds_that_would_have_refused_it() -> None:
    holds = [hold(), hold(project_id=7), hold(project_id=8), hold(pool="docker"), hold(pool="arm")]
    ended = lifted(holds, "docker", 7, AT)
    assert [item.scope for item in ended] == [(None, None), (None, 7), ("docker", None)]
    assert {item.lifted_at for item in ended} == {AT}
    assert lifted(ended, "docker", 7, AT) == []
    assert ended[0].is_remembered(AT + timedelta(minutes=59))
    assert not ended[0].is_remembered(AT + timedelta(minutes=60))
    assert hold().is_remembered(AT + timedelta(days=1))


@pytest.mark.parametrize(
    ("hold", "at", "expected"),
    [
        (hold(since=AT), AT, True),
        (hold(kind=HoldKind.OUTAGE, since=ago(119)), AT, False),
        (hold(kind=HoldKind.OUTAGE, since=ago(120)), AT, True),
        (hold(lifted_at=AT), AT, False),
        (hold(), AT + timedelta(minutes=16), False),
    ],
)
def test_a_person_hears_of_what_does_not_pass(hold: Hold, at: Any, expected: bool) -> None:
    assert is_problem(hold, at) is expected


@pytest.mark.parametrize(
    ("hold", "says", "do"),
    [
        (hold(status=401), "GitLab refuses runner records since 2026-08-20 08:45 UTC", "new token"),
        (hold(status=403, project_id=7), "runner records in project 7 since", "scopes"),
        (hold(status=400, pool="docker"), "runner records of pool docker since", "limit"),
        (hold(status=403, pool="docker", shared=True), "the runner token of pool docker", "anew"),
        (hold(kind=HoldKind.OUTAGE), "GitLab does not answer since", "comes back"),
        (hold(kind=HoldKind.PACE), "called as often as allowed since", "calls_per_minute"),
    ],
)
def test_a_hold_says_since_when_what_and_what_to_do(hold: Hold, says: str, do: str) -> None:
    assert says in sentence(hold)
    assert sentence(hold).endswith("401 no")
    assert do in advice(hold)


def test_gitlabs_own_words_come_first_and_are_short() -> None:
    hold = hold_for(RECORD, Refused("do this", status=400, words="x" * 999), (), AT)
    assert hold.words.startswith("400 xxx")
    assert len(hold.words) == 300
    assert "do this" in hold_for(RECORD, Refused("do this", status=401), (), AT).words


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(EARLY, True, id="GitLab is not to be asked yet"),
        pytest.param({}, False, id="the time to ask has come"),
        pytest.param({**EARLY, "lifted_at": AT}, False, id="GitLab gives them again"),
        pytest.param({**EARLY, "pool": "arm"}, False, id="another pool's"),
        pytest.param({**EARLY, "project_id": 2}, False, id="another project's"),
        pytest.param({**EARLY, "pool": "docker", "project_id": 1}, True, id="this one's"),
    ],
)
def test_a_runner_waits_for_its_credential_while_gitlab_gives_none(
    facts: dict[str, Any], expected: bool
) -> None:
    assert (held_by((hold(**facts),), "docker", 1, AT) is not None) is expected
