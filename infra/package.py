"""Pack what is deployed: one zip for the functions, one definition per state machine.

Keys carry the hash of the content, and the zip is the same byte for byte for the same sources, so a
deployment that changes nothing uploads nothing and updates nothing.
"""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from botocore.exceptions import ClientError

from infra.bytecode import Command, compiled
from infra.compose import compose, composed_text
from infra.image_sources import image_sources

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "infra" / "template.yaml"
MACHINES = ROOT / "infra" / "machines"
REQUIREMENTS = ROOT / "infra" / "runtime.txt"  # a link in a clone; a wheel has the lock itself
PACKAGES = ("adapters", "ec2_runner", "fleet", "lambda_runner", "orchestrator", "webhook")
RUNTIME = (3, 13)  # of the functions, as the template says
_PLATFORM = (
    "--platform",
    "manylinux2014_x86_64",
    "--python-version",
    "{}.{}".format(*RUNTIME),
    "--only-binary",
    ":all:",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """Where the code is, and the template: it is too long to be sent with a request."""

    bucket: str
    template_key: str
    code_key: str
    machines_prefix: str
    version: str = ""  # of the sources; see `sources_version`
    image_sources: str = ""  # the digest of what the images of this code are built from

    def parameters(self) -> dict[str, str]:
        """The template's parameters for it."""
        return {
            "CodeBucket": self.bucket,
            "CodeKey": self.code_key,
            "MachinesPrefix": self.machines_prefix,
            "Version": self.version,
            "ImageSources": self.image_sources,
        }


def functions_zip(
    root: Path = ROOT, *, dependencies: Path | None = None, python: Command | None = None
) -> bytes:
    """The functions' zip: our packages under `root`, and installed dependencies if given.

    `python`: the command of a Python of the functions' version (`python_of`). It compiles the
    modules, so that a cold start need not; Lambda could not keep them, as code is read-only there.
    """
    files = {str(path.relative_to(root)): path for path in _sources(root)}
    if dependencies is not None:
        installed = (path for path in dependencies.rglob("*") if path.is_file())
        files |= {
            str(path.relative_to(dependencies)): path for path in installed if _is_wanted(path)
        }
    contents = {name: path.read_bytes() for name, path in files.items()}
    if python is not None:
        contents |= compiled(files, python)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            archive.writestr(entry, contents[name])
    return packed.getvalue()


def sources_version(root: Path = ROOT) -> str:
    """The package's version, and eight digits of what is deployed of these sources.

    The stack says it in its output `Version`: other digits mean that `deploy` has something to do.
    """
    files = {str(path.relative_to(root)): path for path in _sources(root)}
    contents = [name.encode() + b"\0" + files[name].read_bytes() for name in sorted(files)]
    contents += [REQUIREMENTS.read_bytes(), TEMPLATE.read_bytes()]
    contents += [path.read_bytes() for path in sorted(MACHINES.glob("*.yaml"))]
    return f"{version('gitlab-runner-fleet')}+{_digest(*contents)[:8]}"


def parameter_names(template: Path = TEMPLATE) -> frozenset[str]:
    """The parameters that a template takes: a stack that was made from an older one has others."""
    return frozenset(compose(template.read_text())["Parameters"])


def machines(folder: Path = MACHINES) -> dict[str, bytes]:
    """The state machines by file name, as JSON, each composed with `parts.yaml` of its folder."""
    parts = (folder / "parts.yaml").read_text()
    return {
        f"{path.name.removesuffix('.yaml')}.json": _composed(parts + path.read_text())
        for path in sorted(folder.glob("*.asl.yaml"))
    }


def write_composed(folder: Path, *, template: Path = TEMPLATE) -> None:
    """Write what `upload` puts beside the code into `folder`, to be read and linted."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / template.name).write_text(composed_text(template.read_text()))
    for name, definition in machines(template.parent / "machines").items():
        (folder / name).write_bytes(definition)


def install_dependencies(target: Path, *, requirements: Path = REQUIREMENTS) -> Path:
    """Install what the functions import, for Lambda's platform, with pip; returns `target`."""
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    pinned = ("--require-hashes", "--no-deps", "--no-compile", "--requirement", str(requirements))
    subprocess.run([*pip, *_PLATFORM, *pinned, "--target", str(target)], check=True)
    return target


def upload(s3: "S3Client", bucket: str, code: bytes, *, template: Path = TEMPLATE) -> Uploaded:
    """Put what is not there yet: the zip, the state machines beside `template`, the template."""
    definitions = machines(template.parent / "machines")
    text = composed_text(template.read_text()).encode()
    uploaded = Uploaded(
        bucket=bucket,
        template_key=f"templates/{_digest(text)}.yaml",
        code_key=f"functions/{_digest(code)}.zip",
        machines_prefix=f"machines/{_digest(*(d for _, d in sorted(definitions.items())))}",
        version=sources_version(),
        image_sources=image_sources().digest,
    )
    objects = {f"{uploaded.machines_prefix}/{name}": body for name, body in definitions.items()}
    for key, body in (objects | {uploaded.code_key: code, uploaded.template_key: text}).items():
        if not _exists(s3, bucket, key):
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    return uploaded


def _composed(text: str) -> bytes:
    """A machine that may use the parts; parts without an alias are left out."""
    machine = yaml.load(text, Loader=yaml.CSafeLoader)
    del machine["Parts"]
    return json.dumps(machine, indent=1, sort_keys=True).encode()


def _sources(root: Path) -> Iterator[Path]:
    for package in PACKAGES:
        yield from (p for p in (root / package).rglob("*") if p.is_file() and _is_wanted(p))


def _is_wanted(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix != ".pyc"


def _digest(*contents: bytes) -> str:
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:20]


def _exists(s3: "S3Client", bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise
    return True


if __name__ == "__main__":
    write_composed(Path(sys.argv[1]))
