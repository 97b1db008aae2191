"""Whether the fleet's functions reach GitLab, which may be in a network of its own."""

import json
from collections.abc import Mapping
from typing import Any

from adapters.aws.clients import Clients, aws_call, slow
from adapters.gitlab.reach import GitLabAnswer
from adapters.gitlab.way import Way
from fleet.errors import FleetError, Refused
from operations.stacks import parameters_of

FUNCTION = "reconcile"
NETWORK = "FunctionSubnetIds"


def ask_functions(aws: Clients, stack: str, url: str, way: Way) -> GitLabAnswer:
    """Have a function ask GitLab. Raises `FleetError` where that function cannot be asked."""
    request = {"ask_gitlab": {"url": url, "tls_ca": way.tls_ca, "proxy": way.proxy}}
    functions = aws.timed(slow()).functions  # a start, and a network that swallows what is sent
    with aws_call("lambda.Invoke"):
        answer = functions.invoke(
            FunctionName=f"{stack}-{FUNCTION}", Payload=json.dumps(request).encode()
        )
        body: Mapping[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        return GitLabAnswer(
            answers=False, failure=str(body.get("errorMessage", "the function failed"))
        )
    if "answers" not in body:
        raise Refused("this stack's functions are older than this command: deploy it again")
    return GitLabAnswer(answers=body["answers"] is True, failure=str(body.get("failure", "")))


def check_reach(aws: Clients, stack: str, url: str, way: Way) -> tuple[bool, str]:
    """Whether the functions reach GitLab, and a sentence for people; True where it is not known."""
    try:
        answer = ask_functions(aws, stack, url, way)
    except FleetError as error:
        return True, f"whether the functions reach GitLab is not known: {error}"
    if answer.answers:
        return True, "the functions reach GitLab"
    do = what_to_do(parameters_of(aws, stack))
    return False, f"the functions do not reach GitLab: {answer.failure}; {do}"


def what_to_do(parameters: Mapping[str, str]) -> str:
    """What lets the functions of a stack with these parameters reach GitLab."""
    if parameters.get(NETWORK):
        return (
            f"the subnets of {NETWORK} need a route to GitLab and to AWS's services,"
            " FunctionSecurityGroupIds must let the functions out, and GitLab's firewall in"
        )
    return (
        "the functions come from the internet: let them in, or deploy with --parameter"
        f" {NETWORK}=... and FunctionSecurityGroupIds=... of a network that reaches GitLab"
    )
