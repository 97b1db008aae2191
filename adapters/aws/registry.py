"""The stack's image repository in ECR, and the builds in CodeBuild that push to it."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from botocore.exceptions import ClientError

from adapters.aws.clients import aws_call


class EcrClient(Protocol):
    """The part of boto3's client that a repository needs."""

    def describe_images(self, **request: Any) -> Any:
        """ECR's DescribeImages."""

    def get_authorization_token(self, **request: Any) -> Any:
        """ECR's GetAuthorizationToken."""


class CodeBuildClient(Protocol):
    """The part of boto3's client that starts and follows builds."""

    def start_build(self, **request: Any) -> Any:
        """CodeBuild's StartBuild."""

    def batch_get_builds(self, **request: Any) -> Any:
        """CodeBuild's BatchGetBuilds."""


class LogsClient(Protocol):
    """The part of boto3's client that reads a stream."""

    def get_log_events(self, **request: Any) -> Any:
        """CloudWatch Logs' GetLogEvents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One image of a repository."""

    reference: str  # by its digest
    tags: tuple[str, ...]
    pushed_at: datetime
    size_bytes: int  # compressed, as it is pulled
    findings: Mapping[str, int] | None = None  # of the scan, by severity; None: not scanned yet


class ImageRepository:
    """Images by their tags. Calls raise `Transient` or `Refused`, nothing else."""

    def __init__(self, client: EcrClient, uri: str) -> None:
        """`uri`: `<registry>/<name>`."""
        self._client = client
        self.uri = uri
        self.registry, _, self._name = uri.partition("/")

    def find(self, tag: str) -> StoredImage | None:
        """The image that has this tag now."""
        ids = [{"imageTag": tag}]
        try:
            with aws_call("ecr.DescribeImages", passing=("ImageNotFoundException",)):
                answer = self._client.describe_images(repositoryName=self._name, imageIds=ids)
        except ClientError:
            return None
        return next(map(self._image, answer["imageDetails"]), None)

    def all(self) -> Iterator[StoredImage]:
        """Every image that has a tag, in no order."""
        request: dict[str, Any] = {"repositoryName": self._name, "filter": {"tagStatus": "TAGGED"}}
        while True:
            with aws_call("ecr.DescribeImages"):
                page = self._client.describe_images(**request)
            yield from map(self._image, page["imageDetails"])
            if "nextToken" not in page:
                return
            request["nextToken"] = page["nextToken"]

    def arn(self) -> str:
        """The repository's own name in policies. Source: ECR's addresses."""
        account, _, _, region, *_ = self.registry.split(".")
        partition = "aws-cn" if self.registry.endswith(".cn") else "aws"
        partition = "aws-us-gov" if region.startswith("us-gov-") else partition
        return f"arn:{partition}:ecr:{region}:{account}:repository/{self._name}"

    def login(self) -> dict[str, str]:
        """User and password for pushing, as the Docker SDK takes them; valid for hours."""
        with aws_call("ecr.GetAuthorizationToken"):
            answer = self._client.get_authorization_token()
        token = answer["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        return {"username": user, "password": password}

    def _image(self, details: Mapping[str, Any]) -> StoredImage:
        summary = details.get("imageScanFindingsSummary")
        return StoredImage(
            reference=f"{self.uri}@{details['imageDigest']}",
            tags=tuple(details.get("imageTags", ())),
            pushed_at=details["imagePushedAt"],
            size_bytes=details["imageSizeInBytes"],
            findings=summary and dict(summary.get("findingSeverityCounts", {})),
        )


@dataclass(slots=True, kw_only=True)
class BuildRun:
    """One run of a CodeBuild project, as it was when it was last looked at."""

    id: str
    status: str = "IN_PROGRESS"
    phase: str = ""
    lines: list[str] = field(default_factory=list)  # of its log, so far
    token: str | None = None  # where its log goes on


class Builder:
    """Starts builds and follows them. Calls raise `Transient` or `Refused`, nothing else."""

    def __init__(self, client: CodeBuildClient, logs: LogsClient) -> None:
        self._client = client
        self._logs = logs

    def start(self, project: str, variables: Mapping[str, str]) -> BuildRun:
        """A new build of the project, with these environment variables."""
        overrides = [
            {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
        ]
        with aws_call("codebuild.StartBuild"):
            answer = self._client.start_build(
                projectName=project, environmentVariablesOverride=overrides
            )
        return BuildRun(id=answer["build"]["id"])

    def look(self, build: BuildRun) -> list[str]:
        """Bring the build up to date; the new lines of its log."""
        with aws_call("codebuild.BatchGetBuilds"):
            (answer,) = self._client.batch_get_builds(ids=[build.id])["builds"]
        build.status = answer["buildStatus"]
        build.phase = answer.get("currentPhase", "")
        logs = answer.get("logs", {})
        if not logs.get("streamName"):
            return []
        new = list(self._log(logs["groupName"], logs["streamName"], build))
        build.lines += new
        return new

    def _log(self, group: str, stream: str, build: BuildRun) -> Iterator[str]:
        """Lines until the end of the log so far, which repeats its own token."""
        while True:
            request = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
            request |= {"nextToken": build.token} if build.token else {}
            try:
                with aws_call("logs.GetLogEvents", passing=("ResourceNotFoundException",)):
                    page = self._logs.get_log_events(**request)
            except ClientError:
                return  # the first line is still to be written
            yield from (event["message"].rstrip("\n") for event in page["events"])
            before, build.token = build.token, page["nextForwardToken"]
            if build.token == before:
                return
