"""The images of a stack's machines: built in the account or here, listed, and put to use."""

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.aws.clients import Clients, aws_call
from adapters.aws.registry import Builder, BuildRun, ImageRepository, StoredImage
from fleet.config.reading import FleetConfig
from fleet.config.values import architecture as architecture_of
from fleet.errors import Refused
from infra.image_sources import ImageSources, arguments as known_arguments
from operations.deploy import change_parameters
from operations.lambda_parameters import IMAGE, lambda_parameters
from operations.stacks import outputs_of, parameters_of

EVERY_S = 5.0
LAST_LINES = 20
# What the classic builder and BuildKit write at the head of a step, and at the end of a push; and
# the checksum of gitlab-runner, which an operator may hold on to.
_STEP = re.compile(
    r"Step \d+/\d+ |#\d+ \[|Successfully |ERROR|[0-9a-z_-]+: digest: "
    r"|(#\d+ [\d.]+ )?gitlab-runner [\d.]+ for "
)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKind:
    """An image that the template takes. `architecture` is `x86_64` or `arm64`."""

    name: str  # as an operator says it
    parameter: str  # of the template
    target: str  # of the Dockerfile
    architecture: str

    def tag(self, digest: str) -> str:
        """The tag of the image that is built from the sources and arguments with this digest."""
        return f"{self.target}-{self.architecture}-{digest}"

    def sources(self, tag: str) -> str:
        """The digest of the sources that the image with this tag was built from."""
        return tag.removeprefix(self.tag("")).partition("-")[0]

    def own_tag(self, image: StoredImage) -> str | None:
        """The image's tag where the fleet built it as one of this kind; else None."""
        return next((tag for tag in image.tags if tag.startswith(self.tag(""))), None)


KINDS = (
    ImageKind(name="ec2", parameter="Ec2Image", target="ec2", architecture="x86_64"),
    ImageKind(name="ec2-arm64", parameter="Ec2ImageArm64", target="ec2", architecture="arm64"),
    ImageKind(name="lambda", parameter="LambdaImage", target="lambda", architecture="x86_64"),
)


