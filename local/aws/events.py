"""The events and answers of AWS that MiniStack 1.5.33 lacks and the fleet needs.

State changes of EC2 instances, their user data and image and where a fleet launched them, what a
function's handler raised, failed asynchronous invocations on an event bus, AWS's names for a
throttled invocation and for an execution that exists already, retries that do not all come at
once, and an address of an HTTP API that can be posted to.
The account's root, which stands for the cloud itself here, may also put events whose source is
`aws.*`: so a spot notice is injected.
"""

import itertools
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import (
    apigateway,
    ec2,
    eventbridge,
    lambda_svc,
    scheduler,
    stepfunctions,
)
from ministack.services.cloudformation import provisioners

_RAISED = "fleet:raised"
_HIDDEN_ERROR = '{"status": "error", "error": str(e), "trace": traceback.format_exc()}'
_REPORTED_ERROR = """{"status": "ok", "result": {"fleet:raised": {
    "errorType": type(e).__name__, "errorMessage": str(e), "stackTrace": traceback.format_exc()
}}}"""
_STATES = {
    "TerminateInstances": ("shutting-down", "terminated"),
    "StopInstances": ("stopping", "stopped"),
}


def install() -> None:
    """Patch the engine of this process; call once, before it serves."""
    eventbridge._put_events = _with_aws_sources(eventbridge._put_events)
    lambda_svc._route_async_failure = _with_buses(lambda_svc._route_async_failure)
    for action, states in _STATES.items():
        ec2._ACTION_MAP[action] = _with_state_changes(ec2._ACTION_MAP[action], states)
    lambda_runtime._PYTHON_WORKER_SCRIPT = _reporting_exceptions(
        lambda_runtime._PYTHON_WORKER_SCRIPT
    )
    lambda_svc._execute_function_warm = _with_error_names(lambda_svc._execute_function_warm)
    lambda_svc._throttle_response = _with_error_type(lambda_svc._throttle_response)
    stepfunctions._find_matching_retrier = _with_jitter(stepfunctions._find_matching_retrier)
    describe = ec2._ACTION_MAP["DescribeInstanceAttribute"]
    ec2._ACTION_MAP["DescribeInstanceAttribute"] = _with_user_data(describe)
    ec2._ACTION_MAP["CreateFleet"] = _with_images(ec2._ACTION_MAP["CreateFleet"])
    ec2._fleet_instances_xml = _with_overrides(ec2._fleet_instances_xml)
    stepfunctions._invoke_nested_start_execution = _with_aws_error_name(
        stepfunctions._invoke_nested_start_execution
    )
    apis = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    apis["create"] = _with_local_address(apis["create"])
    tick_s = float(os.environ.get("FLEET_ENGINE_TICK_S", "1"))
    eventbridge._SCHEDULER_TICK_INTERVAL = scheduler._SCHEDULE_TICK_INTERVAL = tick_s


