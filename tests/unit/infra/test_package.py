"""Packing: the same sources give the same bytes, and only what is new is uploaded."""

import json
import marshal
import sys
import zipfile
from importlib.metadata import version
from importlib.util import MAGIC_NUMBER
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from infra import package
from infra.bytecode import compiled, python_of
from infra.compose import compose
from infra.image_sources import image_sources
from tests.unit.infra.documents import resources


class Bucket:
    """As much of S3 as an upload needs."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.code = "404"

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": self.code}}, "HeadObject")
        return {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803
        self.objects[Key] = Body
        self.puts.append(Key)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, text in {
        "fleet/model.py": "A = 1\n",
        "webhook/app.py": "B = 2\n",
        "webhook/__pycache__/app.cpython-311.pyc": "junk",
        "ec2_runner/boot.sh": "#!/bin/bash\n",
        "tests/test_x.py": "not ours to deploy\n",
        "local/aws/engine.py": "not ours to deploy\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(packed: bytes) -> list[str]:
    return zipfile.ZipFile(BytesIO(packed)).namelist()


def test_only_what_functions_import_is_packed_and_can_be_read_and_run(sources: Path) -> None:
    archive = zipfile.ZipFile(BytesIO(package.functions_zip(sources)))
    modes = {entry.filename: oct(entry.external_attr >> 16) for entry in archive.infolist()}
    assert modes == {  # Lambda's user is not the one that packs
        "ec2_runner/boot.sh": "0o755",
        "fleet/model.py": "0o644",
        "webhook/app.py": "0o644",
    }


def test_the_same_sources_give_the_same_bytes(sources: Path) -> None:
    first = package.functions_zip(sources)
    (sources / "fleet" / "model.py").touch()
    (sources / "fleet" / "model.py").chmod(0o600)
    assert package.functions_zip(sources) == first
    (sources / "fleet" / "model.py").write_text("A = 2\n")
    assert package.functions_zip(sources) != first


HERE = sys.version_info[:2]


def with_modules(tmp_path: Path) -> Path:
    """A folder of installed dependencies."""
    folder = tmp_path / "installed" / "dependency"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("NAME = 'dependency'\n")
    (folder / "template.py").write_text("class {{ name }}:\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "old.pyc").write_text("junk")
    return folder.parent


def test_compiled_modules_come_with_dependencies(sources: Path, tmp_path: Path) -> None:
    installed = with_modules(tmp_path)
    python = python_of(HERE)
    packed = package.functions_zip(sources, dependencies=installed, python=python)
    assert packed == package.functions_zip(sources, dependencies=installed, python=python)
    tag = sys.implementation.cache_tag
    compiled = [name for name in names(packed) if name.endswith(".pyc")]
    assert compiled == [
        f"dependency/__pycache__/__init__.{tag}.pyc",
        f"fleet/__pycache__/model.{tag}.pyc",
        f"webhook/__pycache__/app.{tag}.pyc",
    ]
    code = zipfile.ZipFile(BytesIO(packed)).read(compiled[1])
    assert code[:4] == MAGIC_NUMBER
    assert int.from_bytes(code[4:8], "little") == 0b01, "by hash, and never checked"
    assert marshal.loads(code[16:]).co_filename == "/var/task/fleet/model.py"


def test_dependencies_lie_beside_our_packages_uncompiled_without_the_functions_python(
    sources: Path, tmp_path: Path
) -> None:
    packed = package.functions_zip(sources, dependencies=with_modules(tmp_path))
    assert names(packed) == [
        "dependency/__init__.py",
        "dependency/template.py",
        "ec2_runner/boot.sh",
        "fleet/model.py",
        "webhook/app.py",
    ]


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("place", ["PATH", "uv on PATH", "the uv that runs this"])
def test_another_python_of_the_functions_version_compiles(
    place: str, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a program that says it is 3.99, and compiles with this one."""
    folder = tmp_path / "bin"
    says = f'[ "$1" = -c ] && echo 3.99 && exit; exec {sys.executable} "$@"'
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("UV", raising=False)
    if place == "PATH":
        expected: tuple[str, ...] = (str(program(folder, "python3.99", says)),)
    else:
        order = "run --no-project --quiet --python 3.99 python"
        check = f'[ "$1 $2 $3 $4 $5 $6" = "{order}" ] || exit 2; shift 6'
        uv = program(folder, "uv" if "PATH" in place else "other", f"{check}; {says}")
        monkeypatch.setenv("UV", "" if "PATH" in place else str(uv))
        expected = (str(uv), *order.split())
    python = python_of((3, 99))
    assert python == expected
    model = sources / "fleet" / "model.py"
    (name,) = compiled({"fleet/model.py": model}, python)
    assert name == f"fleet/__pycache__/model.{sys.implementation.cache_tag}.pyc"


