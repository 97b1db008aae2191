"""What each command prints with `--json`, as rows of a table: read from the values' own classes."""

import inspect
import io
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cli.plan import WholePlan
from local.chaos.judge import ChaosResult
from local.demo.run import DemoResult
from operations.controls import ActsView, Ordered
from operations.cost import CostView
from operations.doctor import Checked
from operations.fleet_view import FleetView
from operations.jobs import JobsView
from operations.runners import RunnersView
from operations.trail import Trail
from operations.waits import WaitsView

_WORDS: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    Decimal: "number",
    datetime: "time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonField:
    """One field: its path in the object, what it holds, and its meaning."""

    path: str  # `jobs[].name`: of each entry of a list; `states.*`: of each name of a table
    holds: str
    meaning: str = ""


_OK = JsonField(path="ok", holds="true or false", meaning="the exit code is 0")
# By the command's name: the value that it prints, and its place in the object.
PRINTED: Mapping[str, tuple[tuple[str, type], ...]] = {
    "plan": (("", WholePlan),),
    "status": (("", FleetView),),
    "jobs": (("", JobsView),),
    "runners": (("", RunnersView),),
    "cost": (("", CostView),),
    "waits": (("", WaitsView),),
    "explain": (("", Trail),),
    "doctor": (("checks[]", Checked),),
    "pool pause": (("", Ordered),),
    "pool resume": (("", Ordered),),
    "pool ceiling": (("", Ordered),),
    "pool acts": (("", ActsView),),
    "runner end": (("", Ordered),),
    "job relaunch": (("", Ordered),),
    "interrupt": (("", Ordered),),
    "demo": (("", DemoResult),),
    "local demo": (("", DemoResult),),
    "local chaos": (("faults[]", ChaosResult),),
}
WITH_OK = frozenset({"doctor", "demo", "local demo", "local chaos"})
_SAME_AS = {"token check": "token set"}
# By the beginning of their path: what is for people, or for pages, and not printed.
LEFT_OUT = ("faults[].trail[]", "usage.")
_LINE = "says | text | a line, as without `--json`"  # of those that print an object for each
_REGISTERED = """
    hook_id | number |
    scope | text | `project:7` or `group:5`
    url | text |
    verification | text | how the webhook knows GitLab: by signature, or by secret
    changed | true or false |
    above | text or null | the group above whose webhook brings the same jobs
"""
# Of values that are no class of their own: path, what it holds, meaning.
_OTHERS: Mapping[str, str] = {
    "init": _LINE,
    "up": """
        step | text | deploy, images, …
        number | number | of the step
        of | number | how many steps there are
        says | text | a line, as without `--json`
    """,
    "deploy": _LINE,
    "image build": _LINE,
    "image bake": _LINE,
    "logs": "says | text | a part of the log",
    "dashboard": _LINE,
    "local up": _LINE,
    "local down": _LINE,
    "local status": """
        pid | number | of `local up`
        webhook | text | where GitLab posts to
        gitlab | text |
        engine | text | the address of AWS here
        clone | text | of the first project
        stack | text |
        tags[] | text | with which jobs got runners when it started
    """,
    "import-config": """
        fleet_toml | text | the proposal
        pools[] | text |
        lines[].line | number | of config.toml; 0: of the proposal
        lines[].key | text |
        lines[].becomes | text | kept, changed or left out
        lines[].says | text |
    """,
    "validate": """
        file | text |
        version | text or null | null: it is not valid
        pools[] | text |
        problems[] | text | each with its line
        warnings[] | text |
        claims[].claim | text | with `--live`: what the fleet needs of the token
        claims[].holds | true, false or null | null: GitLab does not say
    """,
    "apply": """
        version | text | in force now
        is_change | true or false |
        lines[] | text | what changed, as without `--json`
        warnings[] | text |
    """,
    "token set": """
        user | text or null | as GitLab calls the token's owner
        claims[].claim | text | what the fleet needs of it
        claims[].holds | true, false or null | null: GitLab does not say
        is_good | true or false |
        is_stored | true or false |
        is_change | true or false |
    """,
    "webhook register": _REGISTERED,
    "webhook rotate": _REGISTERED,
    "webhook list": """
        webhooks[].hook_id | number |
        webhooks[].scope | text | `project:7` or `group:5`
        webhooks[].url | text |
        webhooks[].alert_status | text | GitLab's word
        webhooks[].disabled_until | time or null |
        webhooks[].is_ours | true or false | registered by this command
        webhooks[].detail | text or null | what reconcile noted of it
        webhooks[].heard_at | time or null | of its last delivery that the fleet has
    """,
    "webhook test": """
        hook_id | number |
        scope | text | `project:7` or `group:5`
        heard_at | time or null | when the fleet had it
        hops[].hop | text | from GitLab to the ledger
        hops[].result | text | ok, missing or untried; the exit code is 1 unless all are ok
        hops[].says | text |
    """,
    "webhook remove": """
        scope | text | `project:7` or `group:5`
        hook_ids[] | number | those deleted in GitLab
        is_change | true or false |
    """,
    "image use": """
        images[].kind | text | as `image build --for` takes it
        images[].image | text | its address, with its digest
        images[].is_change | true or false |
        notes[] | text | what the account's limits mean for the fleet
    """,
    "destroy": """
        stack | text |
        removed[].what | text | a kind of resource
        removed[].names[] | text |
        left[].what | text | the exit code is then 1
        left[].names[] | text |
    """,
    "image list": """
        images[].kind | text | as `image build --for` takes it
        images[].image | text | its address, with its digest
        images[].is_used | true or false | by the stack
        images[].pushed_at | time or null |
        images[].size_bytes | number or null |
        images[].findings.* | number | of the scan, by severity; or null
    """,
    "local burst": "… | | see [its own page](burst.md)",
}