def _with_aws_error_name(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_execution(resource: str, request: dict[str, Any]) -> Any:
        try:
            return start(resource, request)
        except stepfunctions._ExecutionError as refused:
            name = f"StepFunctions.{refused.error}Exception"
            raise stepfunctions._ExecutionError(name, refused.cause) from refused

    return start_execution


def _with_local_address(create: Callable[..., Any]) -> Callable[..., Any]:
    """The API's own name resolves nowhere; the engine serves it at a path as well."""

    def create_api(*wanted: Any) -> tuple[str, dict[str, Any]]:
        api_id, outputs = create(*wanted)
        host, port = os.environ["BIND_HOST"], os.environ["GATEWAY_PORT"]
        address = f"http://{host}:{port}/_aws/execute-api/{api_id}/$default"
        apigateway._apis[api_id]["apiEndpoint"] = address
        return api_id, {**outputs, "ApiEndpoint": address}

    return create_api


def _with_aws_sources(put: Callable[..., Any]) -> Callable[..., Any]:
    def put_events(data: dict[str, Any], allow_aws_source: bool = False) -> Any:
        is_root = iam_evaluator.caller_arn().endswith(":root")
        return put(data, allow_aws_source=allow_aws_source or is_root)

    return put_events


def _reporting_exceptions(worker: str) -> str:
    """The program that runs handlers, changed: an exception keeps its name and ends no process."""
    if worker.count(_HIDDEN_ERROR) != 1:
        raise RuntimeError("this MiniStack runs Python handlers in another way")
    return worker.replace(_HIDDEN_ERROR, _REPORTED_ERROR)


def _with_error_names(execute: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Report what a handler raised by its class name, which state machines match."""

    def executed(*args: Any, **named: Any) -> dict[str, Any]:
        result = execute(*args, **named)
        body = result.get("body")
        if not isinstance(body, dict) or _RAISED not in body:
            return result
        raised = body[_RAISED]
        log = "\n".join(filter(None, [result.get("log"), raised["stackTrace"]]))
        lines = raised["stackTrace"].splitlines()
        return {"body": {**raised, "stackTrace": lines}, "error": True, "log": log}

    return executed


def _with_error_type(throttle: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Give a throttled invocation the name that state machines know it by."""

    def throttled(*args: Any, **named: Any) -> dict[str, Any]:
        answer = throttle(*args, **named)
        return {
            **answer,
            "body": {**answer["body"], "errorType": "Lambda.TooManyRequestsException"},
        }

    return throttled


def _with_jitter(find: Callable[..., Any]) -> Callable[..., Any]:
    """Let a retry wait as its JitterStrategy and MaxDelaySeconds say."""

    def with_jitter(retriers: Any, error: str, counts: dict[int, int]) -> Any:
        rule, index = find(retriers, error, counts)
        if rule is None:
            return rule, index
        delay = rule.get("IntervalSeconds", 1) * rule.get("BackoffRate", 2) ** counts.get(index, 0)
        delay = min(delay, rule.get("MaxDelaySeconds", delay))
        if rule.get("JitterStrategy") == "FULL":
            delay *= random.random()  # noqa: S311  nothing secret about a pause
        return {**rule, "IntervalSeconds": delay, "BackoffRate": 1}, index

    return with_jitter


def _with_buses(route: Callable[..., None]) -> Callable[..., None]:
    """Send what became of a failed asynchronous invocation to an event bus, as Lambda does."""

    def route_async_failure(target: str, function: str, event: Any, result: dict[str, Any]) -> None:
        if ":event-bus/" not in target:
            route(target, function, event, result)
            return
        body = result.get("body")
        arn = lambda_svc._functions.get(function, {}).get("config", {}).get("FunctionArn", "")
        detail = {
            "version": "1.0",
            "requestContext": {
                "functionArn": f"{arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 1,
            },
            "requestPayload": event,
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": body if isinstance(body, dict) else {},
        }
        _emit(
            "lambda", "Lambda Function Invocation Result - Failure", detail, bus=target, about=arn
        )

    return route_async_failure


def _with_state_changes(
    act: Callable[[dict[str, Any]], Any], states: tuple[str, ...]
) -> Callable[[dict[str, Any]], Any]:
    """Say on the default bus which instances a request stopped or terminated."""

    def acted(params: dict[str, Any]) -> Any:
        named = ec2._parse_member_list(params, "InstanceId")
        known = {i: (ec2._instances.get(i) or {}).get("State", {}).get("Name") for i in named}
        response = act(params)
        if response[0] == 200:
            for instance in (i for i, state in known.items() if state not in states):
                arn = f"arn:aws:ec2:{ec2.get_region()}:{ec2.get_account_id()}:instance/{instance}"
                for state in states:
                    detail = {"instance-id": instance, "state": state}
                    kind = "EC2 Instance State-change Notification"
                    _emit("aws.ec2", kind, detail, bus="default", about=arn)
        return response

    return acted


def _with_user_data(
    describe: Callable[[dict[str, Any]], Any],
) -> Callable[[dict[str, Any]], Any]:
    """Answer with the user data that the instance was launched with."""

    def described(params: dict[str, Any]) -> Any:
        status, headers, body = describe(params)
        instance = ec2._instances.get(ec2._p(params, "InstanceId")) or {}
        value = f"<userData><value>{instance.get('UserData', '')}</value></userData>".encode()
        return status, headers, body.replace(b"<userData/>", value)

    return described


def _with_images(create: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Launch each machine of a fleet from the image of its override."""

    def created(params: dict[str, Any]) -> Any:
        known = set(ec2._instances)
        answer = create(params)
        images = dict(_images(params))
        for instance_id in set(ec2._instances) - known:
            instance = ec2._instances[instance_id]
            pool = (instance["InstanceType"], instance["SubnetId"])
            instance["ImageId"] = images.get(pool) or instance["ImageId"]
        return answer

    return created


def _images(params: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """The image of each override of the first launch template, by instance type and subnet."""
    for number in itertools.count(1):
        override = f"LaunchTemplateConfigs.1.Overrides.{number}"
        pool = (
            ec2._p(params, f"{override}.InstanceType"),
            ec2._p(params, f"{override}.SubnetId"),
        )
        if not any(pool):
            return
        yield pool, ec2._p(params, f"{override}.ImageId")


def _with_overrides(
    render: Callable[[list[dict[str, Any]]], str],
) -> Callable[[list[dict[str, Any]]], str]:
    """Add the override of CreateFleet to each group of instances.

    Source: Amazon EC2 API Reference, CreateFleetInstance.
    """
    end = "</launchTemplateSpecification>"

    def rendered(groups: list[dict[str, Any]]) -> str:
        return "".join(
            render([group]).replace(end, f"{end}<overrides>{_override(group)}</overrides>")
            for group in groups
        )

    return rendered


def _override(group: dict[str, Any]) -> str:
    """One launch gives all machines of a group, so they lie in one subnet."""
    instance = ec2._instances.get(group["InstanceIds"][0]) or {}
    return (
        f"<instanceType>{group['InstanceType']}</instanceType>"
        f"<subnetId>{instance.get('SubnetId', '')}</subnetId>"
    )


def _emit(source: str, kind: str, detail: dict[str, Any], *, bus: str, about: str) -> None:
    entry = {
        "Source": source,
        "DetailType": kind,
        "Detail": json.dumps(detail),
        "EventBusName": bus,
        "Resources": [about],
    }
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
