"""What the template promises: one role per function, no more rights than needed, nothing public."""

import importlib
import json
import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, get_args

import pytest
from pydantic_settings import BaseSettings

from adapters.aws.settings import OrchestratorSettings
from adapters.machines.ec2 import DISK_KEY
from fleet.config.model import RunnerSize
from infra.package import TEMPLATE
from lambda_runner.handler import RunnerSettings
from tests.unit.infra.documents import (
    as_list,
    machines,
    properties,
    resources,
    statements,
    template,
    user_data,
)
from webhook.app import WebhookSettings

FUNCTIONS = resources("Lambda::Function")
ZIPPED = {name: body for name, body in FUNCTIONS.items() if "Handler" in body["Properties"]}
ROLES = resources("IAM::Role")
SIZES = tuple(size.lower() for size in get_args(RunnerSize))
RUNNERS = ("Runner", "ProtectedRunner")
MACHINES = ("Machine", "ProtectedMachine")
STACK_TAG = {"Key": "runner-fleet:stack", "Value": {"Ref": "AWS::StackName"}}
# AWS gives these no tags, or tags them through the resource they belong to.
UNTAGGED = """
    ApiGatewayV2::Integration ApiGatewayV2::Route EC2::Route EC2::SubnetRouteTableAssociation
    EC2::VPCEndpoint EC2::VPCGatewayAttachment Events::Archive Events::EventBusPolicy
    CloudWatch::Dashboard IAM::InstanceProfile Lambda::Alias Lambda::Version
    IAM::ManagedPolicy IAM::Policy Lambda::EventInvokeConfig Lambda::Permission S3::BucketPolicy
    SQS::QueuePolicy
"""
SETTINGS_OF: dict[str, type[BaseSettings | RunnerSettings]] = {
    "WebhookFunction": WebhookSettings,
    **dict.fromkeys(
        (f"{name}Function" for name in ("Route", "Scale", "Settle", "Reconcile", "Sweep")),
        OrchestratorSettings,
    ),
    **{f"{kind}{size}Function": RunnerSettings for kind in RUNNERS for size in SIZES},
}


def of_type(resource: dict[str, Any]) -> str:
    return str(resource["Type"]).removeprefix("AWS::")


def settings_of(function: str) -> dict[str, bool]:
    """The variables that a function reads, and whether it cannot do without."""
    kind = SETTINGS_OF[function]
    if issubclass(kind, BaseSettings):
        read = {name: field.is_required() for name, field in kind.model_fields.items()}
    else:
        read = {field.name: field.default is MISSING for field in fields(kind)}
    return {f"FLEET_{name.upper()}": is_needed for name, is_needed in read.items()}


def ids(names: Iterable[str]) -> list[str]:
    return sorted(names)


def test_the_contract_of_functions() -> None:
    names = {body["Properties"]["FunctionName"]["Fn::Sub"] for body in FUNCTIONS.values()}
    wanted = ["webhook", "route", "scale", "settle", "reconcile", "sweep"]
    wanted += [f"{kind}-{size}" for kind in ("runner", "runner-protected") for size in SIZES]
    assert names == {f"${{AWS::StackName}}-{name}" for name in wanted}


@pytest.mark.parametrize("name", ids(ZIPPED))
def test_every_handler_is_there(name: str) -> None:
    module, _, function = properties(name)["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name", ids(FUNCTIONS))
def test_every_function_has_its_own_role_and_log_group(name: str) -> None:
    stem = name.removesuffix("Function")
    assert properties(name)["Role"] == {"Fn::GetAtt": f"{stem}Role.Arn"}
    assert properties(name)["LoggingConfig"]["LogGroup"] == {"Ref": f"{stem}Logs"}
    group = properties(f"{stem}Logs")["LogGroupName"]["Fn::Sub"]
    assert group == f"/aws/lambda/{properties(name)['FunctionName']['Fn::Sub']}"
    assert properties(f"{stem}Logs")["RetentionInDays"] == {"Ref": "LogDays"}
    (write,) = [entry for role, entry in allowing("logs:PutLogEvents") if role == f"{stem}Role"]
    assert write["Resource"]["Fn::Sub"].endswith(f":{group}:*")


