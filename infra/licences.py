"""Writes docs/licences.md: the licence of each package that the functions are packed with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from infra.package import REQUIREMENTS, ROOT

DOCUMENT = ROOT / "docs" / "licences.md"
# Packages that ask for more than a copyright notice, or say nothing in their metadata, and why the
# fleet may have them.
ARGUED = {
    "certifi": "weak copyleft for its own files, which are packed unchanged",
    "python-gitlab": "a library that is packed unchanged, with its source, and can be replaced",
}
_CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_PINNED = re.compile(r"^([\w.-]+)==([\w.]+)(?: ; (.*?))? \\?$", re.MULTILINE)

_HEAD = """\
# Licences

Generated from the lock by `make docs`; do not edit. The packages that the functions are packed
with; `make audit` writes them with their hashes into `build/functions.cdx.json`.

| package | version | licence | note |
|---|---|---|---|"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Licensed:
    """One locked package; `licence` is an SPDX expression, or what the metadata says."""

    name: str
    version: str
    licence: str


def licensed(requirements: Path = REQUIREMENTS) -> Iterator[Licensed]:
    """Every package of the lock that is installed on Linux."""
    for name, version, marker in _PINNED.findall(requirements.read_text()):
        if "win32" not in marker:
            yield Licensed(name=name, version=version, licence=_licence(name))


def document() -> str:
    """The text of docs/licences.md."""
    rows = [
        f"| {each.name} | {each.version} | {each.licence} | {ARGUED.get(each.name, '')} |"
        for each in licensed()
    ]
    return "\n".join([_HEAD, *rows, ""])


def _licence(name: str) -> str:
    try:
        facts = metadata(name)
    except PackageNotFoundError:
        return "unknown"
    if "License-Expression" in facts:
        return facts["License-Expression"]
    classes = [
        _CLASSIFIED.get(end, end)
        for entry in facts.get_all("Classifier", [])
        if entry.startswith("License ::") and (end := entry.rpartition(" :: ")[2]) != "OSI Approved"
    ]
    if classes:
        return " AND ".join(classes)
    return facts["License"].partition("\n")[0] if "License" in facts else "unknown"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
