"""`python -m local.gitlab --port 0 --data DIR`: a simulated GitLab until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from local.gitlab.options import Options
from local.gitlab.server import Service, address, bind
from local.gitlab.world import GitLabWorld


def main() -> None:
    """Serve; one line of JSON on stdout says where, and with which token."""
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m local.gitlab", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--data", type=Path, required=True, help="repositories and artifacts")
    parser.add_argument("--gitlab-version", default=defaults.gitlab_version)
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the chaos switches")
    parser.add_argument(
        "--faster", type=float, default=1.0, help="divide GitLab's own time limits by this"
    )
    parser.add_argument(
        "--cancels-gracefully", action="store_true", help="canceling first, as newer GitLab does"
    )
    chosen = parser.parse_args()
    options = Options(
        gitlab_version=chosen.gitlab_version,
        seed=chosen.seed,
        timeouts=defaults.timeouts.compressed(chosen.faster),
        cancels_gracefully=chosen.cancels_gracefully,
    )
    bound = bind(chosen.port)
    world = GitLabWorld(chosen.data.resolve(), options=options, base_url=address(bound))

    service = Service(world)

    def announce() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, service.stop)
        sys.stdout.write(json.dumps({"url": world.base_url, "root_token": world.root_token}) + "\n")
        sys.stdout.flush()

    asyncio.run(service.run(bound, announce))


if __name__ == "__main__":
    main()
