"""The API that gitlab-runner speaks, code by code and header by header."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site

OpenSite = Callable[..., Site]
TWO_STAGES = """
    stages: [build, test]
    build: {stage: build, script: [make], artifacts: {paths: [out/]}}
    unit: {stage: test, script: [make test]}
"""


def archive(**files: str) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in files.items():
            target.writestr(f"out/{name}.txt", text)
    return buffer.getvalue()


def test_verify_knows_its_runners(machine: Machine) -> None:
    answer = machine.verify()
    assert answer.status_code == 200
    assert answer.json() == {"id": 1, "token": machine.token, "token_expires_at": None}
    machine.token = "glrt-unknown"
    refused = machine.verify()
    assert (refused.status_code, refused.json()) == (403, {"message": "403 Forbidden"})


def test_no_job_is_204_and_an_unknown_runner_403(machine: Machine) -> None:
    assert machine.ask().status_code == 204
    machine.token = "glrt-unknown"
    assert machine.ask().status_code == 403


def test_the_token_may_come_in_a_header_alone(site: Site, machine: Machine) -> None:
    answer = machine.raw("POST", "/jobs/request", json={}, headers={"RUNNER-TOKEN": machine.token})
    assert answer.status_code == 204


def test_a_job_is_handed_out_once_as_json(site: Site, machine: Machine) -> None:
    site.start()
    answer = machine.ask()
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("application/json")
    job = answer.json()
    assert job["job_info"]["name"] == "unit"
    assert job["steps"][0]["script"] == ["make test"]
    assert machine.ask().status_code == 204
    assert site.statuses() == {"unit": "running"}


def test_a_paused_runner_gets_nothing(site: Site, machine: Machine) -> None:
    site.start()
    site.client.runners.update(1, {"paused": True})
    assert machine.ask().status_code == 204
    site.client.runners.update(1, {"paused": False})
    assert machine.ask().status_code == 201


def test_last_update_makes_the_next_question_cheap_until_something_changes(
    site: Site, machine: Machine
) -> None:
    seen = machine.ask().headers["x-gitlab-last-update"]
    again = machine.ask(last_update=seen)
    assert (again.status_code, again.headers["x-gitlab-last-update"]) == (204, seen)
    site.start()
    assert machine.ask(last_update=seen).status_code == 201


def test_after_a_job_the_next_question_is_never_cheap(site: Site, machine: Machine) -> None:
    site.start("a: {script: [x]}\nb: {script: [x]}\n")
    seen = machine.ask().headers["x-gitlab-last-update"]
    assert machine.ask(last_update=seen).status_code == 201


def test_long_polling_holds_the_question_while_nothing_changes(open_site: OpenSite) -> None:
    site = open_site(long_poll_s=0.3)
    with Machine(site.server.url, site.register("ec2")) as machine:
        seen = machine.ask().headers["x-gitlab-last-update"]
        held = machine.ask(last_update=seen)
    assert held.status_code == 204
    assert held.elapsed.total_seconds() >= 0.3


def test_the_log_is_appended_piece_by_piece(site: Site, machine: Machine) -> None:
    seeded = site.start()
    job = machine.take()
    first = machine.append(job, b"hello ")
    assert first.status_code == 202
    assert first.headers["range"] == "0-6"
    assert first.headers["job-status"] == "running"
    assert first.headers["x-gitlab-trace-update-interval"] == "3"
    assert machine.append(job, b"world\n", at=6).headers["range"] == "0-12"
    trace = site.project(seeded).jobs.get(job["id"]).trace()
    assert trace == b"hello world\n"


@pytest.mark.parametrize("offset", [0, 3, 9])
def test_a_wrong_offset_is_answered_with_the_right_one(
    site: Site, machine: Machine, offset: int
) -> None:
    site.start()
    job = machine.take()
    machine.append(job, b"hello")
    answer = machine.append(job, b"world", at=offset)
    assert answer.status_code == 416
    assert answer.headers["range"] == "0-5"


def test_the_log_needs_a_range_and_the_jobs_own_token(site: Site, machine: Machine) -> None:
    site.start()
    job = machine.take()
    path = f"/jobs/{job['id']}/trace"
    no_range = machine.raw("PATCH", path, content=b"x", headers={"JOB-TOKEN": job["token"]})
    assert no_range.status_code == 400
    assert machine.append({**job, "token": "glcbt-64_wrong"}, b"x").status_code == 403


def test_a_log_that_grows_too_large_fails_the_job(open_site: OpenSite) -> None:
    site = open_site(trace_limit_bytes=10)
    site.start()
    with Machine(site.server.url, site.register("ec2")) as machine:
        job = machine.take()
        assert machine.append(job, b"0123456789").status_code == 202
        assert machine.append(job, b"x", at=10).status_code == 403
    found = site.server.ask(lambda world: world.ci.jobs[1].failure_reason)
    assert found == "trace_size_exceeded"


def test_a_touch_keeps_the_job_running(site: Site, machine: Machine) -> None:
    site.start()
    job = machine.take()
    answer = machine.report(job, "running", output={"checksum": "crc32:363a3020", "bytesize": 6})
    assert (answer.status_code, answer.headers["job-status"]) == (200, "running")
    assert site.statuses() == {"unit": "running"}


def test_success_ends_the_job_and_its_token(site: Site, machine: Machine) -> None:
    site.start()
    job = machine.take()
    answer = machine.report(job, "success", checksum="crc32:363a3020")
    assert (answer.status_code, answer.json()) == (200, 200)
    assert site.statuses() == {"unit": "success"}
    for late in (machine.report(job, "failed"), machine.append(job, b"late")):
        assert (late.status_code, late.headers["job-status"]) == (403, "success")


@pytest.mark.parametrize(
    "reason", ["script_failure", "runner_system_failure", "runner_interrupted"]
)
def test_a_failure_keeps_its_reason_and_exit_code(
    site: Site, machine: Machine, reason: str
) -> None:
    seeded = site.start()
    machine.finish("failed", failure_reason=reason, exit_code=3)
    job = site.project(seeded).jobs.get(1)
    assert (job.status, job.failure_reason) == ("failed", reason)
    assert site.server.ask(lambda world: world.ci.jobs[1].exit_code) == 3


def test_a_job_of_another_runner_cannot_be_reported_on(site: Site, machine: Machine) -> None:
    site.start("a: {script: [x]}\nb: {script: [x]}\n")
    first, second = machine.take(), machine.take()
    mixed = {**first, "token": second["token"]}
    assert machine.report(mixed, "success").status_code == 403
    assert machine.report({**first, "id": 999}, "success").status_code == 403


def test_a_canceled_job_is_told_at_the_next_word(site: Site, machine: Machine) -> None:
    seeded = site.start()
    job = machine.take()
    site.project(seeded).jobs.get(job["id"]).cancel()
    for answer in (machine.append(job, b"x"), machine.report(job, "running")):
        assert answer.status_code == 403
        assert answer.headers["job-status"] == "canceled"


def test_a_gracefully_canceled_job_may_finish_its_log(open_site: OpenSite) -> None:
    site = open_site(cancels_gracefully=True)
    seeded = site.start()
    with Machine(site.server.url, site.register("ec2")) as machine:
        job = machine.take()
        site.project(seeded).jobs.get(job["id"]).cancel()
        answer = machine.append(job, b"after_script\n")
        assert (answer.status_code, answer.headers["job-status"]) == (202, "canceling")
        assert machine.report(job, "failed").status_code == 200
    assert site.statuses() == {"unit": "canceled"}


def test_artifacts_travel_from_one_job_to_the_next(site: Site, machine: Machine) -> None:
    seeded = site.start(TWO_STAGES)
    built = machine.take()
    assert built["artifacts"][0]["paths"] == ["out/"]
    content = archive(a="built")
    assert machine.upload(built, content, expire_in="1 week").status_code == 201
    machine.report(built, "success")
    job = machine.take()
    (dependency,) = job["dependencies"]
    assert dependency["artifacts_file"] == {"filename": "artifacts.zip", "size": len(content)}
    answer = machine.download(dependency["id"], dependency["token"])
    assert (answer.status_code, answer.content) == (200, content)
    project = site.project(seeded)
    assert project.jobs.get(built["id"]).artifacts() == content
    assert project.jobs.get(built["id"]).artifact("out/a.txt") == b"built"
    assert project.jobs.get(built["id"]).artifacts_file["size"] == len(content)


def test_reports_are_taken_but_are_no_archive(site: Site, machine: Machine) -> None:
    site.start(TWO_STAGES)
    built = machine.take()
    assert (
        machine.upload(built, b"gzip", artifact_type="junit", artifact_format="gzip").status_code
        == 201
    )
    machine.report(built, "success")
    assert machine.take()["dependencies"] == []


def test_artifacts_are_guarded(site: Site, machine: Machine) -> None:
    site.start(TWO_STAGES)
    built = machine.take()
    assert machine.upload({**built, "token": "glcbt-64_wrong"}, b"x").status_code == 403
    machine.upload(built, archive(a="x"))
    machine.report(built, "success")
    assert machine.upload(built, b"late").status_code == 403
    assert machine.download(built["id"], "glcbt-64_wrong").status_code == 401
    running = machine.take()
    assert machine.download(built["id"], running["token"]).status_code == 200
    assert machine.download(running["id"], running["token"]).status_code == 404


def test_a_machine_can_be_taken_off_its_runner(site: Site, machine: Machine) -> None:
    machine.ask()
    identity = {"token": machine.token, "system_id": machine.system_id}
    assert machine.delete("/runners/managers", **identity).status_code == 204
    assert machine.delete("/runners/managers", **identity).status_code == 404
    assert machine.delete("/runners/managers", token=machine.token).status_code == 400
    assert machine.ask().status_code == 204


def test_deleting_by_token_deletes_the_whole_runner(site: Site, machine: Machine) -> None:
    assert machine.delete("/runners", token=machine.token).status_code == 204
    assert machine.ask().status_code == 403
    assert machine.delete("/runners", token=machine.token).status_code == 403


def test_a_runner_can_renew_its_own_token(site: Site, machine: Machine) -> None:
    answer = machine.raw(
        "POST", "/runners/reset_authentication_token", json={"token": machine.token}
    )
    assert answer.status_code == 201
    assert machine.ask().status_code == 403
    machine.token = answer.json()["token"]
    assert machine.ask().status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/runners/router/discovery", 501), ("POST", "/runners", 410)],
)
def test_what_this_gitlab_does_not_offer(
    machine: Machine, method: str, path: str, status: int
) -> None:
    assert machine.raw(method, path).status_code == status


def test_many_machines_asking_at_once_get_different_jobs(site: Site) -> None:
    site.start("unit: {parallel: 40, script: [x]}\n")
    token = site.register()

    def work(number: int) -> list[int]:
        taken = []
        with Machine(site.server.url, token, system_id=f"s_{number}") as machine:
            while (answer := machine.ask()).status_code == 201:
                taken.append(int(answer.json()["id"]))
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [number for numbers in pool.map(work, range(8)) for number in numbers]
    assert sorted(taken) == list(range(1, 41))
    managers = site.call("GET", "/runners/1/managers").json()
    assert len(managers) == 8
