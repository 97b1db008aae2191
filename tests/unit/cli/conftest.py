"""The words of the command, once: each screen whole in `screens/<name>.txt`.

`pytest --golden tests/unit/cli` writes them anew; the difference is for reading.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.private_ca import PrivateCa, make_ca
from tests.unit.cli.fleet_at_work import FLEET

FOLDER = Path(__file__).with_name("screens")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The switch that writes the screens."""
    parser.addoption("--golden", action="store_true", help="write tests/unit/cli/screens anew")


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCa:
    """A private certificate authority: openssl takes its time."""
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fleet.toml of the folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


@pytest.fixture
def screen(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the screen of this name; blanks at the ends of lines do not count."""

    def compare(name: str, text: str) -> None:
        path = FOLDER / f"{name}.txt"
        lines = [line.rstrip() for line in text.strip("\n").splitlines()]
        if request.config.getoption("--golden", default=False):
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert lines == path.read_text(encoding="utf-8").splitlines()

    return compare