@pytest.mark.parametrize("name", ids(FUNCTIONS))
def test_a_function_has_the_variables_that_it_reads_and_no_more(name: str) -> None:
    variables, read = set(properties(name)["Environment"]["Variables"]), settings_of(name)
    assert {variable for variable, is_needed in read.items() if is_needed} <= variables
    assert variables - set(read) <= {"FLEET_STACK"}, "for all, read by some"


def allowing(*actions: str) -> list[tuple[str, dict[str, Any]]]:
    """Every role and statement that allows one of these actions."""
    return [
        (role, statement)
        for role in ROLES
        for statement in statements(role)
        if set(actions) & set(as_list(statement["Action"]))
    ]


def allowed_to(role: str) -> set[str]:
    return {action for statement in statements(role) for action in as_list(statement["Action"])}


@pytest.mark.parametrize("name", ids(ROLES))
def test_no_role_may_do_everything(name: str) -> None:
    assert not [action for action in allowed_to(name) if "*" in action]
    for statement in statements(name):
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"


def test_a_wildcard_resource_says_why() -> None:
    lines = TEMPLATE.read_text().splitlines()
    wild = [line.strip() for line in lines if re.search(r'Resource: "?\*"?(\s|$)|- "?\*"?$', line)]
    assert wild
    assert all(re.search(r'"\*"  # \w+', line) for line in wild), wild


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        ("dynamodb:Query", "Route Scale Settle Reconcile Sweep"),
        ("dynamodb:ConditionCheckItem", ""),
        ("sqs:GetQueueAttributes", "Scale Reconcile"),
        ("ec2:DescribeInstances", "Settle Sweep"),
        ("secretsmanager:GetSecretValue", "Webhook Route Scale Settle Reconcile Sweep"),
        ("secretsmanager:PutSecretValue", "Reconcile"),
        ("sqs:ReceiveMessage", "Scale"),
        ("sqs:SendMessage", "Route Settle Reconcile Sweep Expiry"),
        ("ec2:TerminateInstances", "Scale Settle Sweep"),
        ("scheduler:CreateSchedule", "Scale"),
        (
            "lambda:InvokeFunction",
            "Scale Expiry RouteMachine ScaleMachine SettleMachine ReconcileMachine",
        ),
        ("states:StartExecution", "Rules RouteMachine SettleMachine ReconcileMachine"),
    ],
)
def test_a_shared_policy_gives_a_right_to_those_that_need_it(action: str, roles: str) -> None:
    assert {role.removesuffix("Role") for role, _ in allowing(action)} == set(roles.split())


