"""The folder of a laptop is its user's alone."""

from pathlib import Path

from local.former_laptop import RECREATED, make_private, set_aside


def test_a_new_folder_and_an_open_one_are_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for name in ("open", "new"):
        make_private(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_deep_remains_of_a_job_do_not_keep_a_laptop_from_its_start(tmp_path: Path) -> None:
    deep = tmp_path / "guests"
    for name in RECREATED:
        (tmp_path / name).mkdir()
    for _ in range(5):
        deep /= "d" * 200
        deep.mkdir()
    set_aside(tmp_path)
    assert list(tmp_path.iterdir()) == []