def kinds_for(config: FleetConfig) -> tuple[ImageKind, ...]:
    """The images that the pools' machines start from, by their types' processors."""
    needed = {("lambda", "x86_64") for pool in config.pools if pool.backend == "lambda"} | {
        ("ec2", architecture_of(name))
        for pool in config.pools
        if pool.backend == "ec2"
        for name in pool.instance_types
    }
    return tuple(kind for kind in KINDS if (kind.target, kind.architecture) in needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where one stack's images are built and kept. `used`: by parameter, empty where none is."""

    stack: str
    bucket: str
    repository: ImageRepository
    used: Mapping[str, str]
    sources: str = ""  # the digest of the sources of the stack's code; empty: it does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build: these kinds, from these sources, with these arguments of the Dockerfile."""

    sources: ImageSources = field(repr=False)
    kinds: tuple[ImageKind, ...] = KINDS
    arguments: Mapping[str, str] = field(default_factory=dict)
    every_s: float = EVERY_S

    @property
    def digest(self) -> str:
        """The digest of the sources, and behind it that of arguments and given files, if any."""
        extras = {**self.arguments, **self.sources.given}
        if not extras:
            return self.sources.digest
        whole = "\0".join(f"{name}={value}" for name, value in sorted(extras.items()))
        return f"{self.sources.digest}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """One image of the stack's repository, or one from elsewhere that the stack uses."""

    kind: ImageKind
    reference: str
    is_used: bool
    tag: str = ""
    pushed_at: datetime | None = None
    size_bytes: int | None = None
    findings: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """The kinds whose image changed, and what the account's limits mean for the fleet."""

    changed: tuple[ImageKind, ...] = ()
    notes: tuple[str, ...] = ()


def kind_named(name: str) -> ImageKind:
    """The kind of this name. Raises `Refused` for a name that none has."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    names = ", ".join(kind.name for kind in KINDS)
    raise Refused(f"there is no image of this kind: name one of {names}", given=name)


def workshop_of(aws: Clients, stack: str) -> Workshop:
    """The workshop of a deployed stack. Raises `Refused` for one that is older than images."""
    outputs = outputs_of(aws, stack)
    if "ImageRepository" not in outputs:
        raise Refused("this stack has no repository of images yet: deploy it first", stack=stack)
    parameters = parameters_of(aws, stack)
    return Workshop(
        stack=stack,
        bucket=parameters.get("CodeBucket", ""),
        repository=ImageRepository(aws.ecr, outputs["ImageRepository"]),
        used={kind.parameter: parameters.get(kind.parameter, "") for kind in KINDS},
        sources=outputs.get("ImageSources", ""),
    )


def check_arguments(arguments: Mapping[str, str]) -> None:
    """Raise `Refused` for an argument that the Dockerfile does not have, or of two lines."""
    known = known_arguments()
    for name, value in arguments.items():
        if name not in known:
            raise Refused(f"infra/runner.Dockerfile has no argument {name}: {', '.join(known)}")
        if not value.isprintable():
            raise Refused("an argument of the build is one line", name=name)


def own_kinds(workshop: Workshop) -> tuple[ImageKind, ...]:
    """The kinds without an image or with one that the fleet built, not one of the operator's."""
    stored = {image.reference: image for image in workshop.repository.all()}

    def is_own(kind: ImageKind) -> bool:
        used = workshop.used[kind.parameter]
        return not used or (used in stored and kind.own_tag(stored[used]) is not None)

    return tuple(kind for kind in KINDS if is_own(kind))


def build(
    aws: Clients, workshop: Workshop, request: BuildRequest, tell: Tell
) -> dict[ImageKind, str]:
    """Build in the account what is not built yet; the reference of each kind.

    `tell` gets the steps of the builds' logs, and the last lines of one that fails, which raises
    `Refused`.
    """
    check_arguments(request.arguments)
    missing = [kind for kind in request.kinds if not _find(workshop, request, kind)]
    if missing:
        key = f"images/{request.digest}.zip"
        with aws_call("s3.PutObject"):
            aws.s3.put_object(Bucket=workshop.bucket, Key=key, Body=request.sources.zip())
        variables = {
            "SOURCES": f"s3://{workshop.bucket}/{key}",
            "DIGEST": request.digest,
            "ARGUMENTS": "\n".join(f"{name}={value}" for name, value in request.arguments.items()),
        }
        builder = Builder(aws.codebuild, aws.logs)
        builds = {
            architecture: builder.start(
                f"{workshop.stack}-image-{architecture}", variables | {"TARGETS": targets}
            )
            for architecture, targets in _targets(missing)
        }
        _follow(builder, builds, request, tell)
    return _references(workshop, request)


def build_here(
    engine: Any, workshop: Workshop, request: BuildRequest, tell: Tell
) -> dict[ImageKind, str]:
    """Build what is not built yet with a local engine, a client of the Docker SDK, and push it.

    Returns and raises as `build` does. The engine builds for its own architecture only; the other
    kinds are left out of the answer.
    """
    check_arguments(request.arguments)
    request = _for_engine(engine, request)
    login = None
    for kind in request.kinds:
        if _find(workshop, request, kind):
            continue
        login = login or workshop.repository.login()
        tag = kind.tag(request.digest)
        _read(
            engine.api.build(
                fileobj=io.BytesIO(request.sources.tar()),
                custom_context=True,
                tag=f"{workshop.repository.uri}:{tag}",
                target=kind.target,
                buildargs=dict(request.arguments),
                rm=True,
                forcerm=True,
                decode=True,
            ),
            f"the build of {kind.name} failed",
            tell,
        )
        _read(
            engine.api.push(
                workshop.repository.uri, tag=tag, auth_config=login, stream=True, decode=True
            ),
            f"the registry does not take {kind.name}",
            tell,
        )
    return _references(workshop, request)


def listed(workshop: Workshop) -> list[ListedImage]:
    """Every image of each kind, newest first, and those from elsewhere that the stack uses."""
    stored = sorted(workshop.repository.all(), key=lambda image: image.pushed_at, reverse=True)
    rows = []
    for kind in KINDS:
        used = workshop.used[kind.parameter]
        rows += [
            ListedImage(
                kind=kind,
                reference=image.reference,
                is_used=image.reference == used,
                tag=tag,
                pushed_at=image.pushed_at,
                size_bytes=image.size_bytes,
                findings=image.findings,
            )
            for image in stored
            if (tag := kind.own_tag(image))
        ]
        if used and not any(row.is_used and row.kind == kind for row in rows):
            rows.append(ListedImage(kind=kind, reference=used, is_used=True))
    return rows


def newest(workshop: Workshop) -> dict[ImageKind, str]:
    """The reference of the image that was pushed last, by kind."""
    first: dict[ImageKind, str] = {}
    for row in listed(workshop):
        if row.pushed_at is not None:
            first.setdefault(row.kind, row.reference)
    return first


def kind_of(workshop: Workshop, reference: str) -> ImageKind:
    """The kind of an image in the stack's repository, by its tag. `Refused` without such a tag."""
    for row in listed(workshop):
        if row.reference == reference and row.tag:
            return row.kind
    raise Refused(
        "say with --for which machines this image is for: it has no tag that says so",
        image=reference,
    )


def use(
    aws: Clients,
    workshop: Workshop,
    images: Mapping[ImageKind, str],
    *,
    given: Mapping[str, str] | None = None,
    every_s: float = EVERY_S,
) -> ImageChange:
    """Have the stack launch machines with these images.

    A first image of Lambda runners makes their functions: parameters that the operator has not
    `given` then follow from the account's limits. Machines that run keep their image to their end.
    Raises `Refused` for a tag instead of a digest.
    """
    for reference in images.values():
        if not re.fullmatch(r"[^@\s\"'$`\\]+@sha256:[0-9a-f]{64}", reference):
            raise Refused("name the image by its digest, …@sha256:…", image=reference)
    changed = tuple(
        kind for kind, reference in images.items() if workshop.used[kind.parameter] != reference
    )
    if not changed:
        return ImageChange()
    parameters = {kind.parameter: images[kind] for kind in changed}
    notes: tuple[str, ...] = ()
    if IMAGE in parameters:
        limits = lambda_parameters(
            aws, {**(given or {}), **parameters}, parameters_of(aws, workshop.stack)
        )
        parameters |= limits.parameters
        notes = limits.notes
    change_parameters(aws, workshop.stack, parameters, every_s=every_s)
    return ImageChange(changed=changed, notes=notes)


def _find(workshop: Workshop, request: BuildRequest, kind: ImageKind) -> StoredImage | None:
    return workshop.repository.find(kind.tag(request.digest))


def _references(workshop: Workshop, request: BuildRequest) -> dict[ImageKind, str]:
    images = {kind: _find(workshop, request, kind) for kind in request.kinds}
    for kind, image in images.items():
        if image is None:
            tag = kind.tag(request.digest)
            raise Refused("the build ended well, but the repository lacks its image", tag=tag)
    return {kind: image.reference for kind, image in images.items() if image}


def _targets(kinds: Sequence[ImageKind]) -> Iterator[tuple[str, str]]:
    """Each architecture with its targets, as one word list."""
    for architecture in sorted({kind.architecture for kind in kinds}):
        yield (
            architecture,
            " ".join(kind.target for kind in kinds if kind.architecture == architecture),
        )


def _follow(
    builder: Builder, builds: Mapping[str, BuildRun], request: BuildRequest, tell: Tell
) -> None:
    """Wait for all builds. Raises `Refused` at the first that fails; the others go on."""
    running = dict(builds)
    while running:
        for architecture, run in list(running.items()):
            for line in builder.look(run):
                if _STEP.match(line):
                    tell(f"{architecture}: {line}")
            if run.status == "IN_PROGRESS":
                continue
            del running[architecture]
            if run.status != "SUCCEEDED":
                _fail(architecture, run, tell)
        if running:
            time.sleep(request.every_s)


def _fail(architecture: str, run: BuildRun, tell: Tell) -> None:
    for line in run.lines[-LAST_LINES:]:
        tell(line)
    raise Refused(
        f"the build of the images for {architecture} failed"
        f"{': its last lines are above' if run.lines else ', and it wrote no log'};"
        " machines go on with the images that they have",
        build=run.id,
        status=run.status,
    )


def _for_engine(engine: Any, request: BuildRequest) -> BuildRequest:
    word = str(engine.info()["Architecture"])
    own = {"aarch64": "arm64", "amd64": "x86_64"}.get(word, word)
    kinds = tuple(kind for kind in request.kinds if kind.architecture == own)
    if not kinds:
        raise Refused("this engine builds none of these images", engine=own)
    return BuildRequest(sources=request.sources, kinds=kinds, arguments=request.arguments)


def _read(messages: Iterator[Mapping[str, Any]], failure: str, tell: Tell) -> None:
    """Pass the steps among an engine's messages to `tell`. Raises `Refused` for an error."""
    lines: list[str] = []
    for message in messages:
        new = str(message.get("stream", "")).splitlines()
        lines += [line for line in new if line.strip()]
        for line in new:
            if _STEP.match(line):
                tell(line)
        if "error" in message:
            for line in lines[-LAST_LINES:]:
                tell(line)
            raise Refused(f"{failure}: {str(message['error']).strip()}")
