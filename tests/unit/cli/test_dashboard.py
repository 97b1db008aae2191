"""`dashboard`: what keeps it from being served."""

import socket

from tests.unit.cli.fleet_at_work import AtWork


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = AtWork().configure().run("dashboard", "--port", str(other.getsockname()[1]))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "--port 0" in line


def test_a_fleet_without_a_configuration_is_one_line() -> None:
    result = AtWork().run("dashboard", "--port", "0")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "runner-fleet apply" in result.stderr
