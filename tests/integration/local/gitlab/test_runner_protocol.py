"""The API that gitlab-runner speaks, code by code and header by header."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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


def test_long_polling_holds_the_question_while_nothing_changes(open_site: OpenSite) -> None:
    site = open_site(long_poll_s=0.3)
    with Machine(site.server.url, site.register("ec2")) as machine:
        seen = machine.ask().headers["x-gitlab-last-update"]
        held = machine.ask(last_update=seen)
    assert held.status_code == 204
    assert held.elapsed.total_seconds() >= 0.3


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
