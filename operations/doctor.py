"""Examines a fleet from the account to the webhook: each check says what to do where it fails."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import ClientError

from adapters.aws.clients import Clients, aws_call
from adapters.aws.secrets import pool_secret
from adapters.gitlab.client import GitLab
from adapters.gitlab.hooks import hook_fault, hook_health
from adapters.gitlab.way import Way
from fleet.config.problems import FileProblem
from fleet.config.reading import ConfigError, FleetConfig, read_config
from fleet.errors import FleetError
from fleet.job_event import instance_of
from fleet.rules.hook_health import decide_hook
from fleet.rules.problems.kinds import OF_THE_FLEET
from fleet.rules.quotas import AT_ONCE, ON_DEMAND, SPOT, AccountQuotas, shortages
from infra.package import sources_version
from operations.account import Caller, caller, quotas_of
from operations.clock import now
from operations.deploy_check import image_fault
from operations.fleet_handle import Deployed, find, read_applied, way_of
from operations.gitlab_reach import FUNCTION, ask_functions, what_to_do
from operations.stacks import find_stack
from operations.status import gather
from operations.token_check import check_token

Result = Literal["ok", "warning", "failure"]
# A tick is once a minute; a deployment or a throttle may cost some.
TICK_WITHIN = timedelta(minutes=5)
COMPLETE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check: its subject, how it ended, what it found, and what to do about it."""

    subject: str
    result: Result
    finding: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The fleet to examine."""

    aws: Clients
    stack: str
    file: Path | None = None  # the fleet.toml here, if there is one
    find: Callable[[str, Clients], Deployed] = field(default=find)
    clock: Callable[[], datetime] = now


def examine(patient: Patient) -> Iterator[Checked]:
    """Every check, in the order in which they depend on each other.

    A part that cannot be looked at is a failure of its own, and the next part goes on.
    """
    account_checks = list(_guarded("AWS account", lambda: _account(patient)))
    yield from account_checks
    if account_checks[-1].result == "failure":
        return
    stack = _Stack.read(patient)
    yield from _guarded("stack", lambda: _stack(patient, stack))
    if stack is None or not stack.outputs:
        return
    deployed: list[Deployed] = []

    def reach() -> Iterator[Checked]:
        deployed.append(patient.find(patient.stack, patient.aws))
        yield _ok("stack's outputs", "all that the commands need")

    yield from _guarded("stack's outputs", reach)
    yield from _guarded("network", lambda: _network(patient, stack))
    yield from _guarded("tick", lambda: _tick(patient))
    yield from _guarded("launches", lambda: _launches(patient))
    yield from _guarded("alarms", lambda: _alarms(patient, stack))
    if deployed:
        yield from _of_the_fleet(patient, stack, deployed[0])


def _of_the_fleet(patient: Patient, stack: "_Stack", deployed: Deployed) -> Iterator[Checked]:
    stored = deployed.fleet.config()
    if stored is None:
        yield _failed("fleet.toml", "nothing is applied yet", "run `runner-fleet apply`")
        return
    try:
        config = read_applied(stored)
    except ConfigError as error:
        first = error.problems[0]
        yield _failed(_line_of(first), first.sentence, "correct it, then run `runner-fleet apply`")
        return
    yield from _file(patient, config)
    yield from _safety(config)
    way = way_of(stored)
    parts = {
        "quotas": lambda: _quotas(patient, config),
        "images": lambda: _images(patient, stack, config),
        "functions": lambda: _functions(patient, stack, config, way),
    }
    for subject, look in parts.items():
        yield from _guarded(subject, look)
    token = deployed.stored_token()
    if token is None:
        todo = "run `runner-fleet token set`"
        yield _failed("GitLab token", "the stack has none", todo)
        return
    gitlab = deployed.connect(config.gitlab.url, token, way)
    reached = list(_guarded("GitLab", lambda: _gitlab(config, gitlab)))
    yield from reached
    if reached[-1].result != "failure":
        yield from _guarded("GitLab token", lambda: _token(config, gitlab, patient.clock()))
        yield from _guarded("runner records", lambda: _records(deployed, config, gitlab))
        yield from _guarded("webhook", lambda: _webhooks(deployed, config, gitlab, stack))
    yield from _guarded("fleet's state", lambda: _problems(deployed))


# The account and the stack


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    resolved: Mapping[str, str]  # of parameters that name one of SSM

    @classmethod
    def read(cls, patient: Patient) -> "_Stack | None":
        """The stack; None when there is none, or when AWS may not be asked."""
        try:
            stack = find_stack(patient.aws, patient.stack)
        except FleetError:
            return None
        if stack is None:
            return None
        parameters: Sequence[Any] = stack.get("Parameters", [])
        return cls(
            status=stack["StackStatus"],
            outputs={
                output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])
            },
            parameters={
                parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in parameters
            },
            resolved={
                parameter["ParameterKey"]: parameter["ResolvedValue"]
                for parameter in parameters
                if parameter.get("ResolvedValue")
            },
        )


def _account(patient: Patient) -> Iterator[Checked]:
    identity: Caller = caller(patient.aws)
    yield _ok("AWS account", f"{identity.account}, as {identity.arn or 'its root'}")
    yield _ok("AWS region", identity.region)


def _stack(patient: Patient, stack: _Stack | None) -> Iterator[Checked]:
    if stack is None:
        finding = f"there is no stack {patient.stack} in this region"
        yield _failed("stack", finding, "run `runner-fleet deploy`, or give --stack or --region")
        return
    if stack.status in COMPLETE:
        yield _ok("stack", f"{patient.stack} is {stack.status}")
    elif stack.status.endswith("_IN_PROGRESS"):
        yield _warned("stack", f"{stack.status}", "wait until it is done")
    else:
        todo = "its events in CloudFormation say why; then run `runner-fleet deploy`"
        yield _failed("stack", f"{stack.status}", todo)
    local, deployed = sources_version(), stack.outputs.get("Version", "")
    if local == deployed:
        yield _ok("version", local)
    else:
        finding = f"the stack has {deployed or 'an older one'}, this command is {local}"
        yield _warned("version", finding, "run `runner-fleet deploy`")
    bucket = stack.parameters.get("CodeBucket", "")
    try:
        with aws_call("s3.HeadBucket", passing=("404", "NoSuchBucket", "NotFound")):
            patient.aws.s3.head_bucket(Bucket=bucket)
        yield _ok("code bucket", bucket)
    except ClientError:
        yield _failed("code bucket", f"{bucket} is gone", "run `runner-fleet deploy`")


def _network(patient: Patient, stack: _Stack) -> Iterator[Checked]:
    names = [subnet for subnet in stack.outputs.get("Subnets", "").split(",") if subnet]
    try:
        with aws_call("ec2.DescribeSubnets", passing=("InvalidSubnetID.NotFound",)):
            subnets = patient.aws.ec2.describe_subnets(SubnetIds=names)["Subnets"]
    except ClientError:
        todo = "deploy with subnets that are there: --parameter SubnetIds=..."
        yield _failed("network", f"a subnet of {', '.join(names)} is gone", todo)
        return
    zones = {subnet["AvailabilityZone"] for subnet in subnets}
    free = sum(subnet.get("AvailableIpAddressCount", 0) for subnet in subnets)
    if len(zones) < 2:
        finding = f"all subnets are in {', '.join(zones)}: spot machines run out sooner"
        yield _warned("network", finding, "give a subnet in another zone as well")
    else:
        yield _ok("network", f"{len(subnets)} subnets in {len(zones)} zones, {free} free addresses")
    blind = [subnet["SubnetId"] for subnet in subnets if not _leads_out(patient, subnet)]
    if blind:
        todo = "route 0.0.0.0/0 to an internet or NAT gateway: machines must reach GitLab"
        yield _failed("way out", f"{', '.join(blind)} has no default route", todo)
    else:
        yield _ok("way out", "every subnet has a default route")


def _leads_out(patient: Patient, subnet: Any) -> bool:
    """Whether the subnet's own route table, else its network's main one, has a default route."""
    by_subnet = {"Name": "association.subnet-id", "Values": [subnet["SubnetId"]]}
    by_network = {"Name": "vpc-id", "Values": [subnet["VpcId"]]}
    main = {"Name": "association.main", "Values": ["true"]}
    filters: Any
    for filters in ([by_subnet], [by_network, main]):
        with aws_call("ec2.DescribeRouteTables"):
            tables = patient.aws.ec2.describe_route_tables(Filters=filters)["RouteTables"]
        if tables:
            routes = [route for table in tables for route in table["Routes"]]
            return any(route.get("DestinationCidrBlock") == "0.0.0.0/0" for route in routes)
    return False


def _tick(patient: Patient) -> Iterator[Checked]:
    rule = f"{patient.stack}-EveryMinute"
    with aws_call("events.DescribeRule"):
        state = patient.aws.events.describe_rule(Name=rule)["State"]
    if state != "ENABLED":
        todo = f"aws events enable-rule --name {rule}"
        yield _failed("tick", "the rule that calls the fleet each minute is disabled", todo)
        return
    since = patient.clock() - TICK_WITHIN
    group = f"/aws/lambda/{patient.stack}-reconcile"
    with aws_call("logs.FilterLogEvents"):
        logged = patient.aws.logs.filter_log_events(
            logGroupName=group, startTime=int(since.timestamp() * 1000), limit=1
        )
    minutes = int(TICK_WITHIN.total_seconds() // 60)
    if logged.get("events"):
        yield _ok("tick", f"reconcile ran within {minutes} minutes")
    else:
        todo = f"see the state machine {patient.stack}-reconcile and the log group {group}"
        yield _warned("tick", f"reconcile wrote nothing for {minutes} minutes", todo)


def _launches(patient: Patient) -> Iterator[Checked]:
    name = f"{patient.stack}-scale"
    with aws_call("lambda.GetFunctionConcurrency"):
        answer = patient.aws.functions.get_function_concurrency(FunctionName=name)
    if answer.get("ReservedConcurrentExecutions") == 0:
        todo = f"aws lambda delete-function-concurrency --function-name {name}"
        yield _failed("launches", "stopped: scale may not run", todo)
    else:
        yield _ok("launches", "scale may run")


def _alarms(patient: Patient, stack: _Stack) -> Iterator[Checked]:
    topic = stack.parameters.get("AlarmTopicArn", "")
    if topic:
        try:
            with aws_call("sns.GetTopicAttributes", passing=("NotFound", "NotFoundException")):
                answer = patient.aws.sns.get_topic_attributes(TopicArn=topic)["Attributes"]
        except ClientError:
            todo = "make it, or deploy with another --parameter AlarmTopicArn=..."
            yield _failed("alarms' topic", f"{topic} is not there", todo)
            return
        if int(answer.get("SubscriptionsConfirmed", 0)):
            yield _ok("alarms' topic", topic)
        else:
            todo = "subscribe to it, and confirm what AWS sends"
            yield _warned("alarms' topic", f"{topic} has no confirmed subscription", todo)
    else:
        todo = "deploy with --parameter AlarmTopicArn=arn:aws:sns:..."
        yield _warned("alarms' topic", "none: the alarms are sent to no person", todo)


# Pools, quotas, images


def _file(patient: Patient, applied: FleetConfig) -> Iterator[Checked]:
    yield _ok("fleet.toml", f"version {applied.version} is in force")
    if patient.file is None or not patient.file.exists():
        return
    try:
        local = read_config(patient.file.read_text(), name=patient.file.name)
    except (ConfigError, ValueError):
        todo = "run `runner-fleet validate`"
        yield _failed("fleet.toml here", f"{patient.file} is not valid", todo)
        return
    if local.version == applied.version:
        yield _ok("fleet.toml here", f"{patient.file} is what is in force")
    else:
        todo = "`runner-fleet plan` says what differs, `runner-fleet apply` puts it in force"
        yield _warned("fleet.toml here", f"{patient.file} is not what is in force", todo)


def _safety(config: FleetConfig) -> Iterator[Checked]:
    """Who may get whose job, and who is root where."""
    where = config.gitlab.runners_in.kind
    if where == "project":
        yield _ok("runners_in", "each runner is of one project")
    else:
        todo = 'runners_in = "project" makes each runner in its job\'s own project'
        yield _warned("runners_in", f"any project's job may get any runner ({where})", todo)
    rooted = [pool.name for pool in config.pools if pool.docker.socket or pool.docker.privileged]
    if not rooted:
        yield _ok("docker.socket", "no job has its machine's Docker engine")
    elif where == "project":
        finding = f"jobs of {', '.join(rooted)} may be root of their machine, which is theirs alone"
        yield _ok("docker.socket", finding)
    else:
        todo = 'write runners_in = "project", or docker = { socket = false }'
        finding = (
            f"jobs of {', '.join(rooted)} may be root, and read a runner token of all projects"
        )
        yield _failed("docker.socket", finding, todo)
    for warning in config.warnings[:5]:
        todo = "`runner-fleet validate` lists all warnings"
        yield _warned(_line_of(warning), warning.sentence, todo)


def _line_of(problem: FileProblem) -> str:
    return f"applied fleet.toml line {problem.line}"


def _quotas(patient: Patient, config: FleetConfig) -> Iterator[Checked]:
    quotas: AccountQuotas = quotas_of(patient.aws)
    region = caller(patient.aws).region
    short = {shortage.quota: shortage for shortage in shortages(config.pools, quotas)}
    for subject, quota, allowed in (
        ("quota of on-demand vCPUs", ON_DEMAND, quotas.on_demand_vcpus),
        ("quota of spot vCPUs", SPOT, quotas.spot_vcpus),
        ("quota of Lambda", AT_ONCE, quotas.lambda_at_once),
    ):
        if allowed is None:
            todo = "allow servicequotas:GetServiceQuota and lambda:GetAccountSettings"
            yield _warned(subject, "these credentials may not read it", todo)
        elif quota in short:
            finding = f"{allowed}, and all pools at their ceilings need {short[quota].needed}"
            yield _warned(subject, finding, short[quota].request(region))
        else:
            yield _ok(subject, f"{allowed}")


def _images(patient: Patient, stack: _Stack, config: FleetConfig) -> Iterator[Checked]:
    backends = {pool.backend for pool in config.pools}
    if "ec2" in backends:
        machine = stack.resolved.get("MachineImage") or stack.parameters.get("MachineImage", "")
        yield _ok("machine image", machine)
    for parameter, backend in (("Ec2Image", "ec2"), ("LambdaImage", "lambda")):
        if backend not in backends:
            continue
        uri = stack.parameters.get(parameter, "")
        if not uri:
            todo = f"run `runner-fleet up`, or deploy with --parameter {parameter}=..."
            yield _failed(parameter, f"none, and there are {backend} pools", todo)
        elif finding := image_fault(patient.aws, uri):
            yield _failed(parameter, f"{uri}: {finding}", "build it again: `runner-fleet up`")
        else:
            yield _ok(parameter, uri)


# GitLab


def _functions(patient: Patient, stack: _Stack, config: FleetConfig, way: Way) -> Iterator[Checked]:
    """The functions may be in another network than this command."""
    url = config.gitlab.url
    try:
        answer = ask_functions(patient.aws, patient.stack, url, way)
    except FleetError as error:
        todo = f"allow lambda:InvokeFunction on {patient.stack}-{FUNCTION}"
        yield _warned("functions", f"they cannot be asked: {_words(error)}", todo)
        return
    if answer.answers:
        yield _ok("functions", f"they reach {url}")
    else:
        finding = f"they do not reach {url}: {answer.failure}"
        yield _failed("functions", finding, what_to_do(stack.parameters))


def _gitlab(config: FleetConfig, gitlab: GitLab) -> Iterator[Checked]:
    yield _ok("GitLab", f"{config.gitlab.url} answers, version {gitlab.version()}")


def _token(config: FleetConfig, gitlab: GitLab, at: datetime) -> Iterator[Checked]:
    todo = "give it one that may: `runner-fleet token set`"
    for need in check_token(config, gitlab, at):
        if need.is_met:
            yield _ok("GitLab token", need.need)
        elif need.is_met is None:
            yield _warned("GitLab token", f"GitLab does not show whether {need.need}", "")
        else:
            yield _failed("GitLab token", f"not so: {need.need}", todo)


def _records(deployed: Deployed, config: FleetConfig, gitlab: GitLab) -> Iterator[Checked]:
    """The record with which each pool is present in GitLab."""
    lacking = []
    for pool in config.pools:
        name = pool_secret(deployed.pool_secret_prefix, pool.name, is_protected=pool.protected_only)
        token = deployed.secrets.find_pool_token(name)
        if token is None or gitlab.runner(token.runner_id) is None:
            lacking.append(pool.name)
    if lacking:
        todo = 'run `runner-fleet apply`; with runners_in = "project" name a project in watch'
        yield _warned("runner records", f"GitLab shows no runner of {', '.join(lacking)}", todo)
    else:
        yield _ok("runner records", f"GitLab shows every pool ({len(config.pools)})")


def _webhooks(
    deployed: Deployed, config: FleetConfig, gitlab: GitLab, stack: _Stack
) -> Iterator[Checked]:
    rows = deployed.fleet.hooks(instance_of(config.gitlab.url))
    if not rows:
        todo = "run `runner-fleet webhook register` for a project or group"
        yield _failed("webhook", "none is registered: jobs wait for the next minute's look", todo)
    for row in rows:
        subject = f"webhook of {row.scope}"
        health = hook_health(gitlab, row.scope, row.hook_id)
        fault = hook_fault(gitlab, row.scope, row.hook_id, since=row.registered_at)
        detail = decide_hook(health, fault).detail
        todo = f"run `runner-fleet webhook register` for {row.scope} again"
        if detail is not None:
            yield _failed(subject, detail, todo)
        elif row.url != stack.outputs.get("WebhookUrl"):
            yield _warned(subject, f"it delivers to {row.url}, not to the stack's address", todo)
        else:
            yield _ok(subject, f"healthy, {row.verification.replace('-', ' ')}")


def _problems(deployed: Deployed) -> Iterator[Checked]:
    """Those of `status`. Problems of single jobs, or that end by themselves, are warnings only."""
    problems = gather(deployed, jobs=1).problems
    for problem in problems:
        checked = _failed if problem.kind in OF_THE_FLEET else _warned
        yield checked("fleet's state", problem.what, problem.do)
    if not problems:
        yield _ok("fleet's state", "`status` lists no problem")


def _guarded(subject: str, look: Callable[[], Iterator[Checked]]) -> Iterator[Checked]:
    """The checks of one part; what keeps it from looking is a failure with its own words."""
    try:
        yield from look()
    except FleetError as error:
        words = re.sub(r"\s+", " ", _words(error))
        yield _failed(subject, words, "correct that, then run `runner-fleet doctor` again")


def _words(error: FleetError) -> str:
    code, call = error.facts.get("code"), error.facts.get("call")
    return f"{error} ({call}: {code})" if code else str(error)


def _ok(subject: str, finding: str) -> Checked:
    return Checked(subject=subject, result="ok", finding=finding)


def _warned(subject: str, finding: str, todo: str) -> Checked:
    return Checked(subject=subject, result="warning", finding=finding, todo=todo)


def _failed(subject: str, finding: str, todo: str) -> Checked:
    return Checked(subject=subject, result="failure", finding=finding, todo=todo)
