"""The architecture as tests: who may import whom, and what the core must not touch."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from fleet import errors

ROOT = Path(__file__).parents[2]

FUNCTIONS = {"webhook", "orchestrator", "lambda_runner", "ec2_runner"}
PRODUCT = {"fleet", "adapters"} | FUNCTIONS
# Imports point one way: function folders, then adapters, then fleet.
MAY_IMPORT = {
    "fleet": {"fleet"},
    "adapters": {"fleet", "adapters"},
    "webhook": {"fleet", "adapters", "webhook"},
    "lambda_runner": {"fleet", "adapters", "lambda_runner"},
    "ec2_runner": {"fleet", "adapters", "ec2_runner"},
    "orchestrator": {"fleet", "adapters", "orchestrator", "lambda_runner", "ec2_runner"},
    "infra": {"infra"},
    "operations": PRODUCT | {"infra", "operations"},
    "local": PRODUCT | {"infra", "operations", "local"},
    "cli": PRODUCT | {"infra", "operations", "cli"},
}
# The commands that run the fleet on this machine may import `local` as well.
LOCAL_COMMANDS = re.compile(r"cli/(demo|burst|chaos|local)\.py")

# What acts on the world, waits for it or looks at its clock.
ACTS = """
    asyncio boto3 botocore concurrent docker fastapi gitlab http httpx mangum multiprocessing os
    pydantic_settings queue random requests secrets shutil signal socket sqlite3 starlette
    subprocess tempfile threading time urllib uuid
"""
ONLY_READS_TEXT = "urllib.parse"
CLOCKS = {"now", "utcnow", "today"}
# `[project.optional-dependencies]`: for development and the local engine, never deployed.
NOT_DEPLOYED = "httpx hypothesis ministack multipart pytest rich samtranslator typer uvicorn yaml"

# Files that may catch everything, each with its reason beside it.
BROAD_EXCEPTS: set[str] = set()

EMPTY_WORDS = {"manager", "managers", "helper", "helpers", "util", "utils", "common"}
EMPTY_FILE_NAMES = EMPTY_WORDS | {"data", "info", "misc"}
# GitLab calls a gitlab-runner process a runner manager; the simulator of GitLab must, too.
GITLABS_WORDS = {"local/gitlab/": {"manager", "managers"}}
# The simulator and the stand-in runner have GitLab's own sight of GitLab's nouns, and two functions
# read Lambda's context.
SHARED_NOUNS = {
    *("Environment", "Job", "Project", "Runner", "Variable", "Variables"),
    "LambdaContext",
}

PATCHES = re.compile(
    r"monkeypatch\.(setattr|setitem|delattr)|((\w+\.)?mock(er)?\.)?patch(\.\w+)*|(\w+\.)*\w*Mock"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One file of ours, read and parsed."""

    path: str  # from the root of the repository, with slashes
    nodes: tuple[ast.AST, ...]  # all of them, the module itself first

    @property
    def folder(self) -> str:
        """The top folder that it is in."""
        return self.path.split("/", maxsplit=1)[0]

    @property
    def imports(self) -> set[str]:
        """Every name that it imports, in full; `from a import b` gives `a.b`."""
        package = self.path.split("/")[:-1]
        found = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) + 1 - node.level] if node.level else []
                base = [*above, node.module] if node.module else above
                found |= {".".join([*base, alias.name]) for alias in node.names}
        return found

    @property
    def imported(self) -> set[str]:
        """The top packages that it imports from."""
        return {name.split(".")[0] for name in self.imports}

    @property
    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        return (node for node in self.nodes if isinstance(node, Function))

    @property
    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class."""
        return (node for node in self.nodes if isinstance(node, ast.ClassDef))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """All Python files below these folders."""
    found = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        nodes = tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        name = path.relative_to(ROOT).as_posix()
        found.append(Module(path=name, nodes=nodes))
    return tuple(found)


OURS = modules(*MAY_IMPORT)
CORE = modules("fleet")
TESTS = modules("tests")


def found(violations: Iterable[str]) -> list[str]:
    """The violations in order, so that an assertion shows all of them."""
    return sorted(set(violations))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    ours = {*MAY_IMPORT, "tests"}
    for module in modules(folder):
        more = {"local"} if LOCAL_COMMANDS.fullmatch(module.path) else set()
        wrong = module.imported & ours - MAY_IMPORT[folder] - more
        assert not wrong, f"{module.path} imports {wrong}"


def test_what_is_deployed_imports_nothing_that_is_not() -> None:
    deployed = modules(*sorted(PRODUCT))
    unknown = set(NOT_DEPLOYED.split())
    assert found(f"{one.path}: {one.imported & unknown}" for one in deployed
                 if one.imported & unknown) == []  # fmt: skip


def test_operations_draw_nothing() -> None:
    drawn = {"typer", "rich"}
    assert found(one.path for one in modules("operations") if one.imported & drawn) == []


def test_the_core_imports_nothing_that_acts() -> None:
    acts = set(ACTS.split())
    for module in CORE:
        pure = {name for name in module.imports if name.startswith(ONLY_READS_TEXT)}
        names = {name.split(".")[0] for name in module.imports - pure}
        assert not names & acts, f"{module.path} imports {names & acts}"


def test_only_the_declared_events_of_the_core_are_logged() -> None:
    assert found(one.path for one in CORE if "logging" in one.imported) == ["fleet/events.py"]


def test_the_core_has_no_clock() -> None:
    assert found(
        f"{module.path}:{node.lineno}"
        for module in CORE
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS
    ) == []  # fmt: skip


def test_modules_and_public_classes_say_what_they_are() -> None:
    assert found(
        f"{module.path}:{node.lineno if isinstance(node, ast.ClassDef) else 1}"
        for module in OURS
        for node in module.nodes
        if (isinstance(node, ast.ClassDef) and not node.name.startswith("_"))
        or (isinstance(node, ast.Module) and node.body)
        if not ast.get_docstring(node)
    ) == []  # fmt: skip


def test_nothing_catches_everything() -> None:
    assert found(
        f"{module.path}:{node.lineno}"
        for module in OURS + TESTS
        for node in module.nodes
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
        if module.path not in BROAD_EXCEPTS
    ) == []  # fmt: skip


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches every error and does not raise it again."""
    kind, last = handler.type, handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    names = [
        ast.unparse(one) for one in (kind.elts if isinstance(kind, ast.Tuple) else [kind]) if one
    ]
    return not names or bool({"Exception", "BaseException"} & set(names))


