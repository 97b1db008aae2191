"""Where secrets must not be: everything that a laptop leaves or shows while its jobs run.

A canary is a secret that is looked for: GitLab's token, webhooks' secrets, runner tokens, sessions
of roles (cache keys among them), and what a caller planted.
"""

import base64
import json
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local.laptop import Laptop

# What looks like a token of GitLab, a signing token or the session of a role of AWS.
TOKENS = re.compile(
    r"(?:glrt|glpat|glrtr|glcbt)-[\w.-]{16,}|whsec_[\w+/=]{16,}|(?:FwoG|IQoJ)[\w+/=]{40,}"
)
KINDS = frozenset({"stack", "log", "table", "history", "function", "instance", "launch", "file"})
SKEW = timedelta(seconds=2)  # between the clocks of a file system and of this process


def exposed_secrets(
    laptop: Laptop, planted: Mapping[str, str] | None = None, *, since: datetime | None = None
) -> tuple[str, ...]:
    """A sentence for each secret in a text that must not hold it; no sentence shows the secret.

    `planted`: more secrets, by name. `since`: older logs, histories and files are not searched.
    A kind of text that is missing is a sentence, too: then the search proves nothing.
    """
    secrets = {**secrets_of(laptop), **(planted or {})}
    problems, kinds = [], set()
    for source, text in searched_texts(laptop, since=since):
        kinds.add(source.split()[0])
        problems += [
            f"the secret {name} is in {source}" for name, value in secrets.items() if value in text
        ]
        problems += [f"a token {token[:6]}… is in {source}" for token in TOKENS.findall(text)]
    problems += [f"no {kind} was there to be searched" for kind in sorted(KINDS - kinds)]
    return tuple(dict.fromkeys(problems))


def searched_texts(laptop: Laptop, *, since: datetime | None = None) -> Iterator[tuple[str, str]]:
    """Each text that must hold no secret, with its source: a kind, and a name."""
    client = laptop.engine.client
    after = since or datetime.fromtimestamp(0, UTC)
    yield "stack", _text(client("cloudformation").describe_stacks())
    for function in client("lambda").list_functions()["Functions"]:
        yield f"function {function['FunctionName']}", _text(function)
    yield from _logs(client("logs"), after)
    yield from _tables(client("dynamodb"))
    yield from _histories(client("stepfunctions"), after)
    yield from _machines(client("ec2"))
    yield from _files(laptop, after)


def _logs(logs: Any, after: datetime) -> Iterator[tuple[str, str]]:
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=name, startTime=int(after.timestamp() * 1000)
        )
        for page in pages:
            yield f"log {name}", _text(page["events"])


def _tables(tables: Any) -> Iterator[tuple[str, str]]:
    for table in tables.list_tables()["TableNames"]:
        for page in tables.get_paginator("scan").paginate(TableName=table):
            yield f"table {table}", _text(page["Items"])


def _histories(steps: Any, after: datetime) -> Iterator[tuple[str, str]]:
    for machine in steps.list_state_machines()["stateMachines"]:
        arn, name = machine["stateMachineArn"], machine["name"]
        for page in steps.get_paginator("list_executions").paginate(stateMachineArn=arn):
            for execution in page["executions"]:
                if execution["startDate"] < after:
                    continue
                pages = steps.get_paginator("get_execution_history").paginate(
                    executionArn=execution["executionArn"]
                )
                for history in pages:
                    yield f"history of {name} {execution['name']}", _text(history["events"])


def _machines(machines: Any) -> Iterator[tuple[str, str]]:
    for reservation in machines.describe_instances()["Reservations"]:
        for machine in reservation["Instances"]:
            name = machine["InstanceId"]
            data = machines.describe_instance_attribute(InstanceId=name, Attribute="userData")
            script = data.get("UserData", {}).get("Value", "")
            yield f"instance {name}", _text(machine) + _decoded(script)
    for template in machines.describe_launch_templates()["LaunchTemplates"]:
        name = template["LaunchTemplateId"]
        versions = machines.describe_launch_template_versions(LaunchTemplateId=name)
        for version in versions["LaunchTemplateVersions"]:
            script = version["LaunchTemplateData"].get("UserData", "")
            yield f"launch template {name}", _text(version) + _decoded(script)


def _files(laptop: Laptop, after: datetime) -> Iterator[tuple[str, str]]:
    """Files of machines, and the engine's log. The engine and GitLab keep secrets in theirs."""
    oldest = (after - SKEW).timestamp()
    for folder in (laptop.data / "guests", laptop.data / "lambda"):
        for path in sorted(folder.rglob("*")):
            try:
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_mtime >= oldest:
                    yield f"file {path}", path.read_bytes().decode(errors="replace")
            except OSError:
                continue  # a machine that ends removes what it had
    yield "log of the engine", laptop.engine.log.read_text(errors="replace")


def secrets_of(laptop: Laptop) -> Mapping[str, str]:
    """Each secret of the fleet, by its name in Secrets Manager and its number there."""
    client = laptop.engine.client("secretsmanager")
    secrets = {"GitLab token": laptop.gitlab_token}
    for secret in client.list_secrets()["SecretList"]:
        text = client.get_secret_value(SecretId=secret["Name"]).get("SecretString") or ""
        for number, value in enumerate(TOKENS.findall(text)):
            if value not in secrets.values():
                secrets[f"{secret['Name']} {number}"] = value
    return secrets


def _decoded(user_data: str) -> str:
    return base64.b64decode(user_data).decode()


def _text(value: Any) -> str:
    return json.dumps(value, default=str)
