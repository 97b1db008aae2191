"""What each answer of the runner API means."""

from __future__ import annotations

import json
import os
import re

import pytest

from local.stand_in.log import Log
from local.stand_in.options import RunnerOptions
from local.stand_in.protocol import Coordinator, JobState, PatchState, UpdateState
from local.stand_in.wire import Reply
from tests.unit.local.stand_in.jobs import job
from tests.unit.local.stand_in.recorded_wire import Recorded, reply

STATE = JobState(state="success", checksum="crc32:0", bytesize=0)


def talking(*replies: Reply, to_fd: int = -1) -> tuple[Coordinator, Recorded]:
    wire = Recorded(*replies)
    log = Log(shape="json", level="fatal" if to_fd < 0 else "debug", to_fd=to_fd)
    runner = RunnerOptions(token="glrt-abcdefghijk")
    return Coordinator(runner, system_id="s_1", wire=wire, log=log), wire


@pytest.mark.parametrize(
    ("answer", "has_job", "is_healthy"),
    [
        pytest.param(
            reply(201, b'{"id": 5}', content_type="application/json; charset=utf-8"),
            True,
            True,
            id="a job",
        ),
        pytest.param(reply(201, b'{"id": 5}', content_type="text/plain"), False, True, id="text"),
        pytest.param(reply(201, b"{", content_type="application/json"), False, True, id="broken"),
        pytest.param(reply(204), False, True, id="none"),
        pytest.param(reply(403), False, False, id="forbidden"),
        pytest.param(reply(409), False, True, id="raced"),
        pytest.param(reply(503), False, True, id="unavailable"),
        pytest.param(reply(-1), False, True, id="unreachable"),
    ],
)
def test_answers_to_the_question_for_a_job(answer: Reply, has_job: bool, is_healthy: bool) -> None:
    coordinator, _ = talking(answer)
    found, healthy = coordinator.request_job()
    assert (found is not None, healthy) == (has_job, is_healthy)


def test_last_update_is_kept_until_there_is_a_newer_one() -> None:
    coordinator, wire = talking(reply(204, x_gitlab_last_update="a"), reply(204), reply(204))
    for _ in range(3):
        coordinator.request_job()
    asked = [json.loads(body).get("last_update") for _, _, body, _ in wire.sent]
    assert asked == [None, "a", "a"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (reply(200), UpdateState.SUCCEEDED),
        (reply(200, job_status="running"), UpdateState.SUCCEEDED),
        (reply(200, job_status="canceling"), UpdateState.SUCCEEDED),
        (reply(200, job_status="canceled"), UpdateState.ABORT),
        (reply(200, job_status="failed"), UpdateState.ABORT),
        (reply(202), UpdateState.NOT_COMPLETED),
        (reply(412), UpdateState.TRACE_INVALID),
        (reply(403), UpdateState.ABORT),
        (reply(404), UpdateState.ABORT),
        (reply(500), UpdateState.FAILED),
        (reply(-1), UpdateState.FAILED),
    ],
)
def test_answers_to_a_state(answer: Reply, state: UpdateState) -> None:
    coordinator, _ = talking(answer)
    assert coordinator.update_job(job(), STATE)[0] is state


@pytest.mark.parametrize(
    ("answer", "state", "offset"),
    [
        (reply(202, range="0-15"), PatchState.SUCCEEDED, 15),
        (reply(202), PatchState.SUCCEEDED, 15),
        (reply(416, range="0-7"), PatchState.RANGE_MISMATCH, 7),
        (reply(416), PatchState.RANGE_MISMATCH, 0),
        (reply(404), PatchState.NOT_FOUND, 10),
        (reply(403), PatchState.ABORT, 10),
        (reply(202, job_status="canceled"), PatchState.ABORT, 10),
        (reply(200), PatchState.FAILED, 10),
        (reply(500), PatchState.FAILED, 10),
    ],
)
def test_answers_to_a_piece_of_log(answer: Reply, state: PatchState, offset: int) -> None:
    coordinator, wire = talking(answer)
    assert coordinator.patch_trace(job(), b"abcde", 10)[:2] == (state, offset)
    method, path, body, headers = wire.sent[0]
    assert (method, path, body) == ("PATCH", "jobs/5/trace?debug_trace=false", b"abcde")
    assert headers["Content-Range"] == "10-14"
    assert headers["JOB-TOKEN"] == job().token


@pytest.mark.parametrize(
    ("header", "interval"), [("60", 60), ("99999", 900), ("0", None), ("x", None), ("", None)]
)
def test_the_interval_gitlab_asks_for(header: str, interval: float | None) -> None:
    coordinator, _ = talking(reply(200, x_gitlab_trace_update_interval=header))
    assert coordinator.update_job(job(), STATE)[1].interval_s == interval


def test_a_state_is_told_with_reason_and_code_only_when_there_are_any() -> None:
    coordinator, wire = talking(reply(200), reply(200))
    coordinator.update_job(job(), STATE)
    failed = JobState(
        state="failed", checksum="c", bytesize=9, failure_reason="script_failure", exit_code=3
    )
    coordinator.update_job(job(), failed)
    good, bad = (json.loads(body) for _, _, body, _ in wire.sent)
    assert {"failure_reason", "exit_code"}.isdisjoint(good)
    assert (bad["failure_reason"], bad["exit_code"]) == ("script_failure", 3)
    assert bad["output"] == {"checksum": "c", "bytesize": 9}
    assert (bad["token"], bad["checksum"]) == (job().token, "c")


