"""The problems of a configuration file: line, key, and a sentence that says how to correct it."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from fleet.config.lines import Path, TomlLines, toml_lines
from fleet.config.model import (
    Budgets,
    DockerOptions,
    GitLabConfig,
    IdleConfig,
    PoolConfig,
    ScheduleWindow,
    Watch,
)
from fleet.config.values import did_you_mean, shown

_TABLES: dict[str, type[BaseModel]] = {
    "gitlab": GitLabConfig,
    "watch": Watch,
    "budgets": Budgets,
    "idle": IdleConfig,
    "schedule": ScheduleWindow,
    "docker": DockerOptions,
}

# Keys of other autoscalers, by the key of ours that replaces them.
_OTHER_WORDS = {
    "ceiling": "max_runners max_instances maximum max limit concurrent runners_maximum_count",
    "idle = { count = … }": "idle_count min_idle warm pool_size min_runners",
    "idle = { idle_time = … }": "idle_timeout minimum_idle_time",
    "max_job_time": "timeout job_timeout maximum_timeout",
    "max_lifetime": "lifetime ttl expiry",
    "market": "spot on_demand market_type",
    "size": "memory memory_mb memory_size",
    "image": "ami ami_id image_id",
    "tags": "labels tag_list",
    "tls_ca_file": "tls-ca-file ca_file ca_cert ca_bundle cacert tls_ca ssl_ca_file cafile",
    "proxy": "http_proxy https_proxy proxy_url",
    "from": "start begin",
    "to": "end until",
}
_OURS = {other: ours for ours, others in _OTHER_WORDS.items() for other in others.split()}
_SECRET = re.compile(r"token|secret|password|private_key")

_MUST = {
    "string_type": "must be text in quotes (is {shown})",
    "int_type": "must be a whole number (is {shown})",
    "bool_type": "must be true or false, without quotes (is {shown})",
    "tuple_type": 'must be a list such as ["a", "b"] (is {shown})',
    "dict_type": "must be a table (is {shown})",
    "model_type": "must be a table (is {shown})",
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "float_type": "must be a number (is {shown})",
    "finite_number": "must be a number (is {shown})",
    "greater_than": "must be more than {gt} (is {shown})",
    "greater_than_equal": "must be {ge} or more (is {shown})",
    "less_than_equal": "must be {le} or less (is {shown})",
    "literal_error": "must be {expected} (is {shown})",
    "value_error": "{error}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """One error or warning and its position; `str` gives the whole line."""

    name: str  # of the file
    line: int
    column: int
    path: str  # "pools.docker.ceiling"; empty when the text is not TOML at all
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.name} line {self.line}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """The key, what is wrong with it and what to do."""
        return f"{self.path}: {self.complaint}" if self.path else self.complaint

    @property
    def complaint(self) -> str:
        """What is wrong and what to do, without the key."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


@dataclass(frozen=True, kw_only=True)
class Source:
    """The name of a file and the positions of its keys."""

    name: str
    text: str

    @cached_property
    def lines(self) -> TomlLines:
        """The positions, computed when the first problem needs one: a good file needs none."""
        return toml_lines(self.text)

    def problem(self, path: Path, message: str, hint: str = "") -> FileProblem:
        """The problem at the position of `path`, or of the table that lacks it."""
        position = self.lines.position(path)
        return FileProblem(
            name=self.name,
            line=position.line,
            column=position.column,
            path=path_text(path),
            message=message,
            hint=hint,
        )


def path_text(path: Path) -> str:
    """A path as TOML writes it, list items by index: `pools.docker.idle.schedule[0].from`."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{_key_text(key)}" for key in path]
    return "".join(parts).removeprefix(".")


def _key_text(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else f'"{key}"'


def model_problems(source: Source, path: Path, error: ValidationError) -> Iterator[FileProblem]:
    """The problems of pydantic's error in the table at `path`."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":
            continue  # a default that follows from another key, which has a problem itself
        key_path = (*path, *detail["loc"])
        if key_path[-1] in ("name", "[key]"):
            key_path = key_path[:-1]  # the key itself is wrong, of a pool or a variable
        yield source.problem(key_path, _sentence(detail), _hint(key_path, detail))


