"""What an image holds, in two files: run while the image is built, with the image's own Python.

`versions.json` is for the agent and for people:

`{"image", "architecture", "gitlab_runner": {"version", "sha256"}, "python": {}, "debian": {}}`, the
last two with the versions of packages by their names. In the Lambda image also `"node"` and
`"interpreters"`: by major version, `{"version", "path"}`, where `path` is the folder for PATH.
`sbom.cdx.json` is for scanners: the same as a CycloneDX parts list, with what Node brings.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

HOME = Path("/opt/runner-fleet")
RUNNER = Path("/usr/bin/gitlab-runner")
INTERPRETERS = {"node": Path("/opt/node"), "interpreters": Path("/opt/python")}
COREPACK = Path("/opt/corepack/v1")


def versions(image: str) -> dict[str, Any]:
    """The contents of the image that this runs in."""
    packages = distributions(path=[str(HOME / "packages")])
    versions: dict[str, Any] = {
        "image": image,
        "architecture": _output("dpkg", "--print-architecture"),
        "gitlab_runner": {
            "version": _number(_output(str(RUNNER), "--version")),
            "sha256": hashlib.sha256(RUNNER.read_bytes()).hexdigest(),
        },
        "python": {package.name: package.version for package in packages},
        "debian": dict(_debian()),
    }
    for name, folder in INTERPRETERS.items():
        if folder.is_dir():
            program = "node" if name == "node" else "python3"
            versions[name] = {
                home.name: {
                    "version": _number(_output(str(home / "bin" / program), "--version")),
                    "path": str(home / "bin"),
                }
                for home in sorted(folder.iterdir())
            }
    return versions


def sbom(held: Mapping[str, Any], packages: Mapping[str, str]) -> dict[str, Any]:
    """A CycloneDX 1.6 parts list of the `versions` and of npm's `packages`, by their names.

    Source: https://cyclonedx.org/docs/1.6/json; purl types: https://github.com/package-url.
    """
    architecture = f"?arch={held['architecture']}"
    runner = held["gitlab_runner"]
    parts = [
        _part("gitlab-runner", runner["version"], "pkg:generic/gitlab-runner")
        | {"hashes": [{"alg": "SHA-256", "content": runner["sha256"]}]},
        *(
            _part(name, number, f"pkg:pypi/{name.lower()}")
            for name, number in held["python"].items()
        ),
        *(
            _part(name, number, f"pkg:deb/debian/{name}", architecture)
            for name, number in held["debian"].items()
        ),
        *(
            _part(name, number, f"pkg:npm/{quote(name, safe='/')}")
            for name, number in packages.items()
        ),
    ]
    for kind, name in (("node", "node"), ("interpreters", "python")):
        for entry in held.get(kind, {}).values():
            parts.append(_part(name, entry["version"], f"pkg:generic/{name}"))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": held["image"]}},
        "components": parts,
    }


def _part(name: str, version: str, purl: str, qualifiers: str = "") -> dict[str, Any]:
    purl = f"{purl}@{quote(version, safe='')}{qualifiers}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _npm() -> Iterator[tuple[str, str]]:
    """The packages that come with Node, and the package managers that corepack has."""
    for file in INTERPRETERS["node"].glob("*/lib/node_modules/*/package.json"):
        package = json.loads(file.read_text(encoding="utf-8"))
        yield package["name"], package["version"]
    for folder in COREPACK.glob("*/*"):
        if folder.is_dir():
            yield folder.parent.name, folder.name


def _debian() -> list[tuple[str, str]]:
    lines = _output("dpkg-query", "--show", "--showformat=${Package}\t${Version}\n").splitlines()
    return [(name, version) for name, _, version in (line.partition("\t") for line in lines)]


def _number(text: str) -> str:
    match = re.search(r"\d+\.\d+\.\d+", text)
    return match[0] if match else text


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    image, folder = sys.argv[1], Path(sys.argv[2])
    held = versions(image)
    for name, content in (("versions", held), ("sbom.cdx", sbom(held, dict(_npm())))):
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