def test_artifact_calls_carry_the_right_token() -> None:
    coordinator, wire = talking(reply(201), reply(200))
    coordinator.upload_artifact(job(), "artifacts?x=1", lambda: [b"a"], {"Content-Type": "m"})
    coordinator.download_artifact(9, "other-token")
    (_, up, _, up_headers), (_, down, _, down_headers) = wire.sent
    assert (up, up_headers["JOB-TOKEN"]) == ("jobs/5/artifacts?x=1", job().token)
    assert down == "jobs/9/artifacts?direct_download=true"
    assert down_headers["JOB-TOKEN"] == "other-token"


def test_the_log_has_the_words_and_fields_a_follower_looks_for() -> None:
    reading, writing = os.pipe()
    answers = (reply(202, range="0-5", job_status="running"), reply(403), reply(500))
    coordinator, _ = talking(*answers, to_fd=writing)
    coordinator.patch_trace(job(), b"abcde", 0)
    coordinator.update_job(job(), STATE)
    coordinator.update_job(job(), STATE)
    os.close(writing)
    with os.fdopen(reading) as file:
        lines = [json.loads(line) for line in file]
    sent, _, refused, _, failed = lines
    assert sent["msg"] == "Appending trace to coordinator...ok"
    assert (sent["sent-log"], sent["job-log"], sent["job-status"]) == ("0-4", "0-5", "running")
    assert (sent["runner"], sent["job"], sent["code"]) == ("abcdefghi", 5, 202)
    assert (refused["msg"], refused["level"]) == (
        "Submitting job to coordinator...job failed",
        "warning",
    )
    assert failed["msg"] == "Submitting job to coordinator...failed"


def test_a_question_says_what_this_runner_is_and_can() -> None:
    coordinator, wire = talking(reply(204), reply(204))
    coordinator.request_job()
    method, path, body, headers = wire.sent[0]
    asked = json.loads(body)
    assert (method, path) == ("POST", "jobs/request")
    assert (asked["token"], asked["system_id"]) == ("glrt-abcdefghijk", "s_1")
    about = asked["info"]
    assert (about["name"], about["platform"], about["executor"]) == (
        "gitlab-runner",
        "linux",
        "shell",
    )
    assert about["config"] == {"gpus": ""}
    assert set(about["features"]) == {
        *("variables", "artifacts", "cache", "fallback_cache_keys", "shared", "refspecs"),
        *("masking", "upload_multiple_artifacts", "upload_raw_artifacts", "raw_variables"),
        *("artifacts_exclude", "multi_build_steps", "trace_reset", "trace_checksum"),
        *("trace_size", "cancelable", "return_exit_code", "cancel_gracefully"),
    }
    assert all(value is True for value in about["features"].values())
    assert headers["PRIVATE-TOKEN"] == "glrt-abcdefghijk"
    assert re.fullmatch(r"gitlab-runner \S+ \(stand-in; linux/\w+\)", headers["User-Agent"])


def test_every_answer_to_a_question_leaves_its_line_in_the_log() -> None:
    reading, writing = os.pipe()
    answers = [
        reply(201, b'{"id": 5}', content_type="application/json"),
        reply(201, b"{", content_type="application/json"),
        reply(403),
        reply(204),
        reply(500),
    ]
    coordinator, _ = talking(*answers, to_fd=writing)
    for _ in answers:
        coordinator.request_job()
    os.close(writing)
    with os.fdopen(reading) as file:
        lines = [json.loads(line) for line in file]
    told = [(line["level"], line["msg"].removeprefix("Checking for jobs... ")) for line in lines]
    assert told == [
        ("info", "received"),
        ("warning", "failed"),
        ("error", "forbidden"),
        ("debug", "no content"),
        ("warning", "failed"),
    ]


@pytest.mark.parametrize(
    ("said", "nanoseconds"), [("60", 60_000_000_000), ("901", 900_000_000_000), ("", 0), ("x", 0)]
)
def test_the_interval_is_logged_in_nanoseconds_as_the_real_runner_does(
    said: str, nanoseconds: int
) -> None:
    reading, writing = os.pipe()
    answer = reply(202, x_gitlab_trace_update_interval=said, job_status="running")
    coordinator, _ = talking(answer, to_fd=writing)
    coordinator.patch_trace(job(), b"x", 0)
    os.close(writing)
    with os.fdopen(reading) as file:
        line = json.loads(file.read())
    assert line["update-interval"] == nanoseconds
    assert (line["msg"], line["code"], line["job-status"]) == (
        "Appending trace to coordinator...ok",
        202,
        "running",
    )


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (200, "ok"),
        (202, "accepted, but not yet completed"),
        (412, "trace validation failed"),
        (403, "job failed"),
        (500, "failed"),
    ],
)
def test_the_log_says_what_became_of_a_state_in_the_real_runners_words(
    status: int, word: str
) -> None:
    reading, writing = os.pipe()
    coordinator, _ = talking(reply(status), to_fd=writing)
    coordinator.update_job(job(), STATE)
    os.close(writing)
    with os.fdopen(reading) as file:
        updating, submitted = (json.loads(line) for line in file)
    assert updating["msg"] == "Updating job..."
    assert submitted["msg"] == f"Submitting job to coordinator...{word}"
    assert (submitted["checksum"], submitted["job"]) == ("crc32:0", 5)