def json_fields(command: str) -> list[JsonField]:
    """The fields of what a command prints with `--json`; none for one without that option."""
    rows = [row for path, value in PRINTED.get(command, ()) for row in _of_class(path, value)]
    rows = [row for row in rows if not row.path.startswith(LEFT_OUT)]
    others = _OTHERS.get(_SAME_AS.get(command, command), "").strip().splitlines()
    return [*((_OK,) if command in WITH_OK else ()), *rows, *map(_of_line, others)]


def _of_line(line: str) -> JsonField:
    path, holds, meaning = (part.strip() for part in line.split("|"))
    return JsonField(path=path, holds=holds, meaning=meaning)


def _of_class(path: str, value: type) -> Iterator[JsonField]:
    hints, comments = get_type_hints(value), _comments(value)
    for attribute in fields(value):
        inner = f"{path}.{attribute.name}" if path else attribute.name
        yield from _of_hint(inner, hints[attribute.name], comments.get(attribute.name, ""))


def _of_hint(path: str, hint: Any, meaning: str) -> Iterator[JsonField]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        (inner,) = (arg for arg in args if arg is not NoneType)
        for row in _of_hint(path, inner, meaning):
            is_own = row.path.rstrip("[]") == path
            holds = f"{row.holds} or null" if is_own else row.holds
            yield JsonField(path=row.path, holds=holds, meaning=row.meaning)
    elif origin is Literal:
        yield JsonField(path=path, holds=" · ".join(f"`{arg}`" for arg in args), meaning=meaning)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from _of_hint(f"{path}.*", args[1], meaning)
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield from _of_hint(f"{path}[]", args[0], meaning)
    elif is_dataclass(hint) and isinstance(hint, type):
        yield from _of_class(path, hint)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        words = " · ".join(f"`{member.value}`" for member in hint)
        yield JsonField(path=path, holds=words, meaning=meaning)
    else:
        yield JsonField(path=path, holds=_WORDS[hint], meaning=meaning)


def _comments(value: type) -> Mapping[str, str]:
    """The comment behind each field of a class."""
    comments: dict[str, str] = {}
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(value)).readline):
        if token.type == tokenize.NAME and token.line.lstrip().startswith(f"{token.string}:"):
            name = token.string
        elif token.type == tokenize.COMMENT and not token.line.lstrip().startswith("#") and name:
            comments[name] = token.string.lstrip("# ")
    return comments
