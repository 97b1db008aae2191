"""What the images of the machines are built from: the same bytes for the same sources.

The digest of these bytes names what is built from them, so an image is built once.
"""

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "infra" / "runner.Dockerfile"
PACKAGES = ("adapters", "ec2_runner", "fleet", "lambda_runner")
LOCKS = ("agent", "sandbox", "tools")  # links in a clone; a wheel has the locks themselves
_GIVEN, _NOTHING_GIVEN = "given/", "given/README"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSources:
    """The files by their names in the build's context. Programs among them may be run."""

    files: Mapping[str, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits for the sources' names and contents; given files aside."""
        return _digest({k: v for k, v in self.files.items() if not k.startswith(_GIVEN)})

    @property
    def given(self) -> Mapping[str, str]:
        """The digest of each file of the build machine, by its name."""
        return {
            name: _digest({name: content})
            for name, content in self.files.items()
            if name.startswith(_GIVEN) and name != _NOTHING_GIVEN
        }

    def zip(self) -> bytes:
        """The files as a zip, the source of a CodeBuild project."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(self.files.items()):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = _mode(content) << 16
                archive.writestr(entry, content)
        return packed.getvalue()

    def tar(self) -> bytes:
        """The files as a tar, the build context of a Docker engine."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), _mode(content)
                archive.addfile(entry, io.BytesIO(content))
        return packed.getvalue()


def image_sources(root: Path = ROOT, *, given: Mapping[str, Path] | None = None) -> ImageSources:
    """The build's context from the sources below `root`.

    `given`: files of the build machine for the context's folder `given/`, by the names that the
    Dockerfile knows: `gitlab-runner` and `ca.crt`.
    """
    folder = root / "infra"
    files = {"Dockerfile": folder / DOCKERFILE.name}
    files |= {f"runner_image/{path.name}": path for path in _files(folder / "runner_image")}
    files |= {f"requirements/{name}.txt": folder / f"{name}.txt" for name in LOCKS}
    for package in PACKAGES:
        files |= {str(path.relative_to(root)): path for path in _files(root / package)}
    files |= {f"{_GIVEN}{name}": path for name, path in (given or {}).items()}
    contents = {name: path.read_bytes() for name, path in files.items()}
    return ImageSources(files={_NOTHING_GIVEN: b"Files of the build machine.\n"} | contents)


def arguments(dockerfile: Path = DOCKERFILE) -> dict[str, str]:
    """The build's arguments and what they are by default."""
    arguments = re.findall(r"^ARG (\w+)=(.*)$", dockerfile.read_text(), re.MULTILINE)
    return dict(arguments)


def _digest(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return (path for path in paths if "__pycache__" not in path.parts and path.suffix != ".pyc")


def _mode(content: bytes) -> int:
    return 0o755 if content[:2] == b"#!" or content[:4] == b"\x7fELF" else 0o644
