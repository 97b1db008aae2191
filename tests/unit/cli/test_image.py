"""`image`: what the commands say, and what they refuse."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.image import ImageWorld, engine_here
from cli.main import app
from fleet.errors import Refused
from infra.image_sources import ImageSources
from operations.images import KINDS, BuildRequest
from tests.unit.cli.cloudformation import FakeAws
from tests.unit.cli.session import Session

EC2, EC2_ARM64, LAMBDA = KINDS
OWN = f"example.com/team/own@sha256:{'a' * 64}"
ELF = b"\x7fELF" + bytes(14)


def sources(binaries: Mapping[str, Path]) -> ImageSources:
    files = {name: path.read_bytes() for name, path in binaries.items()}
    return ImageSources(files={"Dockerfile": b"FROM scratch"} | files)


def no_engine() -> Any:
    raise AssertionError("it was not asked for")


def run(
    aws: FakeAws,
    *arguments: str,
    session: Session | None = None,
    engine: Callable[[], Any] = no_engine,
) -> Result:
    world = ImageWorld(aws=aws.clients(), sources=sources, engine=engine, every_s=0)
    result = CliRunner().invoke(app, ["image", *arguments], obj=world)
    return (session or Session()).show(["image", *arguments], result)


def deployed(aws: FakeAws | None = None, **used: str) -> FakeAws:
    again = FakeAws({"CodeBucket": "b"} | used)
    if aws is not None:
        again.registry = aws.registry
    return again


def test_all_that_image_says(screen: Callable[[str, str], None]) -> None:
    session, aws = Session(), deployed()
    assert run(aws, "list", session=session).exit_code == 0
    assert run(aws, "use", session=session).exit_code == 1
    assert run(aws, "build", session=session).exit_code == 0
    assert run(aws, "use", session=session).exit_code == 0
    old = aws.registry.put(EC2.tag("old"), findings={"CRITICAL": 1, "HIGH": 2})
    aws = deployed(aws, Ec2Image=old, LambdaImage=OWN)
    assert run(aws, "list", session=session).exit_code == 0
    assert run(aws, "list", "--json", session=session).exit_code == 0
    assert run(aws, "use", old, session=session).exit_code == 0
    new = aws.registry.images[EC2.tag(BuildRequest(sources=sources({})).digest)]["imageDigest"]
    assert run(aws, "use", new, "--json", session=session).exit_code == 0
    assert run(aws, "use", OWN, session=session).exit_code == 1
    assert run(aws, "use", OWN, "--for", "lambda", session=session).exit_code == 0
    assert run(aws, "use", "a:latest", "--for", "lambda", session=session).exit_code == 1
    assert run(aws, "build", "--for", "windows", session=session).exit_code == 1
    assert run(aws, "build", "--arg", "BAES=a", session=session).exit_code == 1
    failing = deployed()
    failing.registry.failing["arm64"] = "FAILED"
    assert run(failing, "build", session=session).exit_code == 1
    screen("image", str(session))


@pytest.mark.parametrize(
    ("processor", "project", "argument"),
    [
        (0x3E, "runner-fleet-image-x86_64", "GITLAB_RUNNER_SHA256_X86_64"),
        (0xB7, "runner-fleet-image-arm64", "GITLAB_RUNNER_SHA256_ARM64"),
    ],
)
def test_a_given_runner_is_proven_and_built_for_its_processor(
    tmp_path: Path, processor: int, project: str, argument: str
) -> None:
    aws, binary = deployed(), tmp_path / "runner"
    binary.write_bytes(ELF + processor.to_bytes(2, "little"))
    assert run(aws, "build", "--gitlab-runner", str(binary)).exit_code == 0
    (started,) = aws.registry.started
    assert started["PROJECT"] == project
    assert started["ARGUMENTS"].startswith(f"{argument}=")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh", ELF + b"\x28\0"])
def test_a_given_runner_is_a_program_for_an_image(tmp_path: Path, content: bytes) -> None:
    binary = tmp_path / "runner"
    binary.write_bytes(content)
    result = run(deployed(), "build", "--gitlab-runner", str(binary))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_a_build_here_asks_the_engine_and_no_project() -> None:
    aws = deployed()
    order = BuildRequest(sources=sources({}))
    aws.registry.put(EC2.tag(order.digest))
    aws.registry.put(LAMBDA.tag(order.digest))

    class Engine:
        def info(self) -> dict[str, str]:
            return {"Architecture": "x86_64"}

        def close(self) -> None:
            pass

    result = run(aws, "build", "--local", engine=Engine)
    assert (result.exit_code, aws.registry.started) == (0, [])


def test_without_an_engine_the_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(Refused, match="--local"):
        engine_here()
