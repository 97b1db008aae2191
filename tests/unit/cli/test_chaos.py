"""`local chaos`: its options, and what it says of a name that there is not."""

from typer.testing import CliRunner

from cli.local import app
from local.chaos.faults import FAULTS


def test_the_list_names_every_fault_and_runs_none() -> None:
    done = CliRunner().invoke(app, ["chaos", "--list"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines] == [fault.name for fault in FAULTS]
    assert FAULTS[0].about in lines[0]


def test_an_unknown_fault_is_told_with_those_that_there_are() -> None:
    done = CliRunner().invoke(app, ["chaos", "--fault", "sunshine"])
    assert done.exit_code == 2
    assert 'no fault is called "sunshine"' in done.output
    assert "lost-webhooks" in done.output


def test_no_seed_is_no_run() -> None:
    assert CliRunner().invoke(app, ["chaos", "--seeds", "0"]).exit_code == 2
