"""The images of a stack: what is built, where, what is listed, and what the stack uses."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.config.reading import read_config
from fleet.errors import Refused
from infra.image_sources import ImageSources, arguments, image_sources
from operations import images
from operations.image_ages import ImageAges, kinds_to_build
from operations.images import KINDS, BuildRequest, Workshop
from tests.fakes import Clock
from tests.unit.cli.cloudformation import FakeAws, refusal
from tests.unit.cli.registry import URI, FakeRegistry, digest_of

EC2, EC2_ARM64, LAMBDA = KINDS
SOURCES = ImageSources(files={"Dockerfile": b"FROM scratch\n"})
ORDER = BuildRequest(sources=SOURCES, every_s=0)
OWN = f"example.com/team/own@sha256:{'a' * 64}"


def deployed(**used: str) -> FakeAws:
    return FakeAws({"CodeBucket": "b", "LogDays": "7"} | used)


def workshop(aws: FakeAws) -> Workshop:
    return images.workshop_of(aws.clients(), "demo")


def reference(kind: images.ImageKind, order: BuildRequest = ORDER) -> str:
    return f"{URI}@{digest_of(kind.tag(order.digest))}"


def build(aws: FakeAws, order: BuildRequest = ORDER) -> tuple[dict[Any, str], list[str]]:
    lines: list[str] = []
    return images.build(aws.clients(), workshop(aws), order, lines.append), lines


# In the account


def test_every_architecture_builds_its_images_from_the_uploaded_sources() -> None:
    aws = deployed()
    order = BuildRequest(sources=SOURCES, every_s=0, arguments={"BASE": "a", "PNPM": "b"})
    built, lines = build(aws, order)
    assert built == {kind: reference(kind, order) for kind in KINDS}
    arm64, x86_64 = aws.registry.started
    assert (arm64["PROJECT"], arm64["TARGETS"]) == ("demo-image-arm64", "ec2")
    assert (x86_64["PROJECT"], x86_64["TARGETS"]) == ("demo-image-x86_64", "ec2 lambda")
    assert x86_64["ARGUMENTS"] == "BASE=a\nPNPM=b"
    bucket, _, key = x86_64["SOURCES"].removeprefix("s3://").partition("/")
    assert aws.objects[bucket, key] == SOURCES.zip()
    assert "arm64: Step 1/2 : FROM base" in lines
    assert lines.count("x86_64: Step 2/2 : RUN true") == 1
    assert lines.count("x86_64: gitlab-runner 17.9.0 for amd64: sha256 0123") == 1
    assert not [line for line in lines if "--->" in line]


def test_what_is_built_is_not_built_again() -> None:
    aws = deployed()
    build(aws)
    aws.registry.started.clear()
    aws.objects.clear()
    assert build(aws) == ({kind: reference(kind) for kind in KINDS}, [])
    assert (aws.registry.started, aws.objects) == ([], {})


def test_only_what_is_missing_is_built() -> None:
    aws = deployed()
    aws.registry.put(EC2.tag(ORDER.digest))
    aws.registry.put(EC2_ARM64.tag(ORDER.digest))
    build(aws)
    (started,) = aws.registry.started
    assert (started["PROJECT"], started["TARGETS"]) == ("demo-image-x86_64", "lambda")


@pytest.mark.parametrize("status", ["FAILED", "FAULT", "TIMED_OUT", "STOPPED"])
def test_a_build_that_fails_shows_its_last_lines(status: str) -> None:
    aws = deployed()
    aws.registry.failing["x86_64"] = status
    lines: list[str] = []
    with pytest.raises(Refused, match=status):
        images.build(aws.clients(), workshop(aws), ORDER, lines.append)
    assert lines[-1] == "the end"


def test_a_build_without_its_image_is_no_success() -> None:
    aws = deployed()
    order = BuildRequest(sources=SOURCES, every_s=0, kinds=(LAMBDA,))

    class Forgetful(FakeRegistry):
        def put(self, tag: str, **_: Any) -> str:
            return tag

    aws.registry = Forgetful()
    with pytest.raises(Refused, match=LAMBDA.tag(order.digest)):
        build(aws, order)


@pytest.mark.parametrize("arguments", [{"BAES": "a"}, {"BASE": "a\nPNPM=b"}])
def test_an_argument_is_one_line_that_the_dockerfile_knows(arguments: dict[str, str]) -> None:
    aws = deployed()
    with pytest.raises(Refused):
        build(aws, BuildRequest(sources=SOURCES, arguments=arguments))
    assert aws.registry.started == []


def test_sources_and_arguments_decide_whether_an_image_is_new() -> None:
    others = [
        BuildRequest(sources=ImageSources(files={"Dockerfile": b"FROM other\n"})),
        BuildRequest(sources=SOURCES, arguments={"BASE": "a"}),
        BuildRequest(sources=SOURCES, arguments={"BASE": "b"}),
    ]
    assert len({ORDER.digest, *(other.digest for other in others)}) == 4
    assert BuildRequest(sources=SOURCES, kinds=(EC2,)).digest == ORDER.digest


def test_a_registry_that_lists_nothing_for_a_tag_has_no_image() -> None:
    aws = deployed()
    aws.registry.describe_images = lambda **_: {"imageDetails": []}  # type: ignore[method-assign]
    assert workshop(aws).repository.find(EC2.tag("one")) is None


# Here


class FakeEngine:
    """A Docker engine that pushes into the registry, as a client of the SDK shows it."""

    def __init__(self, registry: FakeRegistry, architecture: str = "x86_64") -> None:
        self.api = self
        self._registry = registry
        self._architecture = architecture
        self.requests: list[dict[str, Any]] = []
        self.login: dict[str, str] = {}
        self.failing = ""

    def info(self) -> dict[str, str]:
        return {"Architecture": self._architecture}

    def build(self, **arguments: Any) -> Iterator[dict[str, str]]:
        self.requests.append(arguments)
        yield {"stream": "Step 1/1 : FROM scratch\n"}
        if self.failing == "build":
            yield {"stream": "the last line\n"}
            yield {"error": "it returned a non-zero code: 1"}

    def push(self, name: str, **arguments: Any) -> Iterator[dict[str, str]]:
        self.login = arguments["auth_config"]
        if self.failing == "push":
            yield {"error": "denied: no basic auth credentials"}
            return
        assert name == URI
        self._registry.put(arguments["tag"])
        yield {"status": "Pushed"}


def test_an_engine_here_builds_and_pushes_for_its_own_architecture() -> None:
    aws = deployed()
    engine, lines = FakeEngine(aws.registry), list[str]()
    order = BuildRequest(sources=SOURCES, arguments={"BASE": "a"})
    built = images.build_here(engine, workshop(aws), order, lines.append)
    assert built == {kind: reference(kind, order) for kind in (EC2, LAMBDA)}
    assert [arguments["target"] for arguments in engine.requests] == ["ec2", "lambda"]
    assert engine.requests[0]["buildargs"] == {"BASE": "a"}
    assert engine.requests[0]["tag"] == f"{URI}:{EC2.tag(order.digest)}"
    assert engine.login == {"username": "AWS", "password": "pass:word"}
    assert lines == ["Step 1/1 : FROM scratch"] * 2
    images.build_here(engine, workshop(aws), order, lines.append)
    assert len(engine.requests) == 2


def test_an_arm_engine_builds_the_arm_image() -> None:
    aws = deployed()
    engine = FakeEngine(aws.registry, "aarch64")
    assert list(images.build_here(engine, workshop(aws), ORDER, print)) == [EC2_ARM64]
    order = BuildRequest(sources=SOURCES, kinds=(LAMBDA,))
    with pytest.raises(Refused, match="arm64"):
        images.build_here(engine, workshop(aws), order, print)


@pytest.mark.parametrize(("step", "words"), [("build", "non-zero code"), ("push", "denied")])
def test_an_engine_that_fails_says_why(step: str, words: str) -> None:
    aws = deployed()
    engine, lines = FakeEngine(aws.registry), list[str]()
    engine.failing = step
    with pytest.raises(Refused, match=words):
        images.build_here(engine, workshop(aws), ORDER, lines.append)
    assert ("the last line" in lines) is (step == "build")


# What there is, and what is used


def test_the_list_has_every_image_newest_first_and_what_is_used() -> None:
    aws = deployed()
    old = aws.registry.put(EC2.tag("old"), findings={"HIGH": 2})
    new = aws.registry.put(EC2.tag("new"))
    aws.registry.put("a-tag-of-others")
    aws = with_registry(aws, Ec2Image=old, LambdaImage=OWN)
    rows = images.listed(workshop(aws))
    assert [(row.kind, row.reference, row.is_used) for row in rows] == [
        (EC2, new, False),
        (EC2, old, True),
        (LAMBDA, OWN, True),
    ]
    assert [row.findings for row in rows] == [None, {"HIGH": 2}, None]
    assert images.newest(workshop(aws)) == {EC2: new}


def test_an_image_is_held_against_the_newest_of_its_kind_every_five_minutes() -> None:
    aws, clock = deployed(), Clock()
    old, other = aws.registry.put(EC2.tag("old")), aws.registry.put(LAMBDA.tag("one"))
    aws.registry.put(EC2.tag("new"))
    aws = with_registry(aws, Ec2Image=old, LambdaImage=other, Ec2ImageArm64=OWN)
    ages = ImageAges(aws.clients(), "fleet-a", clock)
    behind = {age.kind: age.newest_at - age.used_at for age in ages()}
    assert behind == {"ec2": timedelta(minutes=2), "lambda": timedelta(0)}
    aws.registry.put(LAMBDA.tag("two"))
    newer = []
    for _ in range(2):
        clock.go(299)
        newer.append({age.kind: age.newest_at > age.used_at for age in ages()}["lambda"])
    assert newer == [False, True]


def test_an_image_is_held_against_the_sources_of_the_stacks_code() -> None:
    aws = deployed()
    aws.outputs["ImageSources"] = "new"
    old = aws.registry.put(EC2_ARM64.tag("old-of-arguments"))
    new = aws.registry.put(EC2.tag("new-of-arguments"))
    again = with_registry(aws, Ec2Image=new, Ec2ImageArm64=old)
    again.outputs = aws.outputs
    ages = ImageAges(again.clients(), "fleet-a", Clock())()
    assert {age.kind: (age.sources, age.code_sources) for age in ages} == {
        "ec2": ("new", "new"),
        "ec2-arm64": ("old", "new"),
    }
    pools = [EC2_POOL.format(n=n, types=[f"{name}.large"]) for n, name in enumerate(("m7i", "m7g"))]
    config = read_config(GITLAB + "".join(pools) + LAMBDA_POOL)
    assert kinds_to_build(workshop(again), config) == (EC2_ARM64, LAMBDA)


def test_no_image_is_held_against_another_where_aws_may_not_be_asked() -> None:
    assert ImageAges(FakeAws().clients(), "nowhere", Clock())() == ()


def with_registry(aws: FakeAws, **used: str) -> FakeAws:
    again = deployed(**used)
    again.registry = aws.registry
    return again


def test_an_image_of_the_operators_stays() -> None:
    aws = deployed()
    built = aws.registry.put(EC2.tag("one"))
    theirs = aws.registry.put("theirs")
    aws = with_registry(aws, Ec2Image=built, LambdaImage=theirs)
    assert images.own_kinds(workshop(aws)) == (EC2, EC2_ARM64)
    assert images.own_kinds(workshop(with_registry(aws, Ec2Image=OWN))) == (EC2_ARM64, LAMBDA)


def test_the_stack_uses_an_image_and_keeps_all_else() -> None:
    aws = deployed(Ec2Image=OWN)
    image = f"{URI}@sha256:{'b' * 64}"
    done = images.use(aws.clients(), workshop(aws), {LAMBDA: image, EC2: OWN})
    assert done.changed == (LAMBDA,)
    assert aws.calls == ["update_stack", "stack_update_complete"]
    assert aws.request["UsePreviousTemplate"] is True
    assert {"ParameterKey": "LambdaImage", "ParameterValue": image} in aws.updated
    previous = {
        parameter["ParameterKey"] for parameter in aws.updated if parameter.get("UsePreviousValue")
    }
    assert previous == {"CodeBucket", "LogDays", "Ec2Image"}


@pytest.mark.parametrize(
    ("parameters", "reserved"),
    [
        pytest.param({}, "133", id="by the account's quota"),
        pytest.param({"RunnerConcurrency": ""}, None, id="the operator wants none"),
    ],
)
def test_the_first_image_of_lambda_runners_reserves_their_share(
    parameters: dict[str, str], reserved: str | None
) -> None:
    aws = deployed()
    uses = {LAMBDA: f"{URI}@sha256:{'b' * 64}"}
    done = images.use(aws.clients(), workshop(aws), uses, given=parameters)
    updated = {
        parameter["ParameterKey"]: parameter.get("ParameterValue") for parameter in aws.updated
    }
    assert updated.get("RunnerConcurrency") == reserved
    assert bool(done.notes) == (reserved is not None)


def test_an_image_that_is_used_already_changes_nothing() -> None:
    aws = deployed(Ec2Image=OWN)
    assert images.use(aws.clients(), workshop(aws), {EC2: OWN}).changed == ()
    assert aws.calls == []


def test_a_stack_that_does_not_take_an_image_keeps_the_old_one() -> None:
    aws = deployed()
    aws.failing["update_stack"] = refusal("ValidationError", "no such parameter")
    with pytest.raises(Refused, match="no such parameter"):
        images.use(aws.clients(), workshop(aws), {EC2: OWN})


@pytest.mark.parametrize("image", [f"{URI}:latest", f"{URI}@sha256:12", f"a b@sha256:{'a' * 64}"])
def test_an_image_is_used_by_its_digest_only(image: str) -> None:
    aws = deployed()
    with pytest.raises(Refused, match="digest"):
        images.use(aws.clients(), workshop(aws), {EC2: image})
    assert aws.calls == []


def test_the_tag_of_an_image_says_what_it_is_for() -> None:
    aws = deployed()
    built = aws.registry.put(EC2_ARM64.tag("one"))
    assert images.kind_of(workshop(aws), built) == EC2_ARM64
    with pytest.raises(Refused, match="--for"):
        images.kind_of(workshop(aws), OWN)
    with pytest.raises(Refused, match="ec2-arm64"):
        images.kind_named("arm")


def test_a_stack_without_a_repository_is_deployed_first() -> None:
    aws = FakeAws({"CodeBucket": "b"})
    del aws.outputs["ImageRepository"]
    with pytest.raises(Refused, match="deploy it first"):
        workshop(aws)


# The sources


def test_the_sources_are_the_same_bytes_again_and_hold_what_is_copied() -> None:
    sources = image_sources()
    assert (sources.digest, sources.zip(), sources.tar()) == (
        image_sources().digest,
        image_sources().zip(),
        image_sources().tar(),
    )
    dockerfile = sources.files["Dockerfile"].decode()
    copied = [
        word.rstrip("/")
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert copied
    for name in copied:
        assert any(file == name or file.startswith(f"{name}/") for file in sources.files), name
    assert not [name for name in sources.files if "__pycache__" in name]


def test_given_files_are_part_of_the_sources(tmp_path: Path) -> None:
    binary = tmp_path / "any-name"
    binary.write_bytes(b"\x7fELF")
    sources = image_sources(given={"gitlab-runner": binary})
    assert sources.files["given/gitlab-runner"] == b"\x7fELF"
    assert sources.digest == image_sources().digest
    order, plain = BuildRequest(sources=sources), BuildRequest(sources=image_sources())
    assert order.digest not in {plain.digest, BuildRequest(sources=SOURCES).digest}
    assert {EC2.sources(EC2.tag(request.digest)) for request in (order, plain)} == {sources.digest}


def test_bases_are_named_by_their_digests_and_a_checksum_proves_the_runner() -> None:
    known = arguments()
    for name in ("BASE", "PYTHON_3_12", "PYTHON_3_13"):
        assert "@sha256:" in known[name]
    assert {"GITLAB_RUNNER_SHA256_X86_64", "GITLAB_RUNNER_SHA256_ARM64"} <= known.keys()
    assert len(known["GITLAB_RUNNER_SIGNER"]) == 40


GITLAB = '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"\n'
EC2_POOL = '[pools.d{n}]\nbackend = "ec2"\ntags = ["d{n}"]\ninstance_types = {types}\nceiling = 1\n'
LAMBDA_POOL = '[pools.node]\nbackend = "lambda"\ntags = ["node"]\nsize = "2GB"\nceiling = 1\n'


@pytest.mark.parametrize(
    ("pools", "names"),
    [
        (EC2_POOL.format(n=1, types='["m7i.large", "m7a.large"]'), ["ec2"]),
        (EC2_POOL.format(n=1, types='["m7g.large"]') + LAMBDA_POOL, ["ec2-arm64", "lambda"]),
        (
            EC2_POOL.format(n=1, types='["c7i.large"]')
            + EC2_POOL.format(n=2, types='["c7gn.large"]'),
            ["ec2", "ec2-arm64"],
        ),
    ],
)
def test_a_fleet_needs_the_images_of_its_pools_processors(pools: str, names: list[str]) -> None:
    config = read_config(GITLAB + pools)
    assert [kind.name for kind in images.kinds_for(config)] == names
