"""Every package that the functions are packed with has a licence that the fleet may use."""

import re

from infra.licences import ARGUED, DOCUMENT, document, licensed

# Licences that ask for a copyright notice and no more.
PERMISSIVE = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}
)


def test_the_document_is_that_of_the_lock() -> None:
    assert DOCUMENT.read_text() == document(), "run `make docs`"


def test_a_licence_that_is_not_permissive_is_argued() -> None:
    assert {
        package.name for package in licensed() if not is_permissive(package.licence)
    } == ARGUED.keys()


def is_permissive(licence: str) -> bool:
    """Whether each part of its expression is."""
    parts = re.split(r" AND | OR |[() ]+", licence)
    return all(part in PERMISSIVE for part in parts if part)