@pytest.mark.parametrize(
    ("role", "source"),
    [
        ("ExpiryRole", ["schedule-group/${ExpiryGroup}"]),
        ("RouteMachineRole", ["stateMachine:${AWS::StackName}-route"]),
        ("ScaleMachineRole", ["stateMachine:${AWS::StackName}-scale"]),
        ("SettleMachineRole", ["stateMachine:${AWS::StackName}-settle"]),
        ("ReconcileMachineRole", ["stateMachine:${AWS::StackName}-reconcile"]),
        ("BuilderRole", ["project/${AWS::StackName}-image-*"]),
        ("RulesRole", ["rule/${AWS::StackName}/*", "rule/${AWS::StackName}-*"]),
    ],
)
def test_a_service_takes_a_role_for_the_fleets_own_resource_only(
    role: str, source: list[str]
) -> None:
    (trust,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    arns = as_list(trust["Condition"]["ArnLike"]["aws:SourceArn"])
    for arn, end in zip(arns, source, strict=True):
        assert arn["Fn::Sub"].endswith(f":${{AWS::Region}}:${{AWS::AccountId}}:{end}")


@pytest.mark.parametrize("action", ["ec2:TerminateInstances", "ec2:CreateTags"])
def test_ec2_rights_end_at_the_stacks_tag(action: str) -> None:
    tags = {"aws:ResourceTag/runner-fleet:stack", "aws:RequestTag/runner-fleet:stack"}
    assert allowing(action)
    for _, statement in allowing(action):
        assert tags & set(statement["Condition"]["StringEquals"]), statement


def test_an_instance_is_launched_only_with_the_stacks_tag() -> None:
    launches = [
        (role, statement)
        for role, statement in allowing("ec2:CreateFleet", "ec2:RunInstances")
        if "instance/*" in json.dumps(statement)
    ]
    assert {role for role, _ in launches} == {"ScaleRole"}
    for _, statement in launches:
        tag = statement["Condition"]["StringEquals"]["aws:RequestTag/runner-fleet:stack"]
        assert tag == {"Ref": "AWS::StackName"}
        if "ec2:RunInstances" in as_list(statement["Action"]):
            sources = statement["Condition"]["ArnEquals"]["ec2:LaunchTemplate"]
            assert [source["Fn::Sub"].rpartition("/")[2] for source in sources] == [
                f"${{{kind}Template}}" for kind in MACHINES
            ]


def test_create_fleet_may_read_the_zones_of_subnets_and_parameters_that_name_images() -> None:
    """What it needs of its caller besides the right to launch."""
    ((_, subnets),) = allowing("ec2:DescribeSubnets")
    assert subnets["Resource"] == "*"
    ((_, parameters),) = allowing("ssm:GetParameters")
    assert parameters["Resource"] == [
        {"Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}:" + owner}
        for owner in ("${AWS::AccountId}:parameter/runner-fleet/*", ":parameter/aws/service/*")
    ]
    assert {action for action in allowed_to("ScaleRole") if action.startswith("ssm:")} == {
        "ssm:GetParameters"
    }


def test_roles_are_passed_to_one_service_each() -> None:
    passed = {
        (role, resource["Fn::GetAtt"]): statement["Condition"]["StringEquals"]
        for role, statement in allowing("iam:PassRole")
        for resource in as_list(statement["Resource"])
    }
    assert passed == {
        **{
            ("ScaleRole", f"{kind}Role.Arn"): {"iam:PassedToService": "ec2.amazonaws.com"}
            for kind in MACHINES
        },
        ("ScaleRole", "ExpiryRole.Arn"): {"iam:PassedToService": "scheduler.amazonaws.com"},
    }


@pytest.mark.parametrize(
    ("role", "operator", "keys", "writes"),
    [
        ("MachineRole", "ForAllValues:StringEquals", ["${aws:userid}"], set()),
        ("ProtectedMachineRole", "ForAllValues:StringEquals", ["${aws:userid}"], set()),
        ("Runner4gbRole", "ForAllValues:StringLike", ["lambda:*"], {"Put"}),
        ("ProtectedRunner4gbRole", "ForAllValues:StringLike", ["lambda:*"], {"Put"}),
    ],
)
def test_a_runner_reaches_its_mailbox_only(
    role: str, operator: str, keys: list[str], writes: set[str]
) -> None:
    (right,) = [
        statement for statement in statements(role) if "dynamodb" in json.dumps(statement["Action"])
    ]
    assert right["Resource"] == {"Fn::GetAtt": "Mailboxes.Arn"}
    assert right["Condition"] == {
        operator: {"dynamodb:LeadingKeys": keys},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }
    # Query, Scan and the batch calls would pass a condition on keys that they do not name.
    actions = {"Delete", "Get", "Update"} | writes
    assert set(right["Action"]) == {f"dynamodb:{action}Item" for action in actions}


@pytest.mark.parametrize("kind", MACHINES)
def test_a_machine_pulls_the_stacks_images_and_has_no_other_right(kind: str) -> None:
    rights = {statement["Sid"]: statement for statement in statements(f"{kind}Role")}
    assert rights.keys() == {"UseOwnMailbox", "LogInToRegistry", "PullOwnImage"}
    assert rights["LogInToRegistry"]["Action"] == "ecr:GetAuthorizationToken"
    pull = rights["PullOwnImage"]
    assert set(pull["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    assert "repository/${AWS::StackName}" in json.dumps(pull["Resource"])


def test_events_are_put_on_the_fleets_bus_and_in_the_callers_own_name() -> None:
    puts = allowing("events:PutEvents")
    assert all(statement["Resource"] == {"Fn::GetAtt": "Bus.Arn"} for _, statement in puts)
    runners = {f"{kind}{size}Role" for kind in RUNNERS for size in SIZES}
    in_own_name = {"StringEquals": {"events:source": "runner-fleet.webhook"}}
    # Lambda checks a destination's right without a source, which no condition on it would meet.
    assert {role: statement.get("Condition") for role, statement in puts} == {
        "WebhookRole": in_own_name,
        **dict.fromkeys(runners),
    }
    refusal = properties("FailuresPolicy")["Statement"]
    assert refusal["Condition"]["ForAnyValue:StringNotEquals"] == {"events:source": ["lambda"]}
    named = json.dumps(refusal["Condition"]["ArnEquals"])
    assert set(re.findall(r"\w*Runner\d\w+Role", named)) == runners


def test_only_scale_gives_keys_of_the_cache_and_only_they_reach_it() -> None:
    reaching = {role for role in ROLES for action in allowed_to(role) if action.startswith("s3:")}
    assert reaching == {"CacheRole", "BuilderRole"}
    (sources,) = [
        statement
        for statement in statements("BuilderRole")
        if statement["Sid"] == "ReadImageSources"
    ]
    assert sources["Resource"]["Fn::Sub"].endswith(":::${CodeBucket}/images/*")
    assert allowed_to("CacheRole") == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    (trusted,) = properties("CacheRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"AWS": {"Fn::GetAtt": "ScaleRole.Arn"}}
    ((role, statement),) = allowing("sts:AssumeRole")
    assert (role, statement["Resource"]) == ("ScaleRole", {"Fn::GetAtt": "CacheRole.Arn"})


@pytest.mark.parametrize("kind", MACHINES)
def test_machines_are_hard_to_misuse(kind: str) -> None:
    data = properties(f"{kind}Template")["LaunchTemplateData"]
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "InstanceMetadataTags": "enabled",
    }
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    (disk,) = (device["Ebs"] for device in data["BlockDeviceMappings"])
    assert (disk["Encrypted"], disk["VolumeType"]) == (True, "gp3")
    assert disk["KmsKeyId"] == DISK_KEY, "one that needs no grants"
    tagged = {specification["ResourceType"] for specification in data["TagSpecifications"]}
    assert tagged == {"instance", "volume", "network-interface"}
    assert "SecurityGroupIngress" not in properties("MachineSecurityGroup")


@pytest.mark.parametrize("kind", MACHINES)
def test_user_data_names_the_stacks_parts_and_no_secret(kind: str) -> None:
    text = user_data(kind, **{f"{kind}Role.RoleId": "AROA1"})
    head, _, rest = text.partition("set -u\n")
    exported = dict(re.findall(r"^export (\w+)=(\S+)$", head, re.MULTILINE))
    assert exported.pop("FLEET_ROLE_ID") == "AROA1"
    assert set(exported.values()) == {'"x"'}
    assert exported.keys() == {
        "AWS_REGION",
        "FLEET_URL_SUFFIX",
        "FLEET_STACK",
        "FLEET_IMAGE_X86_64",
        "FLEET_IMAGE_ARM64",
        "FLEET_MAILBOX_TABLE",
        "FLEET_MAILBOX_KEY",
    }
    assert len(text) < 16_000  # AWS takes 16 KB, and names are longer than `x`
    assert text.startswith("#!/bin/bash\n")
    assert "\r" not in text
    assert rest


@pytest.mark.parametrize("name", ids(template()["Resources"]))
def test_everything_carries_the_stacks_tag(name: str) -> None:
    resource = template()["Resources"][name]
    tags = resource["Properties"].get("Tags")
    if of_type(resource) == "EC2::LaunchTemplate":
        tags = resource["Properties"]["TagSpecifications"][0]["Tags"]
    if of_type(resource) in UNTAGGED.split():
        assert tags is None
    elif isinstance(tags, dict):
        assert tags == {STACK_TAG["Key"]: STACK_TAG["Value"]}
    else:
        assert tags == [STACK_TAG]


@pytest.mark.parametrize("back_end", ["Ec2", "Lambda"])
def test_a_demand_that_is_given_up_rings(back_end: str) -> None:
    demand = properties(f"{back_end}Demand")
    dead = {"Fn::GetAtt": f"{back_end}DeadLetters.Arn"}
    assert demand["RedrivePolicy"]["deadLetterTargetArn"] == dead
    # GitLab keeps a job pending for a day at most; its demand must not be gone before.
    assert demand["MessageRetentionPeriod"] > 24 * 3600
    # Scale looks at the letters each minute: they must not be out of the alarm's sight meanwhile.
    assert properties(f"{back_end}DeadLetters")["VisibilityTimeout"] <= 2
    alarm = properties(f"{back_end}DeadLettersAlarm")
    queue = {"Fn::GetAtt": f"{back_end}DeadLetters.QueueName"}
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": queue}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_every_rule_starts_a_machine_or_keeps_the_event() -> None:
    for name, rule in resources("Events::Rule").items():
        trusted = {"Fn::Sub": f"${{AWS::StackName}}-{name.removesuffix('Rule')}"}
        assert rule["Properties"]["Name"] == trusted, "its role names it so"
        for target in rule["Properties"]["Targets"]:
            assert target["Arn"]["Ref"].endswith("Machine"), name
            assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "EventDeadLetters.Arn"}}


def test_what_a_job_needs_costs_no_standard_transitions_but_scale() -> None:
    kinds = {
        name: body["Properties"]["StateMachineType"]
        for name, body in resources("StepFunctions::StateMachine").items()
    }
    assert {name for name, kind in kinds.items() if kind == "STANDARD"} == {"ScaleMachine"}
    assert len(kinds) == len(machines())


@pytest.mark.parametrize("name", ids(machines()))
def test_a_machine_is_given_every_name_that_it_uses(name: str) -> None:
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(machines()[name])))
    body = properties(f"{name.capitalize()}Machine")
    assert used <= set(body["DefinitionSubstitutions"])
    key = body["DefinitionS3Location"]["Key"]
    assert key == {"Fn::Sub": f"${{MachinesPrefix}}/{name}.asl.json"}
    assert body["LoggingConfiguration"]["IncludeExecutionData"] is False


