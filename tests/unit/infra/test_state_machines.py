"""Rules that every state machine keeps: bounded, named, and never silent about why it stopped."""

import re

import pytest
from jsonata import Jsonata  # type: ignore[import-untyped]

from fleet import errors
from tests.unit.infra.documents import State, machines, next_of, states

FOUND = [(name, *state) for name, machine in machines().items() for state in states(machine)]


def each(kind: str = "") -> pytest.MarkDecorator:
    """Once per state of this type, or of any."""
    wanted = [place for place in FOUND if kind in {"", place[2]["Type"]}]
    names = [f"{machine}.{name}" for machine, name, _ in wanted]
    return pytest.mark.parametrize(("machine", "name", "state"), wanted, ids=names)


AWS_ERRORS = re.compile(r"(States|Lambda|Sandbox|SQS|StepFunctions)\.\w+")


@each("Task")
def test_every_task_is_bounded_and_names_real_errors(machine: str, name: str, state: State) -> None:
    """Step Functions matches names exactly: a subclass is a different error."""
    rules = state["Retry"] + state["Catch"]
    named = {error for rule in rules for error in rule["ErrorEquals"]}
    ours = {error for error in named if not AWS_ERRORS.fullmatch(error)}
    assert ours <= {kind.__name__ for kind in errors.FleetError.__subclasses__()}
    assert 0 < state["TimeoutSeconds"] <= 130
    assert ["States.ALL"] in [rule["ErrorEquals"] for rule in state["Catch"]]


@each("Task")
def test_a_retry_is_named_and_ends(machine: str, name: str, state: State) -> None:
    for rule in state["Retry"]:
        assert "States.ALL" not in rule["ErrorEquals"]
        assert "States.TaskFailed" not in rule["ErrorEquals"]
        waits_for_room = rule["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
        assert rule["MaxAttempts"] <= (10 if waits_for_room else 4)
        assert rule["MaxDelaySeconds"] <= 30
        assert rule["JitterStrategy"] == "FULL"


@each("Task")
def test_only_what_may_work_later_is_tried_again(machine: str, name: str, state: State) -> None:
    retried = {error for rule in state["Retry"] for error in rule["ErrorEquals"]}
    assert not retried & {"Refused", "NoCapacity", "BadDelivery"}
    if "lambda:invoke" in state["Resource"]:
        assert {"Transient", "Lambda.TooManyRequestsException"} <= retried


@each("Fail")
@pytest.mark.parametrize(
    ("failed", "says"),
    [
        ({"Error": "Refused", "Cause": "no token"}, ("Refused", "no token")),
        ({"Error": "States.Timeout"}, ("States.Timeout", "")),  # which comes without a cause
        ({}, ("Unknown", "")),
    ],
)
def test_a_stop_says_why(
    machine: str, name: str, state: State, failed: dict[str, str], says: tuple[str, str]
) -> None:
    """An expression that gives nothing would be an error of its own, in place of this one."""
    states = {"input": {"failed": [failed]} if machine == "reconcile" else failed}
    parts = []
    for part in ("Error", "Cause"):
        expression = Jsonata(state[part].removeprefix("{%").removesuffix("%}"))
        expression.assign("states", states)
        parts.append(expression.evaluate(None))
    assert tuple(parts) == says


@each("Choice")
def test_a_choice_has_a_default_that_stops(machine: str, name: str, state: State) -> None:
    def ends(of: str) -> bool:
        target = machines()[machine]["States"][of]
        return target["Type"] in {"Succeed", "Fail"} or ends(target["Default"])

    assert ends(state["Default"])


@pytest.mark.parametrize("name", sorted(machines()))
def test_a_machine_ends_in_time(name: str) -> None:
    machine = machines()[name]
    express = name != "scale"
    assert machine["TimeoutSeconds"] <= (299 if express else 1800)
    assert machine["QueryLanguage"] == "JSONata"


@pytest.mark.parametrize("name", sorted(machines()))
def test_no_loop_is_endless(name: str) -> None:
    """Whatever leads back must pass a choice that counts the rounds."""
    states_of_it = machines()[name]["States"]
    counted = {
        choice["Next"]
        for state in states_of_it.values()
        for choice in state.get("Choices", [])
        if re.search(r"\$round < \d+", choice["Condition"])
    }

    def leads_back(start: str, at: str, visited: frozenset[str]) -> bool:
        onward = next_of(states_of_it[at]) - counted
        return start in onward or any(
            leads_back(start, name_of_state, visited | {name_of_state})
            for name_of_state in onward - visited
        )

    assert [
        name_of_state
        for name_of_state in states_of_it
        if leads_back(name_of_state, name_of_state, frozenset())
    ] == []


def test_every_wake_gathers_a_second_and_takes_a_taken_name_for_success() -> None:
    wakes = [state for machine in machines().values() for name, state in states(machine)
             if name == "WakeScale"]  # fmt: skip
    assert len(wakes) == 3
    for wake in wakes:
        assert wake["Arguments"] == wakes[0]["Arguments"]
        taken = wake["Catch"][0]
        assert taken["ErrorEquals"] == ["StepFunctions.ExecutionAlreadyExistsException"]
        assert taken["Next"] == wake["Next"]


def test_settle_fits_into_an_express_execution() -> None:
    machine = machines()["settle"]["States"]
    longest = int(re.findall(r"\$min\(\[(\d+)", machine["Grace"]["Seconds"])[0])
    rounds = int(re.findall(r"\$round < (\d+)", machine["WhatNext"]["Choices"][0]["Condition"])[0])
    assert rounds * longest < machines()["settle"]["TimeoutSeconds"] - 60
