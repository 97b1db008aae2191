"""From `webhook register` to the event on the bus: the real command, template and function."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet.job_event import JobEvent
from local.aws.engine import Engine, wait_until
from local.aws.stack import Stack
from local.gitlab.seed import create_project, push_files
from local.gitlab.server import SimulatorServer

CI = "unit: {script: 'true', tags: [docker]}\n"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A GitLab, a deployed fleet, and a queue that gets every event of its bus."""

    engine: Engine
    stack: Stack
    server: SimulatorServer
    queue_url: str

    def command(self, *arguments: str, code: int = 0) -> str:
        """The output of `runner-fleet webhook` with these arguments."""
        environment = {
            **self.engine.environment(),
            "PATH": os.environ["PATH"],
            "GITLAB_TOKEN": self.server.root_token,
            "GITLAB_URL": self.server.url,
            "RUNNER_FLEET_STACK": self.stack.name,
        }
        done = subprocess.run(
            [sys.executable, "-m", "cli", "webhook", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def signing_tokens(self, scope: str) -> list[str]:
        """The signing tokens of a webhook, newest first."""
        secret = self.engine.client("secretsmanager").get_secret_value(
            SecretId=self.stack.webhook_secret
        )
        hooks = json.loads(secret["SecretString"])["hooks"]
        (own,) = [hook for name, hook in hooks.items() if name.startswith(f"{scope}@")]
        return list(own["signing"])

    def events(self, project_id: int, count: int) -> list[JobEvent]:
        """The next `count` events of a project on the bus."""
        events: list[JobEvent] = []

        def look() -> bool:
            answer = self.engine.client("sqs").receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in answer.get("Messages", []):
                body = json.loads(message["Body"])
                event = JobEvent.from_detail(body["detail"])
                assert body["source"] == "runner-fleet.webhook"
                assert body["detail-type"] == event.detail_type
                if event.project_id == project_id:
                    events.append(event)
            return len(events) >= count

        wait_until(look, timeout_s=30, what=f"{count} events", log=self.engine.log)
        return events


@pytest.fixture(scope="module")
def site(engine: Engine, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    sqs, events = engine.client("sqs"), engine.client("events")
    once = {"VisibilityTimeout": "3600"}  # each event is received once
    queue_url = sqs.create_queue(QueueName="everything", Attributes=once)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]
    rule = {"Name": "everything", "EventBusName": stack.bus}
    events.put_rule(**rule, EventPattern=json.dumps({"source": ["runner-fleet.webhook"]}))
    events.put_targets(
        Rule="everything",
        EventBusName=stack.bus,
        Targets=[{"Id": "queue", "Arn": queue["QueueArn"]}],
    )
    with SimulatorServer(tmp_path_factory.mktemp("gitlab")) as server:
        yield Site(engine=engine, stack=stack, server=server, queue_url=queue_url)


def test_a_job_of_a_registered_project_is_on_the_bus(site: Site) -> None:
    project = create_project(site.server.url, site.server.root_token, "acme/demo", {})
    output = site.command("register", "--project", "acme/demo")
    (signing,) = site.signing_tokens("project:1")
    assert signing not in output

    push_files(project.clone_url, {".gitlab-ci.yml": CI}, message="Add a job")
    created, pending = sorted(site.events(project.id, 2), key=lambda event: event.status)
    assert (created.status, pending.status) == ("created", "pending")
    assert (pending.job_name, pending.project_path) == ("unit", "acme/demo")
    assert site.server.url.endswith(pending.instance)

    row = site.engine.client("dynamodb").get_item(
        TableName=site.stack.ledger_table,
        Key={"pk": {"S": f"hook#{pending.instance}#project:1"}, "sk": {"S": "hook"}},
    )["Item"]
    assert row["hook_id"]["N"] == "1"
    assert row["verification"]["S"] == "signing-token"

    # After a rotation the very next delivery is accepted, whatever the function has cached.
    site.command("rotate", "--project", "acme/demo")
    assert site.signing_tokens("project:1")[1] == signing
    # No configuration was applied: what is on the bus leads to nothing in the ledger.
    output = site.command("test", "--project", "acme/demo", code=1)
    assert "hook 1 on project:1 was lost from route to ledger" in output
    (sample,) = site.events(project.id, 1)
    assert sample.job_id == pending.job_id
