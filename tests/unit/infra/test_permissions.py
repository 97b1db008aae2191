"""The document of permissions is the template's, and each statement has a reason."""

import json
from collections import Counter

import pytest

from infra.permissions import DOCUMENT, REASONS, document, rights, roles, statements
from tests.unit.infra.documents import machines, resources, template


def test_the_document_is_that_of_the_template() -> None:
    assert DOCUMENT.read_text() == document(template()), "run `make docs`"


def test_each_statement_has_a_reason_and_each_reason_a_statement() -> None:
    assert {right.sid for right in rights(template())} == set(REASONS)


def test_a_statement_of_a_role_is_known_by_its_sid() -> None:
    for role in roles(template()):
        sids = Counter(statement["Sid"] for statement in statements(template(), role))
        assert set(sids.values()) == {1}, role


@pytest.mark.parametrize("name", sorted(machines()))
def test_a_state_machine_may_start_what_it_starts_and_nothing_else(name: str) -> None:
    """The embedded engine's own services act without a role, so it cannot show this need."""
    text = json.dumps(machines()[name])
    needs = {
        "${Function}": "CallOwnFunction",
        "${SweepFunction}": "CallSweep",
        "${ScaleMachine}": "WakeScale",
    }
    role = f"{name.capitalize()}MachineRole"
    sids = {statement["Sid"] for statement in statements(template(), role)}
    assert sids - {"DeliverLogs"} == {sid for used, sid in needs.items() if used in text}


def test_the_rules_may_start_what_they_start_and_nothing_else() -> None:
    targets = [
        target["Arn"]
        for rule in resources("Events::Rule").values()
        for target in rule["Properties"]["Targets"]
    ]
    (right,) = statements(template(), "RulesRole")
    assert {reference["Ref"] for reference in right["Resource"]} == {
        reference["Ref"] for reference in targets
    }
