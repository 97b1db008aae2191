"""Where secrets must not be: everything that a laptop leaves or shows while its jobs run."""

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local.laptop import Laptop

SAMPLE_EVERY_S = 0.05
# Whatever looks like a token of GitLab or a signing token.
TOKENS = re.compile(r"(?:glrt|glpat|glrtr|glcbt)-[\w.-]{16,}|whsec_[\w+/=]{16,}")


class Processes:
    """Arguments and environments of the processes of jobs and machines, while they run."""

    def __init__(self, laptop: Laptop) -> None:
        self._mark = str(laptop.data).encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.arguments: set[str] = set()  # of every process of the laptop
        self.of_jobs: set[str] = set()  # environments of jobs

    def __enter__(self) -> "Processes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            for folder in Path("/proc").glob("[0-9]*"):
                self._look(folder)

    def _look(self, folder: Path) -> None:
        try:
            arguments, environment = (
                (folder / "cmdline").read_bytes(),
                (folder / "environ").read_bytes(),
            )
        except OSError:
            return  # it has ended
        if self._mark not in arguments and self._mark not in environment:
            return
        self.arguments.add(arguments.decode(errors="replace"))
        if b"CI_JOB_ID=" in environment:
            self.of_jobs.add(environment.decode(errors="replace"))


def places(laptop: Laptop) -> Iterator[tuple[str, str]]:
    """The name of each place where a secret would be out of hand, and all that it holds."""
    client = laptop.engine.client
    yield "stack", _text(client("cloudformation").describe_stacks())
    for function in client("lambda").list_functions()["Functions"]:
        yield f"function {function['FunctionName']}", _text(function)
    yield from _logs(client("logs"))
    yield from _tables(client("dynamodb"))
    yield from _histories(client("stepfunctions"))
    yield from _machines(client("ec2"))
    yield from _files(laptop)


def _logs(logs: Any) -> Iterator[tuple[str, str]]:
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        yield f"log {name}", _text(logs.filter_log_events(logGroupName=name)["events"])


def _tables(tables: Any) -> Iterator[tuple[str, str]]:
    for table in tables.list_tables()["TableNames"]:
        for page in tables.get_paginator("scan").paginate(TableName=table):
            yield f"table {table}", _text(page["Items"])


def _histories(steps: Any) -> Iterator[tuple[str, str]]:
    for machine in steps.list_state_machines()["stateMachines"]:
        arn, name = machine["stateMachineArn"], machine["name"]
        for place, execution in enumerate(steps.list_executions(stateMachineArn=arn)["executions"]):
            history = steps.get_execution_history(executionArn=execution["executionArn"])
            yield f"history of {name} {place}", _text(history["events"])


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


def _files(laptop: Laptop) -> Iterator[tuple[str, str]]:
    """Files of machines and of the engine's own log; its state and GitLab's keep secrets."""
    for folder in (laptop.data / "guests", laptop.data / "lambda"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield f"file {path}", path.read_bytes().decode(errors="replace")
    yield "log of the engine", laptop.engine.log.read_text(errors="replace")


def secrets_of(laptop: Laptop) -> Mapping[str, str]:
    """Each secret that the fleet keeps, by its name in Secrets Manager and its place there."""
    client = laptop.engine.client("secretsmanager")
    found = {"GitLab token": laptop.gitlab_token}
    for secret in client.list_secrets()["SecretList"]:
        text = client.get_secret_value(SecretId=secret["Name"]).get("SecretString") or ""
        for place, value in enumerate(TOKENS.findall(text)):
            found[f"{secret['Name']} {place}"] = value
    return found


def _decoded(user_data: str) -> str:
    return base64.b64decode(user_data).decode()


def _text(value: Any) -> str:
    return json.dumps(value, default=str)
