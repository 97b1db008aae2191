"""Compiles modules for the Python that runs this, which may be another than the fleet's own.

Reads `{"folder": <where to write>, "modules": {<name in the zip>: <source file>}}` from standard
input. Only the standard library is here.
"""

import json
import py_compile
import sys
from importlib.util import cache_from_source
from pathlib import Path

# Checking the source would cost the time saved.
MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main() -> None:
    """Write each module's code below the folder, by its name in the zip."""
    request = json.load(sys.stdin)
    for name, source in request["modules"].items():
        target = Path(request["folder"], cache_from_source(name, optimization=""))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            py_compile.compile(
                source, str(target), f"/var/task/{name}", doraise=True, invalidation_mode=MODE
            )
        except py_compile.PyCompileError:
            continue  # a package may ship a template with the suffix .py


if __name__ == "__main__":
    main()