def test_a_lambda_runner_is_invoked_once() -> None:
    for name in (f"{kind}{size}" for kind in RUNNERS for size in SIZES):
        failure = properties(f"{name}Failure")
        assert failure["MaximumRetryAttempts"] == 0
        # An invocation that finds no room counts against the ceiling for no longer than this.
        assert failure["MaximumEventAgeInSeconds"] <= 90
        assert failure["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": "Bus.Arn"}
        assert properties(f"{name}Function")["Timeout"] == {"Ref": "LambdaTimeout"}
    assert properties("Runner8gbFunction")["EphemeralStorage"] == {"Size": 10240}


@pytest.mark.parametrize("name", ids(resources("StepFunctions::StateMachine")))
def test_a_machine_that_fails_or_runs_out_of_time_rings(name: str) -> None:
    alarms = [
        body["Properties"]
        for body in resources("CloudWatch::Alarm").values()
        if body["Properties"].get("Dimensions")
        == [{"Name": "StateMachineArn", "Value": {"Ref": name}}]
    ]
    metrics = {alarm["MetricName"] for alarm in alarms}
    assert metrics == {"ExecutionsFailed", "ExecutionsTimedOut"}


def test_functions_that_ask_gitlab_join_a_network_where_one_is_given() -> None:
    joining = {}
    for name in ("Webhook", "Route", "Scale", "Settle", "Reconcile", "Sweep"):
        config = properties(f"{name}Function").get("VpcConfig")
        policies = properties(f"{name}Role")["Policies"]
        (condition, policy, _) = next(entry["Fn::If"] for entry in policies if "Fn::If" in entry)
        joining[name] = (config or {}).get("Fn::If", [None])[0]
        assert condition == f"Joins{name}"
        allow, deny = policy["PolicyDocument"]["Statement"]
        assert (allow["Effect"], deny["Effect"]) == ("Allow", "Deny")
        assert set(deny["Action"]) < set(allow["Action"])
    assert joining.pop("Webhook") is None
    assert set(joining.values()) == {"FunctionsInNetwork"}


