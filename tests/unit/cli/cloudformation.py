"""AWS in memory as `deploy` and the finding of a stack meet it: a stack, its bucket and queues."""

import json
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

from botocore.exceptions import ClientError, WaiterError

from adapters.aws.clients import Clients
from tests.unit.cli.registry import URI, FakeRegistry

REGION = "eu-central-1"


def refusal(code: str, words: str = "no") -> ClientError:
    """An answer of AWS that is an error."""
    answer: Any = {"Error": {"Code": code, "Message": words}}
    return ClientError(answer, "Call")


class FakeAws:
    """One stack with these parameters, or none; `calls` says what was done, in order.

    `failing` has what a call raises, by its name.
    """

    def __init__(self, parameters: dict[str, str] | None = None, *, region: str = REGION) -> None:
        self.stack: dict[str, Any] | None = None
        if parameters is not None:
            self.stack = {
                "StackStatus": "UPDATE_COMPLETE",
                "Parameters": _as_parameters(parameters),
            }
        self.outputs = {
            "WebhookUrl": "https://hook.example.com/webhook",
            "ImageRepository": URI,
        }
        self.registry = FakeRegistry()
        self.objects: dict[tuple[str, str], bytes] = {}
        self.buckets: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, str]] = []
        self.failing: dict[str, Exception] = {}
        self.calls: list[str] = []
        self.request: dict[str, Any] = {}
        self.described: list[str] = []  # names of stacks
        self.named = {
            "/runner-fleet/image": "ami-0a1b2c3d",
            "/runner-fleet/text": "hello",
        }  # parameters of SSM
        self.digests = {f"sha256:{'0123' * 16}"}
        self.paces: list[dict[str, Any]] = []
        self.executions, self.unreserved = 1000, 1000  # of Lambda functions, at once
        self.answer: dict[str, Any] = {
            "answers": True,
            "failure": "",
        }  # of the function that is asked
        self.invoked: list[tuple[str, Any]] = []
        self.meta = SimpleNamespace(
            region_name=region, endpoint_url=f"https://s3.{region}.example.com"
        )

    @property
    def updated(self) -> list[dict[str, Any]]:
        """The parameters of the last request."""
        return list(self.request["Parameters"])

    def clients(self) -> Clients:
        sts = SimpleNamespace(get_caller_identity=lambda: {"Account": "123456789012"})
        names = ("s3", "cloudformation", "sqs", "dynamodb", "secrets", "ssm", "ecr", "functions")
        ours: dict[str, Any] = dict.fromkeys(names, self)
        ours |= dict.fromkeys(("codebuild", "logs"), self.registry)
        ours["timed"] = lambda _: SimpleNamespace(functions=self)
        return cast("Clients", SimpleNamespace(sts=sts, **ours))

    def invoke(self, **request: Any) -> dict[str, Any]:
        """A function that answers; one that fails has an `errorMessage`."""
        self._may_fail("invoke")
        self.invoked.append((request["FunctionName"], json.loads(request["Payload"])))
        error = {"FunctionError": "Unhandled"} if "errorMessage" in self.answer else {}
        return {"Payload": BytesIO(json.dumps(self.answer).encode()), **error}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]

    def _may_fail(self, name: str) -> None:
        if name in self.failing:
            raise self.failing[name]

    # CloudFormation

    def describe_stacks(self, **request: str) -> dict[str, Any]:
        self.described.append(request["StackName"])
        if "describe_stacks" in self.failing:
            raise self.failing["describe_stacks"]
        if self.stack is None:
            raise refusal("ValidationError", "Stack with this id does not exist")
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return {"Stacks": [{**self.stack, "Outputs": outputs}]}

    def create_stack(self, **request: Any) -> None:
        self._called("create_stack")
        self.request = request
        self.stack = {"StackStatus": "CREATE_COMPLETE", "Parameters": request["Parameters"]}

    def update_stack(self, **request: Any) -> None:
        self._called("update_stack")
        self.request = request

    def get_waiter(self, name: str) -> Any:
        """A waiter that is through at once."""

        def wait(**request: Any) -> None:
            self.paces.append(request["WaiterConfig"])
            self._called(name)

        return SimpleNamespace(wait=wait)

    def describe_stack_events(self, **_: str) -> dict[str, Any]:
        return {"StackEvents": self.events}

    # Images

    def get_parameter(self, **request: str) -> dict[str, Any]:
        """A parameter that names a machine image."""
        self._may_fail("get_parameter")
        if request["Name"] not in self.named:
            raise refusal("ParameterNotFound")
        return {"Parameter": {"Value": self.named[request["Name"]]}}

    def describe_images(self, **request: Any) -> dict[str, Any]:
        """An image of ECR's, by its digest; by tags those of the stack's own registry."""
        if "imageDigest" not in request.get("imageIds", [{}])[0]:
            return self.registry.describe_images(**request)
        self._may_fail("describe_images")
        if request["imageIds"][0]["imageDigest"] not in self.digests:
            raise refusal("ImageNotFoundException")
        return {}

    def get_authorization_token(self, **_: Any) -> dict[str, Any]:
        return self.registry.get_authorization_token()

    # Lambda

    def get_account_settings(self) -> dict[str, Any]:
        self._may_fail("get_account_settings")
        limit = {
            "ConcurrentExecutions": self.executions,
            "UnreservedConcurrentExecutions": self.unreserved,
        }
        return {"AccountLimit": limit}

    # SQS

    def get_queue_attributes(self, **request: Any) -> dict[str, Any]:
        """How long a queue is: as long as its address."""
        names = request["AttributeNames"]
        return {"Attributes": dict.fromkeys(names, "0") | {names[0]: str(len(request["QueueUrl"]))}}

    # S3

    def create_bucket(self, **request: Any) -> None:
        self._called("create_bucket")
        self.buckets[request.pop("Bucket")] = request

    def head_object(self, **request: str) -> None:
        if (request["Bucket"], request["Key"]) not in self.objects:
            raise refusal("404")

    def put_object(self, **request: Any) -> None:
        self._called("put_object")
        self.objects[request["Bucket"], request["Key"]] = request["Body"]


def waited_in_vain() -> WaiterError:
    """What a waiter raises when the stack rolled back."""
    return WaiterError(name="stack", reason="terminal failure", last_response={})


def _as_parameters(parameters: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