@pytest.mark.parametrize("text", ["exit 1", "echo 3.11"])
def test_a_name_that_stands_for_no_such_python_is_passed_over(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "python3.99", text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("UV", raising=False)
    assert python_of((3, 99)) is None


def test_the_runtime_is_the_template_s() -> None:
    runtimes = {
        function["Properties"].get("Runtime") for function in resources("Lambda::Function").values()
    }
    assert runtimes == {"python{}.{}".format(*package.RUNTIME), None}


def test_state_machines_are_uploaded_as_plain_json() -> None:
    definitions = package.machines()
    assert sorted(definitions) == [
        f"{name}.asl.json" for name in ("reconcile", "route", "scale", "settle")
    ]
    for text in definitions.values():
        machine = json.loads(text)
        assert machine["StartAt"] in machine["States"]
        assert "Parts" not in machine


def test_a_machine_is_composed_of_parts_and_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "parts.yaml").write_text("Parts:\n  - &end {Type: Succeed, Comment: shared}\n")
    (tmp_path / "a.asl.yaml").write_text("States: {A: *end, B: {<<: *end, Comment: own}}\n")
    assert json.loads(package.machines(tmp_path)["a.asl.json"]) == {
        "States": {
            "A": {"Type": "Succeed", "Comment": "shared"},
            "B": {"Type": "Succeed", "Comment": "own"},
        }
    }


def test_nothing_new_is_uploaded_twice(sources: Path) -> None:
    bucket, code = Bucket(), package.functions_zip(sources)
    first = package.upload(bucket, "code", code)  # type: ignore[arg-type]
    assert len(bucket.puts) == 6
    assert package.upload(bucket, "code", code) == first  # type: ignore[arg-type]
    assert len(bucket.puts) == 6
    (sources / "fleet" / "model.py").write_text("A = 3\n")
    again = package.upload(bucket, "code", package.functions_zip(sources))  # type: ignore[arg-type]
    assert bucket.puts[6:] == [again.code_key]
    assert again.machines_prefix == first.machines_prefix


def test_the_version_of_the_sources_follows_what_is_deployed(sources: Path) -> None:
    before = package.sources_version(sources)
    assert before.partition("+")[0] == version("gitlab-runner-fleet")
    (sources / "tests/test_x.py").write_text("other\n")
    assert package.sources_version(sources) == before
    (sources / "fleet/model.py").write_text("A = 2\n")
    assert package.sources_version(sources) != before


def test_the_uploaded_objects_are_where_the_parameters_say(sources: Path, tmp_path: Path) -> None:
    bucket, code = Bucket(), package.functions_zip(sources)
    uploaded = package.upload(bucket, "code", code)  # type: ignore[arg-type]
    assert uploaded.parameters() == {
        "CodeBucket": "code",
        "CodeKey": uploaded.code_key,
        "MachinesPrefix": uploaded.machines_prefix,
        "Version": package.sources_version(),
        "ImageSources": image_sources().digest,
    }
    package.write_composed(tmp_path / "build")
    written = {path.name: path.read_bytes() for path in (tmp_path / "build").iterdir()}
    template = written.pop("template.yaml")
    assert bucket.objects == {
        uploaded.code_key: code,
        uploaded.template_key: template,
        **{f"{uploaded.machines_prefix}/{name}": text for name, text in written.items()},
    }
    assert yaml.load(template, Loader=yaml.CSafeLoader) == compose(package.TEMPLATE.read_text())
    # CloudFormation takes 51,200 bytes in a request and 1 MB from S3.
    assert len(template) < 1_000_000


def test_a_changed_machine_has_a_new_prefix(tmp_path: Path) -> None:
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "parts.yaml").write_text("Parts: []\n")
    template = tmp_path / "template.yaml"
    template.write_text("Resources: {}\n")
    machine = tmp_path / "machines" / "route.asl.yaml"
    prefixes = set()
    for text in ("Comment: one\n", "Comment: two\n"):
        machine.write_text(text)
        uploaded = package.upload(Bucket(), "code", b"", template=template)  # type: ignore[arg-type]
        prefixes.add(uploaded.machines_prefix)
    assert len(prefixes) == 2


def test_a_bucket_that_refuses_is_an_error(sources: Path) -> None:
    bucket = Bucket()
    bucket.code = "403"
    with pytest.raises(ClientError, match="403"):
        package.upload(bucket, "code", b"")  # type: ignore[arg-type]