def test_the_smallest_network_has_room_for_both_subnets() -> None:
    """Two /20 in a /19, which is the smallest that the parameter takes."""
    for subnet in ("SubnetA", "SubnetB"):
        _, cidr = properties(subnet)["CidrBlock"]["Fn::Select"]
        assert cidr["Fn::Cidr"][1:] == [2, 12]


def test_only_the_webhook_is_public() -> None:
    routes = resources("ApiGatewayV2::Route").values()
    assert [route["Properties"]["RouteKey"] for route in routes] == ["POST /webhook"]
    assert not resources("Lambda::Url")
    block = properties("CacheBucket")["PublicAccessBlockConfiguration"]
    assert list(block.values()) == [True] * 4


def test_the_public_door_is_logged_and_no_proof_of_a_delivery_is() -> None:
    settings = properties("ApiStage")["AccessLogSettings"]
    assert settings["DestinationArn"] == {"Fn::GetAtt": "ApiLogs.Arn"}
    assert properties("ApiLogs")["RetentionInDays"] == {"Ref": "LogDays"}
    line = json.loads(settings["Format"])
    assert set(line.values()) == {
        f"$context.{name}"
        for name in (
            "requestTime",
            "identity.sourceIp",
            "status",
            "error.message",
            "requestId",
            "responseLength",
        )
    }


