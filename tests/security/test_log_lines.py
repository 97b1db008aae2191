"""Lines that a job with root writes into its runner's log: read, whatever they are."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from fleet.machine.runner_log import RunnerLog, conclude, follow, read_log_line
from tests.security.test_webhook_door import json_values

MESSAGES = [
    "Starting runner for x",
    "Checking for jobs... received",
    "Image configured for job",
    "Job succeeded",
    f"Job failed: exit status {'9' * 5000}",
    "Appending trace to coordinator... ok",
    "Submitting job to coordinator... aborted",
]
RAW = [
    *("1e999", "-1e999", "NaN", "Infinity", "9" * 5000, '"1e999"', '"nan"', '"\uff11"', "[1]"),
    *('{"a": 1}', "true", "null", "-1", "1.5", '"\\ud800"', "[" * 10_000, '{"msg":' * 10_000),
]
FIELDS = ["job", "duration_s", "exit_code", "job-status", "repo_url", "image_name", "level", "msg"]


@pytest.mark.parametrize("value", RAW, ids=lambda value: value[:12])
@pytest.mark.parametrize("field", FIELDS)
def test_no_value_of_a_field_stops_the_reader(field: str, value: str) -> None:
    for message in MESSAGES:
        for line in (
            f'{{"msg": {json.dumps(message)}, "{field}": {value}}}',
            f'time="x" msg={json.dumps(message)} {field}={value}',
            f"FATAL: {message}    {field}={value}",
        ):
            read = read_log_line(line)
            if read is not None:
                log = conclude(follow(RunnerLog(), read), exit_code=1)
                assert log.job_id is None or abs(log.job_id) < 2**53


@settings(max_examples=200, deadline=None)
@given(value=json_values, text=st.text(max_size=80), message=st.sampled_from(MESSAGES))
def test_no_line_stops_the_reader(value: object, text: str, message: str) -> None:
    for line in (
        text,
        message + text,
        json.dumps(value),
        json.dumps({"msg": message, text: value}),
    ):
        read_log_line(line)


def test_lines_without_end_make_few_steps() -> None:
    log = RunnerLog()
    for number in range(5000):
        taken = read_log_line(f'{{"msg": "Checking for jobs... received", "job": {number}}}')
        assert taken is not None
        log = follow(log, taken)
    assert (len(log.steps), log.jobs) == (200, 5000)
    over = read_log_line('{"msg": "Job succeeded", "job": 4999}')
    assert over is not None
    assert follow(log, over).outcome == "succeeded"
