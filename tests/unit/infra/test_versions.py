"""The parts list of an image, from what the image says that it holds."""

from typing import Any

from infra.runner_image.versions import sbom

HELD: dict[str, Any] = {
    "image": "lambda",
    "architecture": "amd64",
    "gitlab_runner": {"version": "17.9.0", "sha256": "ab" * 32},
    "python": {"boto3": "1.44.7"},
    "debian": {"git": "1:2.39.5-0+deb12u2"},
    "node": {"22": {"version": "22.1.0", "path": "/opt/node/22/bin"}},
    "interpreters": {"3.12": {"version": "3.12.1", "path": "/opt/python/3.12/bin"}},
}


def test_every_part_has_its_address() -> None:
    parts = sbom(HELD, {"npm": "10.1.0", "@acme/x": "1.0.0"})["components"]
    assert {part["purl"] for part in parts} == {
        "pkg:generic/gitlab-runner@17.9.0",
        "pkg:pypi/boto3@1.44.7",
        "pkg:deb/debian/git@1%3A2.39.5-0%2Bdeb12u2?arch=amd64",
        "pkg:npm/npm@10.1.0",
        "pkg:npm/%40acme/x@1.0.0",
        "pkg:generic/node@22.1.0",
        "pkg:generic/python@3.12.1",
    }
    assert len({part["bom-ref"] for part in parts}) == len(parts)
    assert parts[0]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]


def test_a_machines_image_has_no_interpreters() -> None:
    held = {name: held for name, held in HELD.items() if name not in {"node", "interpreters"}}
    assert sbom(held, {})["metadata"]["component"] == {"type": "container", "name": "lambda"}
    assert {part["name"] for part in sbom(held, {})["components"]} == {
        "gitlab-runner",
        "boto3",
        "git",
    }
