"""The registry of images and its builds in memory: ECR, CodeBuild and the builds' logs."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

URI = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo-images"
START = datetime(2026, 11, 26, 9, tzinfo=UTC)


def digest_of(tag: str) -> str:
    """The digest that the image with this tag has here."""
    return f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


class FakeRegistry:
    """Images by tag. A build puts its images there when it is looked at for the second time.

    `failing`: the status with which builds for an architecture end, by the architecture.
    """

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.builds: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, str] = {}
        self.started: list[dict[str, str]] = []  # the variables of each build

    def put(self, tag: str, *, digest: str = "", findings: dict[str, int] | None = None) -> str:
        """Push an image; its reference. Each is a minute younger than the one before."""
        details: dict[str, Any] = {
            "imageDigest": digest or digest_of(tag),
            "imageTags": [tag],
            "imagePushedAt": START + timedelta(minutes=len(self.images)),
            "imageSizeInBytes": 120_000_000,
        }
        if findings is not None:
            details["imageScanFindingsSummary"] = {"findingSeverityCounts": findings}
        self.images[tag] = details
        return f"{URI}@{details['imageDigest']}"

    # ECR

    def describe_images(self, **request: Any) -> dict[str, Any]:
        """One image by its tag, or pages of one image each."""
        if "imageIds" in request:
            tag = request["imageIds"][0]["imageTag"]
            if tag not in self.images:
                raise _error("ImageNotFoundException")
            return {"imageDetails": [self.images[tag]]}
        every, at = list(self.images.values()), int(request.get("nextToken", 0))
        page: dict[str, Any] = {"imageDetails": every[at : at + 1]}
        return page | ({"nextToken": str(at + 1)} if at + 1 < len(every) else {})

    def get_authorization_token(self, **_: Any) -> dict[str, Any]:
        token = base64.b64encode(b"AWS:pass:word").decode()
        return {"authorizationData": [{"authorizationToken": token}]}

    # CodeBuild

    def start_build(self, **request: Any) -> dict[str, Any]:
        """A build that has not begun."""
        variables = {
            variable["name"]: variable["value"]
            for variable in request["environmentVariablesOverride"]
        }
        self.started.append(variables | {"PROJECT": request["projectName"]})
        name = f"{request['projectName']}:1"
        self.builds[name] = {"id": name, "buildStatus": "IN_PROGRESS", "variables": variables}
        return {"build": self.builds[name]}

    def batch_get_builds(self, **request: Any) -> dict[str, Any]:
        build = self.builds[request["ids"][0]]
        if "logs" not in build:
            build["logs"] = {"groupName": "/aws/codebuild/demo-image", "streamName": build["id"]}
            return {"builds": [build]}
        architecture = build["id"].rpartition(":")[0].rpartition("-")[2]
        build["buildStatus"] = self.failing.get(architecture, "SUCCEEDED")
        if build["buildStatus"] == "SUCCEEDED":
            for target in build["variables"]["TARGETS"].split():
                self.put(f"{target}-{architecture}-{build['variables']['DIGEST']}")
        return {"builds": [build]}

    # Logs

    def get_log_events(self, **request: Any) -> dict[str, Any]:
        """Two pages of the log, and then its end, as often as it is asked for."""
        runner = "gitlab-runner 17.9.0 for amd64: sha256 0123"
        pages = [["Step 1/2 : FROM base", " ---> 0123"], ["Step 2/2 : RUN true", runner, "the end"]]
        at = int(request.get("nextToken", 0))
        lines = pages[at] if at < len(pages) else []
        return {
            "events": [{"message": f"{line}\n"} for line in lines],
            "nextForwardToken": str(min(at + 1, len(pages))),
        }


def _error(code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}}
    return ClientError(answer, "Call")
