"""Every package that the functions are packed with has a licence that the fleet may use."""

from infra.licences import ARGUED, DOCUMENT, document, licensed


def test_the_document_is_that_of_the_lock() -> None:
    assert DOCUMENT.read_text() == document(), "run `make docs`"


def test_a_licence_that_is_not_permissive_is_argued() -> None:
    assert {one.name for one in licensed() if not one.is_permissive} == ARGUED.keys()
