"""The REST API, call by call: `rest/*.txt`, written as `transcript` says.

Source: GitLab docs, "REST API" and the pages of its resources; for runners also gitlab-runner's
network/gitlab.go and GitLab's lib/api/ci/runner.rb.
"""

from pathlib import Path

import pytest

from tests.unit.local.gitlab.transcript import cases, play


@pytest.mark.parametrize("lines", cases(Path(__file__).with_name("rest")))
def test_each_call_has_its_answer(lines: list[str], tmp_path: Path) -> None:
    play(lines, tmp_path)
