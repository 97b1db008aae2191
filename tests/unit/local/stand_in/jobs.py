"""A job to try things on."""

from __future__ import annotations

import json
from typing import Any

from local.stand_in.job import Job, read_job

GIT_INFO = {
    "repo_url": "http://gitlab-ci-token:secret@host:8080/acme/demo.git",
    "ref": "main",
    "sha": "0123456789abcdef",
    "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
    "depth": 20,
}


def job(**changes: Any) -> Job:
    """A small job; `changes` are keys of its JSON."""
    content = {
        "id": 5,
        "token": "glcbt-64_abcdefghijklmnopqrst",
        "allow_git_fetch": True,
        "job_info": {"name": "unit", "project_id": 7},
        "git_info": GIT_INFO,
        "runner_info": {"timeout": 600},
        "steps": [{"name": "script", "script": ["true"]}],
        "features": {"failure_reasons": ["unknown_failure", "script_failure"]},
    }
    return read_job(json.dumps({**content, **changes}).encode())
