"""`runner-fleet import-config`: a fleet.toml proposed from gitlab-runner's config.toml."""

from pathlib import Path
from typing import Annotated

import typer

from cli.lines import say, say_json, say_log
from cli.options import AsJson
from cli.validate import read_text
from fleet.config.from_runner import Carry, propose
from fleet.words import counted

File = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, readable=True, help="gitlab-runner's config.toml."),
]


def import_config(
    path: File = Path("/etc/gitlab-runner/config.toml"), *, as_json: AsJson = False
) -> None:
    """Propose a fleet.toml from a config.toml of gitlab-runner.

    The proposal is on standard output; on standard error is a line for each key of the file: kept,
    changed or left out. Tokens, keys and passwords are in neither. The exit code is 1
    where no runner carries over.

    Example: runner-fleet import-config config.toml > fleet.toml
    """
    proposal = propose(read_text(path), name=path.name)
    if as_json:
        lines = [
            {
                "line": finding.line,
                "key": finding.key,
                "becomes": finding.result.value,
                "says": finding.note,
            }
            for finding in proposal.lines
        ]
        say_json({"fleet_toml": proposal.text, "pools": proposal.pools, "lines": lines}, indent=2)
    else:
        say_log(proposal.text, raw=False)
        for finding in proposal.lines:
            where = f"{path.name} line {finding.line}" if finding.line else "fleet.toml"
            say(f"{where}: {finding.key}: {finding.result}: {finding.note}", err=True)
        left_out = sum(finding.result is Carry.LEFT_OUT for finding in proposal.lines)
        say(
            f"{counted(len(proposal.pools), 'pool')} proposed;"
            f" {left_out} of {len(proposal.lines)} lines do not carry over",
            err=True,
        )
    if not proposal.pools:
        raise typer.Exit(1)
