"""Writes docs/permissions.md: what each role of the composed template may do, and why."""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.compose import compose
from infra.package import ROOT, TEMPLATE

DOCUMENT = ROOT / "docs" / "permissions.md"
Statement = Mapping[str, Any]

# Why a role needs a statement, by its `Sid`.
REASONS = {
    "CallOwnFunction": "its task states",
    "CallSweep": "sweep ends what outlived a launch; reconcile's machine calls it every minute",
    "ClearMail": "the mailbox of an ended machine is emptied",
    "DeliverLogs": "Step Functions writes the machine's log; it has no resource-level permission",
    "EndOwnMachines": "a machine whose runner is closed ends; the tag keeps every other machine",
    "GiveCacheKeys": "starts a session of the cache role for one project, for a runner to use",
    "GiveDemandUp": "a job whose attempts are used raises an alarm",
    "InvokeRunners": "starts a Lambda runner for a waiting job",
    "JoinNetwork": "Lambda joins the functions' network with their roles, where one is given",
    "NotByCode": "the functions' own code does not",
    "KeepFailedTimer": "a timer that cannot call sweep raises an alarm",
    "LaunchParts": "what a launch touches besides the instance",
    "LeaveMail": "scale leaves credentials and drain orders, settle drain orders",
    "LaunchTagged": "launches machines, only with the stack's tag",
    "ListCache": "a cache that does not exist yet must not read as forbidden",
    "MakeServiceRoles": "AWS makes two service roles at an account's first fleet and spot request",
    "MeasureQueues": "whether demand waits, and whether dead letters are to be looked at",
    "LogInToPush": "a password for the registry of images, to push one",
    "LogInToRegistry": "a password for the registry of images",
    "PassExpiryRole": "a timer calls sweep with this role",
    "PassMachineRole": "a machine starts with this role",
    "PullOwnImage": "the image of its agent",
    "PutFailures": "Lambda reports a failed invocation with the runner's role",
    "PutJobEvents": "publishes the deliveries that it verified, in its own name only",
    "PushImages": "puts the images that it built into the stack's registry",
    "ReadGitlabToken": "asks GitLab for jobs, runners and projects",
    "ReadImageNames": "an image that a pool names by a parameter, read by CreateFleet",
    "ReadImageSources": "the sources of the images, which a deployment puts there",
    "ReadIndexes": "waiting jobs of a pool, webhooks and projects that the fleet watches",
    "ReadManyJobs": "jobs of messages, of a pipeline, of GitLab's lists",
    "ReadPoolTokens": "puts an open pool's shared credential into a machine's mailbox",
    "ReadReports": "what the machines say of themselves",
    "ReadWebhookSecrets": "verifies deliveries",
    "RenewPoolTokens": "renews open pools' tokens before they expire",
    "RenewProtectedPoolTokens": "renews protected pools' tokens before they expire",
    "DropWebhookSecrets": "drops webhook secrets rotated out",
    "RunTagged": "what CreateFleet calls, only with the stack's tag and launch template",
    "SeeMachines": "which machines there are and what became of them; no resource-level permission",
    "SeeSpotPrices": "what a spot machine costs, for `cost`; it has no resource-level permission",
    "SeeSubnets": "one subnet for each zone; it has no resource-level permission",
    "SendDemand": "a job needs a runner",
    "SetExpiryTimer": "a timer for each launch, outside the machines",
    "StartMachines": "a rule starts its state machine",
    "TagLaunched": "CreateFleet tags what it makes",
    "TakeDemand": "takes the jobs that wait, and puts back those that must wait longer",
    "TakeLetters": "deletes dead letters of jobs that are over",
    "UseCache": "the cache of jobs",
    "UseMailboxes": "its mailbox: credential, orders, report",
    "UseOwnMailbox": "its mailbox: credential, orders, report",
    "WakeScale": "wakes the autoscaler after a change",
    "WorkOnLedger": "rows of jobs, runners, pools and holds",
    "WriteOwnLogs": "its own log",
    "WriteWholeRows": "new runners, closed runners, intended retries",
}

_HEAD = """\
# Permissions

Generated from the template by `make docs`; do not edit. `<stack>` is the stack's name. That each
right is needed, and what each role is refused: [security.md](security.md).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One action of one statement of one role."""

    role: str
    sid: str
    action: str


