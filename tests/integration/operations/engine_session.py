"""Clients of the embedded engine in this process."""

from typing import Any

import boto3

from local.aws.engine import Engine


class EngineSession(boto3.Session):
    """Clients of the engine, as AWS_ENDPOINT_URL would make them."""

    def __init__(self, engine: Engine) -> None:
        keys = engine.environment()
        self.url = keys["AWS_ENDPOINT_URL"]
        super().__init__(
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            region_name=keys["AWS_REGION"],
        )

    def client(self, *args: Any, **options: Any) -> Any:
        """A client at the engine's address."""
        return super().client(*args, endpoint_url=self.url, **options)  # type: ignore[call-overload]