def _sentence(detail: Any) -> str:
    facts = dict(detail.get("ctx", {}))
    if "expected" in facts:
        facts["expected"] = str(facts["expected"]).replace("'", '"')
    return _MUST.get(detail["type"], "is not valid (is {shown})").format(
        shown=shown(detail["input"]), **facts
    )


def _hint(key_path: Path, detail: Any) -> str:
    if detail["type"] == "literal_error":
        return did_you_mean(detail["input"], re.findall(r"'([^']+)'", detail["ctx"]["expected"]))
    if detail["type"] == "extra_forbidden":
        return unknown_key_hint(str(key_path[-1]), keys_of(key_path[:-1]))
    return ""


def keys_of(path: Path) -> tuple[str, ...]:
    """The keys that the table at `path` may have."""
    names = [key for key in path if isinstance(key, str)]
    model = PoolConfig if len(names) == 2 and names[0] == "pools" else _TABLES[names[-1]]
    keys = (field.alias or key for key, field in model.model_fields.items())
    return tuple(key for key in keys if key != "name")


def unknown_key_hint(key: str, known: Sequence[str]) -> str:
    """A hint at the key that an unknown key probably means; empty without a guess."""
    if _SECRET.search(key):
        return "secrets are kept in Secrets Manager, never in this file"
    ours = _OURS.get(key)
    if ours and ours.split(" ")[0] in known:
        return f"write `{ours}`" if " " in ours else f'did you mean "{ours}"?'
    for table in ("docker", "idle", "watch"):
        if table in known and key in keys_of((table,)):
            return f"it belongs in the table `{table} = {{ {key} = … }}`"
    return did_you_mean(key, known)


def syntax_problem(name: str, text: str, error: tomllib.TOMLDecodeError) -> FileProblem:
    """The position where a text stops being TOML, and the probable cause."""
    source = Source(name=name, text=text)
    lines = source.lines
    sentence, line, column = _where(text, error)
    repeat = next((item for item in lines.repeats if item.again.line <= line), None)
    if repeat is not None:
        message = f"is written twice, first on line {repeat.first.line}"
        at_repeat = source.problem(repeat.path, message)
        return FileProblem(
            name=name,
            line=repeat.again.line,
            column=repeat.again.column,
            path=at_repeat.path,
            message=message,
        )
    hint, opened = _quotes_hint(text.split("\n")[line - 1]), lines.unclosed
    if opened is not None and re.search(r"Unclosed|Unterminated|'\\n'", sentence):
        line, column, hint = opened.line, opened.column, "it starts here and nothing closes it"
    elif opened is not None and opened.line < line:
        hint = f"what line {opened.line} opens is still open here"
    message = f"not TOML at column {column}: {sentence}"
    return FileProblem(name=name, line=line, column=column, path="", message=message, hint=hint)


def _quotes_hint(line: str) -> str:
    """A hint at the first value of a line that lacks its quotes."""
    for bare in re.findall(r"=\s*([A-Za-z0-9_][\w:./-]*)(?=\s*(?:[,}\]#]|$))", line):
        try:
            tomllib.loads(f"value = {bare}")
        except ValueError:
            return f"text goes in quotes: {shown(bare)}"
    return ""


def _where(text: str, error: tomllib.TOMLDecodeError) -> tuple[str, int, int]:
    """Split `tomllib`'s sentence from the line and column that it ends with."""
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
    if match:
        return match[1], int(match[2]), int(match[3])
    last = text.rstrip().split("\n")
    return str(error).removesuffix(" (at end of document)"), len(last), len(last[-1]) + 1
