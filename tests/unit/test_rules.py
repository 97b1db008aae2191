"""The architecture as tests: who may import whom, and what the core must not touch."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
    "orchestrator": {"fleet", "adapters", "orchestrator"},
    "infra": {"infra"},
    "operations": PRODUCT | {"infra", "operations"},
    "local": PRODUCT | {"infra", "operations", "local"},
    "monitor": PRODUCT | {"operations", "monitor"},
    "cli": PRODUCT | {"infra", "operations", "monitor", "cli"},
}
# So do the folders inside of two of them: what each may import of the others beside it.
MAY_IMPORT_INSIDE = {
    "fleet": set[str](),
    "fleet/config": {"fleet"},
    "fleet/machine": {"fleet"},
    "fleet/rules": {"fleet", "fleet/config", "fleet/machine"},
    "fleet/rules/problems": {"fleet", "fleet/config", "fleet/machine", "fleet/rules"},
    "adapters": set[str](),
    "adapters/aws": set[str](),
    "adapters/gitlab": set[str](),
    "adapters/guest": set[str](),
    "adapters/ledger": {"adapters/aws", "adapters/gitlab"},
    "adapters/machines": {"adapters/aws"},
}
# The commands that run the fleet on this machine, and what lists all commands, may import `local`.
LOCAL_COMMANDS = re.compile(r"cli/(demo|burst|chaos|local|machines|json_fields)\.py")

# What acts on the world, waits for it or looks at its clock.
ACTS = """
    asyncio boto3 botocore concurrent docker fastapi gitlab http httpx mangum multiprocessing os
    pydantic_settings queue random requests secrets shutil signal socket sqlite3 starlette
    subprocess tempfile threading time urllib uuid
"""
ONLY_READS_TEXT = "urllib.parse"
CLOCKS = {"now", "utcnow", "today"}
# For the command, the local engine and development, never deployed: not in requirements/runtime.in.
NOT_DEPLOYED = """
    httpx hypothesis jinja2 ministack multipart opentelemetry playwright prometheus_client pytest
    rich samtranslator svg typer uvicorn yaml
"""

EMPTY_WORDS = {"manager", "managers", "helper", "helpers", "util", "utils", "common"}
EMPTY_FILE_NAMES = EMPTY_WORDS | {"data", "info", "misc"}
# GitLab calls a gitlab-runner process a runner manager; the simulator of GitLab must, too.
GITLABS_WORDS = {"local/gitlab/": {"manager", "managers"}}
# The simulator and the stand-in runner have GitLab's own sight of GitLab's nouns.
SHARED_NOUNS = {"Environment", "Job", "Project", "Runner", "Variable", "Variables"}

PATCHES = re.compile(
    r"monkeypatch\.(setattr|setitem|delattr)|((\w+\.)?mock(er)?\.)?patch(\.\w+)*|(\w+\.)*\w*Mock"
)
FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:[ ]+[^\n]*\n|\n)*", flags=re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One file of ours, parsed where its nodes are asked for."""

    path: str  # from the root of the repository, with slashes

    @property
    def text(self) -> str:
        """What stands in the file."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All of them, the module itself first."""
        return nodes_of(self.path)

    @property
    def name(self) -> str:
        """The name by which others import it."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def imports(self) -> set[str]:
        """Every name that it imports, in full; `from a import b` gives `a.b`."""
        return names_in(r"^\s*", self.text)

    @property
    def imports_to_run(self) -> set[str]:
        """Those that it needs for more than types; one inside a function is late, and counts."""
        return names_in(r"^\s*", FOR_TYPES.sub("", self.text))

    @property
    def folder(self) -> str:
        """Its folder, from the root of the repository."""
        return Path(self.path).parent.as_posix()

    @property
    def imported(self) -> set[str]:
        return {name.split(".")[0] for name in self.imports}

    @property
    def names(self) -> set[str]:
        """Every name that it defines, uses or reads from an object."""
        fields = ("name", "id", "arg", "attr")
        values = [getattr(node, field, None) for node in self.nodes for field in fields]
        return {value for value in values if isinstance(value, str)}

    def all(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        return (node for node in self.nodes if isinstance(node, kinds))


def names_in(start: str, text: str) -> set[str]:
    """What is imported where a line starts so. Parsing would take a hundred times as long."""
    pattern = rf"{start}from ([\w.]+) import (\([^)]*\)|[^\n#]*)|{start}import ([\w.]+)"
    names = set()
    for base, listed, whole in re.findall(pattern, text, flags=re.MULTILINE):
        each = re.findall(r"(\w+)(?: as \w+)?\s*(?:,|\)|$)", re.sub("#.*", "", listed))
        names |= {f"{base}.{name}" for name in each} | ({whole} if whole else set())
    return names


@cache
def nodes_of(path: str) -> tuple[ast.AST, ...]:
    """The nodes of one file, which is parsed once."""
    return tuple(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(Module(path=path.relative_to(ROOT).as_posix()) for path in paths)


def saying(pattern: str, among: Iterable[Module]) -> list[Module]:
    """Those in which the pattern stands: the others need no parsing."""
    return [module for module in among if re.search(pattern, module.text)]


def ours() -> tuple[Module, ...]:
    """All files but the tests."""
    return modules(*MAY_IMPORT)


def core() -> tuple[Module, ...]:
    """The files that act on nothing."""
    return modules("fleet")


def of_tests() -> tuple[Module, ...]:
    return modules("tests")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    all_folders = {*MAY_IMPORT, "tests"}
    for module in modules(folder):
        more = {"local"} if LOCAL_COMMANDS.fullmatch(module.path) else set()
        wrong = module.imported & all_folders - MAY_IMPORT[folder] - more
        assert not wrong, f"{module.path} imports {wrong}"


@pytest.mark.parametrize("folder", MAY_IMPORT_INSIDE)
def test_imports_inside_a_folder_point_one_way(folder: str) -> None:
    top = Path(folder).parts[0]
    beside = {other for other in MAY_IMPORT_INSIDE if Path(other).parts[0] == top}
    not_for_it = beside - MAY_IMPORT_INSIDE[folder] - {folder}
    names = {module.name for module in ours() if module.folder in not_for_it}
    for module in modules(folder):
        wrong = in_ours(module.imports) & names if module.folder == folder else None
        assert not wrong, f"{module.path} imports {wrong}"


def test_each_folder_inside_has_a_direction() -> None:
    assert {module.folder for module in modules("fleet", "adapters")} == MAY_IMPORT_INSIDE.keys()


def in_ours(imports: Iterable[str]) -> set[str]:
    """The modules of ours that are named, or whose names are."""
    names = {module.name for module in ours()}
    return {name if name in names else name.rpartition(".")[0] for name in imports} & names


def test_no_imports_go_in_a_circle() -> None:
    remaining = {module.name: in_ours(module.imports_to_run) - {module.name} for module in ours()}
    while done := {name for name, needs in remaining.items() if not needs & remaining.keys()}:
        remaining = {name: needs for name, needs in remaining.items() if name not in done}
    assert remaining == {}


def test_the_product_imports_only_what_is_deployed_with_it() -> None:
    not_deployed = set(NOT_DEPLOYED.split())
    wrong = {m.path: m.imported & not_deployed for m in modules(*sorted(PRODUCT))}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_operations_draw_nothing() -> None:
    assert [m.path for m in modules("operations") if m.imported & {"typer", "rich"}] == []


def test_the_core_imports_nothing_that_acts() -> None:
    acts = set(ACTS.split())
    for module in core():
        pure = {name for name in module.imports if name.startswith(ONLY_READS_TEXT)}
        names = {name.split(".")[0] for name in module.imports - pure}
        assert not names & acts, f"{module.path} imports {names & acts}"


def test_only_the_declared_events_of_the_core_are_logged() -> None:
    assert [m.path for m in core() if "logging" in m.imported] == ["fleet/events.py"]


def test_the_core_has_no_clock() -> None:
    clocks = [(m.path, node.lineno) for m in core() for node in m.all(ast.Attribute)
              if node.attr in CLOCKS]  # fmt: skip
    assert clocks == []


def test_no_handler_swallows_every_error() -> None:
    suspects = saying(r"except\b[^:]*Exception\b|except\s*:", ours() + of_tests())
    broad = [(m.path, node.lineno) for m in suspects for node in m.all(ast.ExceptHandler)
             if is_broad(node)]  # fmt: skip
    assert broad == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches every error and does not raise it again."""
    kind, last = handler.type, handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    names = {ast.unparse(name) for name in kinds if name}
    return not names or bool({"Exception", "BaseException"} & names)