def test_deliveries_reach_a_published_version_of_the_webhook() -> None:
    alias = {"Ref": "WebhookAlias"}
    assert properties("ApiIntegration")["IntegrationUri"] == alias
    assert properties("ApiMayInvokeWebhook")["FunctionName"] == alias
    version = properties("WebhookAlias")["FunctionVersion"]
    assert version == {"Fn::GetAtt": "WebhookVersion.Version"}


def test_a_new_version_of_the_webhook_is_published_when_its_function_changes_and_only_then() -> (
    None
):
    """Lambda refuses to publish a function that is as it was, and keeps the old one otherwise."""
    text = json.dumps(properties("WebhookFunction"))
    named = set(re.findall(r'"Ref": "(\w+)"|\$\{(\w+)\}', text))
    changing = {name for pair in named for name in pair} & set(template()["Parameters"])
    assert template()["Conditions"]["SnapStartsWebhook"] == {
        "Fn::Equals": [{"Ref": "WebhookSnapStart"}, "true"]
    }
    changing |= {"WebhookSnapStart"}
    written = properties("WebhookVersion")["Description"]["Fn::Sub"]
    # The same code may lie in another bucket.
    assert set(re.findall(r"\$\{(\w+)\}", written)) == changing - {"CodeBucket"}
    longest = {"Version": 22, "CodeKey": 34, "CacheTtl": 8, "WebhookSnapStart": 5}
    longest["AllowedSources"] = template()["Parameters"]["AllowedSources"]["MaxLength"]
    assert sum(longest[name] for name in changing - {"CodeBucket"}) + written.count(" ") <= 256


