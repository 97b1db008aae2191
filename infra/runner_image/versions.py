"""What an image holds, as JSON: run while the image is built, with the image's own Python.

`{"image", "architecture", "gitlab_runner": {"version", "sha256"}, "python": {}, "debian": {}}`, the
last two with the versions of packages by their names. In the Lambda image also `"node"` and
`"interpreters"`: by major version, `{"version", "path"}`, where `path` is the folder for PATH.
"""

import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

HOME = Path("/opt/runner-fleet")
RUNNER = Path("/usr/bin/gitlab-runner")
INTERPRETERS = {"node": Path("/opt/node"), "interpreters": Path("/opt/python")}


def versions(image: str) -> dict[str, object]:
    """The contents of the image that this runs in."""
    packages = distributions(path=[str(HOME / "packages")])
    versions: dict[str, object] = {
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
                one.name: {
                    "version": _number(_output(str(one / "bin" / program), "--version")),
                    "path": str(one / "bin"),
                }
                for one in sorted(folder.iterdir())
            }
    return versions


def _debian() -> list[tuple[str, str]]:
    lines = _output("dpkg-query", "--show", "--showformat=${Package}\t${Version}\n").splitlines()
    return [(name, version) for name, _, version in (line.partition("\t") for line in lines)]


def _number(text: str) -> str:
    match = re.search(r"\d+\.\d+\.\d+", text)
    return match[0] if match else text


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    print(json.dumps(versions(sys.argv[1]), indent=1, sort_keys=True))