def test_tests_patch_nothing() -> None:
    calls = [(m.path, node.lineno) for m in saying("patch|Mock", of_tests())
             for node in m.all(ast.Call) if PATCHES.fullmatch(ast.unparse(node.func))]  # fmt: skip
    imports = [m.path for m in of_tests() if m.imported & {"unittest", "mock", "pytest_mock"}]
    assert (calls, imports) == ([], [])


def test_errors_are_one_level_deep() -> None:
    """Step Functions matches names exactly: an error of an error would not be retried."""
    tree = errors.FleetError
    leaves = {kind.__name__ for kind in tree.__subclasses__() if kind.__module__ == errors.__name__}
    assert leaves == {"Transient", "NoCapacity", "Refused", "BadDelivery"}
    assert all(f"── {name} " in (errors.__doc__ or "") for name in leaves)
    kinds = {
        (module.path, node.name)
        for module in saying(rf"class \w+\([^)]*({'|'.join(leaves)}|{tree.__name__})", ours())
        for node in module.all(ast.ClassDef)
        if {ast.unparse(base).split(".")[-1] for base in node.bases} & {*leaves, tree.__name__}
    }
    assert kinds == {("fleet/errors.py", name) for name in leaves}


@pytest.mark.parametrize("error", [errors.FleetError, *errors.FleetError.__subclasses__()])
def test_an_error_without_a_message_says_what_happened(error: type[errors.FleetError]) -> None:
    meaning = (error.__doc__ or "").splitlines()[0]
    assert meaning.endswith(".")
    assert str(error()) == meaning


def test_names_say_something() -> None:
    empty = [
        (module.path, node.name)
        for module in saying(rf"(?i)(def|class) \w*({'|'.join(EMPTY_WORDS)})", ours())
        for node in module.all(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if set(words(node.name)) & EMPTY_WORDS - gitlabs_words(module)
    ]
    assert empty == []


def test_one_noun_names_one_thing() -> None:
    names = Counter(
        name
        for module in ours()
        for name in re.findall(r"^\s*class (\w+)[:(]", module.text, flags=re.MULTILINE)
    )
    assert {name for name, times in names.items() if times > 1} <= SHARED_NOUNS


def test_file_names_say_something() -> None:
    parts = {
        (m.path, part) for m in ours() + of_tests() for part in Path(m.path).with_suffix("").parts
    }
    assert [path for path, part in parts if set(words(part)) & EMPTY_FILE_NAMES] == []


def test_no_prefix_tells_the_files_of_a_folder_apart() -> None:
    """Four files with one first word are a folder."""
    families = Counter(
        f"{Path(module.path).parent}/{words(Path(module.path).stem)[0]}_"
        for module in ours()
        if "_" in Path(module.path).stem.strip("_")
    )
    assert [family for family, count in families.items() if count > 3] == []


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
