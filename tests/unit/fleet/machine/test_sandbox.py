"""Which invocation a sandbox refuses, and after which job it serves no other."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.machine.sandbox import FOREIGN_JOB, is_late, why_last

NOON = datetime(2026, 8, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(("left_s", "late"), [(1, False), (0, True), (-1, True)])
def test_an_event_is_late_from_its_end_on(left_s: int, late: bool) -> None:
    assert is_late(NOON + timedelta(seconds=left_s), NOON) is late


def test_an_event_without_an_end_is_never_late() -> None:
    assert not is_late(None, NOON)


@pytest.mark.parametrize(
    ("project", "repositories", "url", "why"),
    [
        pytest.param(None, ["acme/other"], "https://gitlab.example.com", None, id="of any"),
        pytest.param("acme/demo", ["acme/demo"], "https://gitlab.example.com", None, id="its own"),
        pytest.param("acme/demo", [], "https://gitlab.example.com/", None, id="no job"),
        pytest.param(
            "acme/demo",
            ["git/acme/demo"],
            "https://example.com/git/",
            None,
            id="GitLab below a path",
        ),
        pytest.param(
            "acme/demo",
            ["acme/demo", "acme/other"],
            "https://gitlab.example.com",
            FOREIGN_JOB,
            id="one of another",
        ),
    ],
)
def test_after_a_job_of_another_project_no_job_follows(
    project: str | None, repositories: list[str], url: str, why: str | None
) -> None:
    assert why_last(project, repositories, url=url) == why
