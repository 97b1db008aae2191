"""The document of permissions is the template's, and each statement has a reason."""

from collections import Counter

from infra.permissions import DOCUMENT, REASONS, document, rights, roles, statements
from tests.unit.infra.documents import template


def test_the_document_is_that_of_the_template() -> None:
    assert DOCUMENT.read_text() == document(template()), "run `make docs`"


def test_each_statement_has_a_reason_and_each_reason_a_statement() -> None:
    assert {right.sid for right in rights(template())} == set(REASONS)


def test_a_statement_of_a_role_is_known_by_its_sid() -> None:
    for role in roles(template()):
        sids = Counter(statement["Sid"] for statement in statements(template(), role))
        assert set(sids.values()) == {1}, role
