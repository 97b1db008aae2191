"""Read `fleet.toml`: its text becomes one frozen value, or a list of problems by line."""

import hashlib
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fleet.config.checks import (
    Finding,
    check_gitlab,
    check_instance_types,
    check_pool,
    check_pools,
)
from fleet.config.file_limits import beyond_limits, crowded
from fleet.config.foreign import foreign_tables, foreign_text
from fleet.config.lines import Path
from fleet.config.model import (
    BACKENDS,
    Budgets,
    GitLabConfig,
    PoolConfig,
)
from fleet.config.problems import (
    FileProblem,
    Source,
    model_problems,
    syntax_problem,
    unknown_key_hint,
)

# GitLab allows a group or project 1,000 runners by default, and each pool is one.
POOLS_AT_MOST = 1000
TABLES = ("gitlab", "pools", "budgets")
PROBLEMS_AT_MOST = 100  # and as many warnings: more are not read at once


class ConfigError(ValueError):
    """The configuration file cannot be applied; `problems` says why, in the order of lines."""

    def __init__(self, problems: Sequence[FileProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


# GitLab takes a test delivery from nothing less than `api`.
RETRIES = "retries jobs that a machine failed"
HEALS = "switches webhooks on again that GitLab switched off"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScope:
    """A scope that the fleet's GitLab token must or may have, and its purpose."""

    scope: str
    why: str
    is_optional: bool = False  # without it a person does that work


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """A configuration that can be applied."""

    gitlab: GitLabConfig
    pools: tuple[PoolConfig, ...]  # file order: the first that may take a job gets it
    version: str  # 12 hexadecimal digits of the text's SHA-256: same text, same version
    warnings: tuple[FileProblem, ...] = ()
    budgets: Budgets = field(default_factory=Budgets)

    def pool(self, name: str) -> PoolConfig | None:
        """The pool of that name; None when there is none."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def needs_token_scopes(self) -> tuple[TokenScope, ...]:
        """The scopes that the file needs, least first. `api` includes all the others."""
        reads = "reads the tags and states of jobs"
        if any(pool.protected_only for pool in self.pools):
            reads += ", and whether their branches and tags are protected (protected_only)"
        retrying = [pool.name for pool in self.pools if pool.infra_retry]
        named = [pool.name for pool in self.pools if "infra_retry" in pool.model_fields_set]
        asked = [name for name in retrying if name in named]
        if asked:  # the default does what the token allows; an explicit true needs the scope
            names = ", ".join(asked)
            why = f"{RETRIES} (infra_retry in {names}), {HEALS}"
            return (TokenScope(scope="api", why=why),)
        why = f"{RETRIES}, {HEALS}" if retrying else HEALS
        return (
            TokenScope(scope="read_api", why=reads),
            TokenScope(scope="create_runner", why="makes the runners"),
            TokenScope(scope="manage_runner", why="deletes the runners of machines that ended"),
            TokenScope(scope="api", why=why, is_optional=True),
        )


def read_config(
    text: str,
    *,
    name: str = "fleet.toml",
    backends: Sequence[str] = BACKENDS,
    instance_types: Collection[str] = (),
) -> FleetConfig:
    """Read the text of a configuration file; messages call it `name`.

    `backends` are the back ends that pools may name; `instance_types` are those that AWS is known
    to have, none where that is not to be checked. Raises `ConfigError` with all errors, of
    very many the first, and nothing else, whatever the text; warnings are in the value.
    """
    text = _without_mark(text)
    tables = _tables(name, text)
    reading = _Reading(Source(name=name, text=text), tuple(backends))
    gitlab, pools = reading.gitlab(tables), reading.pools(tables)
    budgets = reading.budgets(tables)
    reading.take(check_pools(pools, reading.names))
    reading.take(check_instance_types(pools, instance_types))
    if gitlab is not None:
        reading.take(check_gitlab(gitlab, pools))
    problems = sorted(reading.problems, key=lambda problem: (problem.line, problem.column))
    if len(problems) == PROBLEMS_AT_MOST:
        problems.append(_first_line(name, "there may be more problems: correct these first"))
    if gitlab is None or problems:
        raise ConfigError(problems)
    return FleetConfig(
        gitlab=gitlab,
        pools=pools,
        budgets=budgets,
        version=hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12],
        warnings=tuple(
            sorted(reading.warnings, key=lambda problem: (problem.line, problem.column))
        ),
    )


def raw_tables(text: str) -> Mapping[str, Any]:
    """The tables of a text that is TOML, valid here or not: an older version may have taken it."""
    return tomllib.loads(_without_mark(text))


def _without_mark(text: str) -> str:
    """The text without a byte-order mark, which editors on Windows write."""
    return text.removeprefix("\ufeff")


def _tables(name: str, text: str) -> Mapping[str, Any]:
    """The file's tables. Raises `ConfigError` with one problem when there are none of ours."""
    if beyond := beyond_limits(name, text):
        raise ConfigError([beyond])
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = foreign_text(name, text)
        raise ConfigError(
            [_first_line(name, message) if message else syntax_problem(name, text, error)]
        ) from None
    if message := foreign_tables(name, tables):
        raise ConfigError([_first_line(name, message)])
    if beyond_reading := crowded(tables):
        raise ConfigError([Source(name=name, text=text).problem(*beyond_reading)])
    return tables


def _first_line(name: str, message: str) -> FileProblem:
    return FileProblem(name=name, line=1, column=1, path="", message=message)


M = TypeVar("M", bound=BaseModel)


class _Reading:
    """One reading of a file: makes values of its tables and collects their problems."""

    def __init__(self, source: Source, backends: tuple[str, ...]) -> None:
        self.source = source
        self.backends = backends
        self.names: tuple[str, ...] = ()
        self.problems: list[FileProblem] = []
        self.warnings: list[FileProblem] = []

    def gitlab(self, tables: Mapping[str, Any]) -> GitLabConfig | None:
        for key in tables.keys() - set(TABLES):
            hint = unknown_key_hint(key, TABLES)
            self._problem((key,), "unknown table", hint)
        if "gitlab" not in tables:
            self._problem(("gitlab",), "is missing", "add [gitlab] with url and runners_in")
            return None
        return self._value(GitLabConfig.model_validate, ("gitlab",), tables["gitlab"])

    def budgets(self, tables: Mapping[str, Any]) -> Budgets:
        value = self._value(Budgets.model_validate, ("budgets",), tables.get("budgets", {}))
        return value or Budgets()

    def pools(self, tables: Mapping[str, Any]) -> tuple[PoolConfig, ...]:
        pool_tables = tables.get("pools", {})
        if not isinstance(pool_tables, dict) or not pool_tables:
            self._problem(("pools",), "must have a pool", "add a table such as [pools.docker]")
            return ()
        if len(pool_tables) > POOLS_AT_MOST:
            message = f"are {len(pool_tables)} pools, and at most {POOLS_AT_MOST} work"
            self._problem(("pools",), message, "each has a runner record in GitLab")
            return ()
        self.names = tuple(pool_tables)
        return tuple(self._pools(pool_tables))

    def _pools(self, pool_tables: Mapping[str, Any]) -> Iterator[PoolConfig]:
        for name, table in pool_tables.items():
            if len(self.problems) >= PROBLEMS_AT_MOST:
                return
            path: Path = ("pools", name)
            if not isinstance(table, dict):
                self._problem(path, "must be a table", f"write [pools.{name}]")
                continue
            if "name" in table:
                hint = f"the table has it already: [pools.{name}]"
                self._problem((*path, "name"), "unknown key", hint)
            pool = self._value(self._pool, path, {**table, "name": name})
            if pool is not None:
                self.take(check_pool(pool))
                yield pool

    def _pool(self, table: Mapping[str, Any]) -> PoolConfig:
        return PoolConfig.model_validate(table, context={"backends": self.backends})

    def _value(self, read: Callable[[Any], M], path: Path, table: object) -> M | None:
        try:
            return read(table)
        except ValidationError as error:
            self._add(self.problems, model_problems(self.source, path, error))
            return None

    def take(self, findings: Iterator[Finding]) -> None:
        """Collect findings as problems and warnings with their positions."""
        for finding in findings:
            problem = self.source.problem(finding.path, finding.message, finding.hint)
            self._add(self.warnings if finding.is_warning else self.problems, [problem])
            if len(self.problems) >= PROBLEMS_AT_MOST:
                return

    def _problem(self, path: Path, message: str, hint: str) -> None:
        self._add(self.problems, [self.source.problem(path, message, hint)])

    @staticmethod
    def _add(problems: list[FileProblem], more: Iterable[FileProblem]) -> None:
        """Add as many as have room; the rest is not even looked for."""
        problems += islice(more, max(PROBLEMS_AT_MOST - len(problems), 0))
