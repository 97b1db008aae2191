"""Calls to the simulated GitLab with their answers, as text. A call is one line:

    WHO: METHOD PATH BODY -> STATUS ANSWER

WHO is the administrator when left out; else a role in the project (`reporter`), in its group
(`group owner`), with other scopes than `api` (`maintainer/read_api`), `stranger` for a user
without a role, `nobody`, `wrong` for an unknown token, `runner 1` or `job 1` with their tokens.
BODY and ANSWER are YAML. An answer has at least the keys of ANSWER (of a list of objects, those
that they have as `key`), is a list of these ids, or contains this text; `+` is any value but null,
and `{headers: …}` is about those instead. `(a|b)` is one call with each, `x*9` nine of a letter.
PAGE is a GET outside of the API, LOG a piece of a log at a span, UPLOAD a file of a type and form.

Other lines: `start [unit, {name: b, when: manual}]` a pipeline, `running` one whose first job a
runner has taken, `wait 2 hours`, and before all others `options {…}` of the instance.
"""

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from local.gitlab.ci.types import EnvironmentSpec, JobSpec
from local.gitlab.ci.values import read_duration_s
from local.gitlab.model import Role
from local.gitlab.options import Options
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec

_REQUEST = re.compile(r"(?:([\w /]+): )?([A-Z]+) (\S+)(?: (.*))?")
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_REPEATED = re.compile(r"(\w)\*(\d+)")


def cases(folder: Path) -> list[Any]:
    """The cases of all files of a folder: the lines under each title."""
    params = []
    for path in sorted(folder.glob("*.txt")):
        text = re.sub(r"\n +", " ", path.read_text(encoding="utf-8"))
        for part in text.split("# ")[1:]:
            title, *lines = part.splitlines()
            params.append(pytest.param([*filter(None, lines)], id=f"{path.stem}: {title}"))
    return params


def play(lines: list[str], folder: Path) -> None:
    """Make every call on a new instance. Raises `AssertionError` for another answer."""
    options: dict[str, Any] = {}
    if lines[0].startswith("options "):
        options = yaml.safe_load(lines[0].partition(" ")[2])
        lines = lines[1:]
    with ExitStack() as stack:
        session = _Session(stack.enter_context(Desk(folder, Options(**options))))
        for line in lines:
            session.play(line)


class _Session:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._people: dict[str, str] = {}

    def play(self, line: str) -> None:
        request, arrow, answer = line.partition(" -> ")
        if not arrow:
            verb, _, rest = line.partition(" ")
            getattr(self, f"_{verb}")(rest)
            return
        status, _, expected = answer.partition(" ")
        for choice in _choices(request):
            reply = self._send(choice)
            assert reply.status_code == int(status), f"{choice}: {reply.status_code} {reply.text}"
            if expected:
                _check(reply, expected, choice)

    def _start(self, jobs: str) -> None:
        self.desk.start(*_specs(jobs))

    def _running(self, jobs: str) -> None:
        self.desk.running(*_specs(jobs))

    def _wait(self, duration: str) -> None:
        self.desk.world.clock.advance(timedelta(seconds=read_duration_s(duration) or 0))

    def _send(self, request: str) -> httpx.Response:
        parts = _REQUEST.fullmatch(_REPEATED.sub(lambda m: m[1] * int(m[2]), request))
        assert parts, request
        caller, method, path, text = parts.groups(default="")
        if method == "LOG":
            return self.desk.append(self._job(caller), text.encode(), path)
        headers, body = self._signed(caller, yaml.safe_load(text) if text else {})
        if method == "UPLOAD":
            kind, form, *expiry = path.split("/")
            query = {"artifact_type": kind, "artifact_format": form}
            query |= {"expire_in": expiry[0].replace("+", " ")} if expiry else {}
            files = {"file": ("built.zip", str(body).encode())}
            where = f"/jobs/{caller.removeprefix('job ')}/artifacts"
            return self.desk.raw("POST", where, params=query, files=files, headers=headers)
        if method == "PAGE":
            token = headers.get("PRIVATE-TOKEN")
            return self.desk.page(path, auth=("any-name", token) if token else None)
        return self.desk.raw(method, path, headers=headers, json=body or None)

    def _signed(self, caller: str, body: Any) -> tuple[dict[str, str], Any]:
        """The headers and the body with the token of the one who calls."""
        kind, _, number = caller.partition(" ")
        if kind == "runner":
            runner = self.desk.world.runners.by_id[int(number)]
            return {}, {"token": runner.token, "system_id": "s_1", "info": {}, **body}
        if kind == "job":
            return {"JOB-TOKEN": self._job(caller).token}, body
        return ({} if caller == "nobody" else {"PRIVATE-TOKEN": self._token(caller)}), body

    def _job(self, caller: str) -> Any:
        return self.desk.world.ci.jobs[int(caller.removeprefix("job "))]

    def _token(self, caller: str) -> str:
        fixed = {"": self.desk.world.root_token, "wrong": "glpat-wrong"}
        if caller not in fixed and caller not in self._people:
            self._people[caller] = self._new_person(*caller.split("/"))
        return fixed.get(caller) or self._people[caller]

    def _new_person(self, role: str, *scopes: str) -> str:
        user, token = self.desk.person(None, *scopes)
        where = self.desk.group if role.startswith("group ") else self.desk.project
        if role != "stranger":
            where.members[user.id] = Role[role.removeprefix("group ").upper()]
        return token


def _specs(text: str) -> list[JobSpec]:
    return [_spec(job) for job in yaml.safe_load(text or "[unit]")]


def _spec(job: Any) -> JobSpec:
    if isinstance(job, str):
        return job_spec(job)
    environment = EnvironmentSpec(name=job["environment"]) if "environment" in job else None
    return job_spec(**{**job, "environment": environment})


def _choices(request: str) -> Iterator[str]:
    """The request with one alternative of each `(a|b)`, in every combination."""
    parts = _CHOICE.split(request)  # plain texts and alternatives in turn
    for choice in itertools.product(*(part.split("|") for part in parts[1::2])):
        yield "".join(itertools.chain(*itertools.zip_longest(parts[::2], choice, fillvalue="")))


def _check(reply: httpx.Response, expected: str, request: str) -> None:
    wanted = yaml.safe_load(expected)
    if isinstance(wanted, dict | list):
        shown = {"headers": dict(reply.headers)} if "headers" in wanted else reply.json()
        assert _agrees(shown, wanted), f"{request}: {reply.headers} {reply.text}"
    else:
        assert expected.strip("'") in reply.text, f"{request}: {reply.text}"


def _agrees(shown: Any, wanted: Any) -> bool:
    """Whether an answer has what is wanted; a number stands for the object with this id."""
    if isinstance(wanted, dict):
        if isinstance(shown, list):
            shown = {item["key"]: item for item in shown}
        return all(key in shown and _agrees(shown[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(shown) == len(wanted) and all(map(_agrees, shown, wanted))
    if wanted == "+":
        return shown is not None
    return bool((shown["id"] if isinstance(shown, dict) else shown) == wanted)
