"""Runs of an EC2 Image Builder pipeline, each of which makes one machine image."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.aws.clients import aws_call


class ImageBuilderClient(Protocol):
    """The part of boto3's client that runs pipelines."""

    def start_image_pipeline_execution(self, **request: Any) -> Any:
        """Image Builder's StartImagePipelineExecution."""

    def get_image(self, **request: Any) -> Any:
        """Image Builder's GetImage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeState:
    """How far a run is, in Image Builder's words; `machine_image` at its end."""

    status: str
    reason: str = ""
    machine_image: str | None = None


class Bakery:
    """Starts runs and looks at them. Calls raise `Transient` or `Refused`, nothing else."""

    def __init__(self, client: ImageBuilderClient) -> None:
        self._client = client

    def start(self, pipeline: str, *, token: str) -> str:
        """A new run of the pipeline; its id. The same token starts it once."""
        name = hashlib.sha256(f"{pipeline} {token}".encode()).hexdigest()[:36]
        with aws_call("imagebuilder.StartImagePipelineExecution"):
            answer = self._client.start_image_pipeline_execution(
                imagePipelineArn=pipeline, clientToken=name
            )
        return str(answer["imageBuildVersionArn"])

    def look(self, run: str) -> BakeState:
        """How far it is."""
        with aws_call("imagebuilder.GetImage"):
            image = self._client.get_image(imageBuildVersionArn=run)["image"]
        made = image.get("outputResources", {}).get("amis", [])
        return BakeState(
            status=image["state"]["status"],
            reason=image["state"].get("reason", ""),
            machine_image=made[0]["image"] if made else None,
        )