def statements(template: Mapping[str, Any], role: str) -> Iterator[Statement]:
    """Every statement of a role: its own, those of shared and of managed policies made here."""
    resources = template["Resources"]
    body = resources[role]["Properties"]
    for policy in body.get("Policies", []):
        _, chosen, _ = policy.get("Fn::If", (None, policy, None))  # where a parameter asks for it
        yield from chosen["PolicyDocument"]["Statement"]
    for managed in body.get("ManagedPolicyArns", []):
        yield from resources[managed["Ref"]]["Properties"]["PolicyDocument"]["Statement"]
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Policy":
            policy = resource["Properties"]
            if {"Ref": role} in policy["Roles"]:
                yield from policy["PolicyDocument"]["Statement"]


def roles(template: Mapping[str, Any]) -> list[str]:
    """The logical ids of all roles."""
    return [
        name for name, body in template["Resources"].items() if body["Type"] == "AWS::IAM::Role"
    ]


def rights(template: Mapping[str, Any]) -> Iterator[Right]:
    """Every right of every role."""
    for role in roles(template):
        for statement in statements(template, role):
            for action in _list(statement["Action"]):
                yield Right(role=role, sid=statement["Sid"], action=action)


def document(template: Mapping[str, Any]) -> str:
    """The text of docs/permissions.md."""
    parts = [_HEAD]
    for role in roles(template):
        trust = template["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        parts += [f"## {role}\n", *map(_trust, trust), _table(statements(template, role))]
    parts.append("## Resource policies\n")
    parts += list(_resource_policies(template))
    return "\n".join(parts)


def _trust(statement: Statement) -> str:
    condition = _condition(statement.get("Condition", {}))
    who = ", ".join(
        _words(principal) for principal in _list(next(iter(statement["Principal"].values())))
    )
    return f"Assumed by {who}{', where ' + condition if condition else ''}.\n"


def _table(rows: Iterator[Statement]) -> str:
    lines = ["| action | resource | condition | needed for |", "|---|---|---|---|"]
    for row in rows:
        actions, resources = (
            "<br>".join(f"`{_words(value)}`" for value in _list(row[key]))
            for key in ("Action", "Resource")
        )
        condition = _condition(row.get("Condition", {}))
        lines.append(f"| {actions} | {resources} | {condition} | {REASONS[row['Sid']]} |")
    return "\n".join([*lines, ""])


def _resource_policies(template: Mapping[str, Any]) -> Iterator[str]:
    for name, body in template["Resources"].items():
        properties = body["Properties"]
        statements = properties.get("PolicyDocument", {}).get(
            "Statement", properties.get("Statement")
        )
        if statements is None or body["Type"].startswith("AWS::IAM"):
            continue
        yield f"- `{name}`"
        for entry in _list(statements):
            who = entry["Principal"]
            principal = who if isinstance(who, str) else ", ".join(map(_words, who.values()))
            condition = _condition(entry.get("Condition", {}))
            yield (
                f"  - {entry['Effect']} {', '.join(_list(entry['Action']))} to {principal}"
                f"{' where ' + condition if condition else ''}"
            )
    yield ""


def _condition(condition: Mapping[str, Mapping[str, Any]]) -> str:
    return " and ".join(
        f"`{key}` {operator} {' or '.join(f'`{_words(value)}`' for value in _list(value))}"
        for operator, keys in condition.items()
        for key, value in keys.items()
    )


def _words(value: Any) -> str:
    """An intrinsic function as a reader says it: the resource's name, or the end of the ARN."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": str(name)}:
            return _short(f"${{{name.partition('.')[0]}}}")
        case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), _]}:
            return _short(text)
        case {"Fn::If": [_, chosen, _]}:
            return _words(chosen)
    return str(value)


def _short(text: str) -> str:
    text = re.sub(r"^arn:\$\{AWS::Partition\}:\w+:(\$\{AWS::\w+\})?:(\$\{AWS::\w+\})?:", "", text)
    text = text.replace("${AWS::StackName}", "<stack>").replace("${AWS::AccountId}", "<account>")
    return re.sub(r"\$\{(\w+)(\.Arn)?\}", r"\1", text)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    target.write_text(document(compose(TEMPLATE.read_text())))
