"""One stack in memory, for what `deploy` tells of it."""

from types import SimpleNamespace
from typing import Any, cast

from adapters.aws import Clients


class FakeAws:
    """A stack with these parameters; `updated` has those of the last update."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self._parameters = parameters
        self.updated: list[dict[str, Any]] = []

    def clients(self) -> Clients:
        """What `deploy` works with."""
        s3 = SimpleNamespace(
            meta=SimpleNamespace(endpoint_url="https://s3.example.com"),
            head_object=lambda **_: {},
        )
        return cast("Clients", SimpleNamespace(s3=s3, cloudformation=self))

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        """The stack."""
        told = [
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in self._parameters.items()
        ]
        return {"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "Parameters": told}]}

    def update_stack(self, **told: Any) -> None:
        """Remember what was told."""
        self.updated = told["Parameters"]

    def get_waiter(self, name: str) -> Any:
        """A waiter that is through at once."""
        return SimpleNamespace(wait=lambda **_: None)
