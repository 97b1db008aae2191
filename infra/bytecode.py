"""The functions' modules, compiled by a Python of the functions' version, whatever runs this.

With them a cold start takes half the time. Code of one version is of no use to another.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

Command = tuple[str, ...]
_SCRIPT = Path(__file__).with_name("bytecode_script.py")
_PRINT_VERSION = "import sys; print('{}.{}'.format(*sys.version_info))"
_LONGEST_S = 300.0  # uv may have to fetch it


def python_of(version: tuple[int, int]) -> Command | None:
    """The command of a Python of this version: this one, one on PATH, or uv's; None without one."""
    wanted = "{}.{}".format(*version)
    return next((command for command in _candidates(wanted) if _runs(command, wanted)), None)


def compiled(modules: Mapping[str, Path], python: Command) -> dict[str, bytes]:
    """The code of each module by its name in the zip, as this Python looks for it."""
    with TemporaryDirectory(prefix="runner-fleet-") as folder:
        paths = {name: str(path) for name, path in modules.items() if path.suffix == ".py"}
        request = {"folder": folder, "modules": paths}
        # The order of a set in the code follows the seed.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        subprocess.run(
            [*python, str(_SCRIPT)],
            input=json.dumps(request).encode(),
            env=environment,
            check=True,
            timeout=_LONGEST_S,
        )
        written = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in written}


def _candidates(wanted: str) -> Iterator[Command]:
    if wanted == "{}.{}".format(*sys.version_info):
        yield (sys.executable,)
    if path := shutil.which(f"python{wanted}"):
        yield (path,)
    # `uv` names itself where it runs this command; it fetches a Python that is not there.
    if uv := os.environ.get("UV") or shutil.which("uv"):
        yield (uv, "run", "--no-project", "--quiet", "--python", wanted, "python")


def _runs(command: Command, wanted: str) -> bool:
    """Whether it runs this version: a name on PATH may stand for one that is not installed."""
    try:
        done = subprocess.run(
            [*command, "-c", _PRINT_VERSION],
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == wanted