def test_tests_patch_nothing() -> None:
    calls = found(
        f"{module.path}:{node.lineno}"
        for module in TESTS
        for node in module.nodes
        if isinstance(node, ast.Call) and PATCHES.fullmatch(ast.unparse(node.func))
    )
    mocks = {"unittest.mock", "mock", "pytest_mock"}
    imports = found(m.path for m in TESTS if m.imports & mocks or "unittest" in m.imported)
    assert calls + imports == []


def test_errors_are_one_level_deep() -> None:
    """Step Functions matches names exactly: an error of an error would not be retried."""
    tree = errors.FleetError
    leaves = {one.__name__ for one in tree.__subclasses__() if one.__module__ == errors.__name__}
    assert leaves == {"Transient", "NoCapacity", "Refused", "BadDelivery"}
    assert all(f"── {name} " in (errors.__doc__ or "") for name in leaves)
    assert found(
        f"{module.path}:{one.name}"
        for module in OURS
        for one in module.classes
        if {ast.unparse(base).split(".")[-1] for base in one.bases} & {*leaves, tree.__name__}
    ) == found(f"fleet/errors.py:{name}" for name in leaves)  # fmt: skip


@pytest.mark.parametrize("error", [errors.FleetError, *errors.FleetError.__subclasses__()])
def test_an_error_says_what_happened_without_being_told(error: type[errors.FleetError]) -> None:
    meaning = (error.__doc__ or "").splitlines()[0]
    assert meaning.endswith(".")
    assert str(error()) == meaning


def test_names_say_something() -> None:
    assert found(
        f"{module.path}:{one.name}"
        for module in OURS
        for one in (*module.functions, *module.classes)
        if set(words(one.name)) & EMPTY_WORDS - gitlabs_words(module)
    ) == []  # fmt: skip


def test_one_noun_names_one_thing() -> None:
    names = Counter(
        one.name for module in OURS for one in module.classes if not one.name.startswith("_")
    )
    assert {name for name, times in names.items() if times > 1} <= SHARED_NOUNS


def test_file_names_say_something() -> None:
    paths = {Path(one.path).parent / Path(one.path).stem for one in OURS + TESTS}
    assert found(
        str(path) for path in paths for part in path.parts if set(words(part)) & EMPTY_FILE_NAMES
    ) == []  # fmt: skip


def words(name: str) -> list[str]:
    """`ReadHookBody` and `_read_hook_body` are the same three words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def gitlabs_words(module: Module) -> set[str]:
    """The empty words that are GitLab's own in this module."""
    return {
        word
        for folder, allowed in GITLABS_WORDS.items()
        if module.path.startswith(folder)
        for word in allowed
    }