@pytest.mark.parametrize("name", ids(set(resources("SQS::Queue")) - set(resources("SQS::QueueP"))))
def test_only_the_fleet_sends_to_a_queue_and_by_tls(name: str) -> None:
    allowed = {
        role.removesuffix("Role")
        for role, statement in allowing("sqs:SendMessage")
        if {"Fn::GetAtt": f"{name}.Arn"} in as_list(statement["Resource"])
    }
    stated = properties(f"{name}Policy")["PolicyDocument"]["Statement"]
    only, tls = [statement for statement in stated if statement["Effect"] == "Deny"]
    others = only["Condition"].get("ArnNotEquals", {}).get("aws:PrincipalArn", [])
    assert {role["Fn::GetAtt"].removesuffix("Role.Arn") for role in others} == allowed
    assert (only["Principal"], only["Action"]) == ("*", "sqs:SendMessage")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_cache_is_reached_by_its_role_and_by_tls_only() -> None:
    only, tls = properties("CacheBucketPolicy")["PolicyDocument"]["Statement"]
    for statement in (only, tls):
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert only["Condition"]["ArnNotEquals"] == {
        "aws:PrincipalArn": {"Fn::GetAtt": "CacheRole.Arn"}
    }
    assert {role for role, _ in allowing("s3:PutObject")} == {"CacheRole"}
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("parameter", ["Ec2Image", "Ec2ImageArm64", "LambdaImage"])
@pytest.mark.parametrize(
    ("image", "is_taken"),
    [
        ("", True),
        (f"1.dkr.ecr.eu-west-1.amazonaws.com/r@sha256:{'a' * 64}", True),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/r:latest", False),
        (f"r@sha256:{'a' * 63}", False),
        (f"$(r)@sha256:{'a' * 64}", False),
    ],
)
def test_an_image_is_named_by_its_digest(parameter: str, image: str, is_taken: bool) -> None:
    pattern = template()["Parameters"][parameter]["AllowedPattern"]
    assert bool(re.search(pattern, image)) is is_taken


def test_a_fleet_without_lambda_runners_has_none_of_their_parts() -> None:
    conditions = {
        name: body.get("Condition")
        for name, body in template()["Resources"].items()
        if name.startswith(RUNNERS) and of_type(body) != "Events::Rule"
    }
    assert conditions.pop("RunnerFunctionPolicy") == "MakeLambdaRunners"
    assert len(conditions) == len(RUNNERS) * len(SIZES) * 4
    for name, condition in conditions.items():
        size = re.sub("^(Protected)?Runner", "", name)[:3]
        assert condition == f"Make{size}Runners", name


@pytest.mark.parametrize(
    ("largest", "made"),
    [("2gb", {"2gb"}), ("4gb", {"2gb", "4gb"}), ("8gb", {"2gb", "4gb", "8gb"})],
)
def test_an_account_with_small_functions_only_makes_no_larger_runners(
    largest: str, made: set[str]
) -> None:
    conditions = template()["Conditions"]

    def holds(rule: dict[str, Any]) -> bool:
        ((kind, value),) = rule.items()
        if kind == "Fn::And":
            return all(map(holds, value))
        if kind == "Fn::Not":
            return not holds(value[0])
        if kind == "Fn::Equals":
            parameters = {"LargestRunner": largest, "LambdaImage": "some/image@sha256:1"}
            return bool(parameters[value[0]["Ref"]] == value[1])
        return holds(conditions[value])

    assert {size for size in SIZES if holds(conditions[f"Make{size}Runners"])} == made


@pytest.mark.parametrize("function", ["Route", "Scale", "Settle", "Reconcile", "Sweep"])
def test_only_route_is_limited(function: str) -> None:
    """`RouteConcurrency` says so; a loop makes them all."""
    reserved = properties(f"{function}Function")["ReservedConcurrentExecutions"]["Fn::If"]
    assert reserved == [f"Limit{function}", {"Ref": "RouteConcurrency"}, {"Ref": "AWS::NoValue"}]
    of_this, is_given = template()["Conditions"][f"Limit{function}"]["Fn::And"]
    assert of_this == {"Fn::Equals": [function, "Route"]}
    assert is_given == {"Fn::Not": [{"Fn::Equals": [{"Ref": "RouteConcurrency"}, ""]}]}
