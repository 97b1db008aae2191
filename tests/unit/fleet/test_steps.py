"""Steps of a history: written and read back whole, and none from a machine that is not its own."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings, strategies as st

from fleet.reasons import Reason
from fleet.steps import OF_MACHINES, Outcome, Step, StepName, Undated

AT = datetime(2026, 8, 20, 9, 15, 1, 250_000, tzinfo=UTC)
WORDS = st.none() | st.text()
NUMBERS = st.none() | st.integers()
STEPS = st.builds(
    Step,
    at=st.datetimes(timezones=st.just(UTC)),
    name=st.sampled_from([name for name in StepName if name is not StepName.UNKNOWN]),
    reason=st.none() | st.sampled_from(Reason),
    cause=st.none() | st.sampled_from(Reason),
    outcome=st.none() | st.sampled_from(Outcome),
    **dict.fromkeys(("attempt", "attempts", "job_id", "retry_of", "retried_as"), NUMBERS),
    **dict.fromkeys(("failure", "delivery_id", "runner", "machine", "pool", "detail"), WORDS),
)


@settings(max_examples=40)
@given(STEPS)
def test_a_step_survives_the_ledger(step: Step) -> None:
    item = step.item()
    assert Step.of_item(item) == step
    assert None not in item.values()
    assert all(type(fact) in {str, int} for fact in item.values())


def test_what_a_newer_fleet_wrote_is_kept_for_people() -> None:
    item = {"at": AT.isoformat(), "step": "thawed", "reason": "warm", "cause": "sun", "more": 1}
    assert Step.of_item(item) == Step(at=AT, name=StepName.UNKNOWN, failure="warm", detail="thawed")


def test_a_failure_of_gitlab_is_no_reason_of_ours() -> None:
    step = Step(at=AT, name=StepName.FAILED, failure="script_failed")
    assert Step.of_item(step.item()) == step


@pytest.mark.parametrize("name", sorted(OF_MACHINES))
def test_a_machine_says_what_happens_on_it(name: StepName) -> None:
    step = Undated(name=name, job_id=7, outcome=Outcome.FAILED, detail="exit status 3").dated(AT)
    assert Step.of_report(step.item()) == step
    assert Step.of_report(Undated(name=name).dated(AT).item()).job_id is None


@pytest.mark.parametrize("name", sorted(set(StepName) - OF_MACHINES))
def test_a_machine_says_nothing_in_the_fleets_name(name: StepName) -> None:
    """A job can write its machine's report."""
    with pytest.raises(ValueError, match="no machine says"):
        Step.of_report(Step(at=AT, name=name).item())


def test_a_machine_gives_no_fact_that_only_the_fleet_knows() -> None:
    facts = {"runner": "rf-other", "pool": "other", "reason": "went_unserved", "attempts": 1}
    step = Step.of_report({"at": AT.isoformat(), "step": "ended"} | facts)
    assert step == Step(at=AT, name=StepName.ENDED)
