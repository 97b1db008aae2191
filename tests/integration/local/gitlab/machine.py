"""A machine that speaks the runner protocol, one call at a time."""

from typing import Any, Self

import httpx

INFO = {
    "name": "gitlab-runner",
    "version": "19.4.0",
    "revision": "d79f3e7b",
    "platform": "linux",
    "architecture": "amd64",
    "executor": "shell",
    "features": {"cancel_gracefully": True, "two_phase_job_commit": True},
}


class Machine:
    """One gitlab-runner process on the wire."""

    def __init__(self, url: str, token: str, *, system_id: str = "s_0123456789ab") -> None:
        self.token = token
        self.system_id = system_id
        self._http = httpx.Client(base_url=f"{url}/api/v4", timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def identity(self) -> dict[str, Any]:
        """The fields of every runner call."""
        return {"token": self.token, "system_id": self.system_id, "info": INFO}

    def ask(self, **rest: Any) -> httpx.Response:
        """POST /jobs/request."""
        return self._http.post("/jobs/request", json={**self.identity, **rest})

    def take(self) -> dict[str, Any]:
        """The next job, which must exist."""
        answer = self.ask()
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def append(self, job: dict[str, Any], text: bytes, *, at: int = 0) -> httpx.Response:
        """PATCH …/trace: a piece of the log that starts at an offset."""
        headers = {
            "JOB-TOKEN": job["token"],
            "Content-Type": "text/plain",
            "Content-Range": f"{at}-{at + len(text) - 1}",
        }
        return self._http.patch(f"/jobs/{job['id']}/trace", content=text, headers=headers)

    def report(self, job: dict[str, Any], state: str, **rest: Any) -> httpx.Response:
        """PUT /jobs/:id."""
        body = {"token": job["token"], "state": state, "info": INFO, **rest}
        return self._http.put(f"/jobs/{job['id']}", json=body)

    def finish(self, state: str = "success", **rest: Any) -> dict[str, Any]:
        """Take a job and end it; the job."""
        job = self.take()
        assert self.report(job, state, **rest).status_code == 200
        return job
