"""The stand-in runner, end to end against a small coordinator.

Where RUNNER_FLEET_GITLAB_RUNNER names the real binary, each test runs with that one as well: each
claim about the stand-in is then shown to be true of gitlab-runner itself. A cache in S3 is in
tests/integration/security/test_cache_with_runners.py.
"""

import base64
import gzip
import io
import signal
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local.coordinator import Answer, Coordinator, Request, make_job
from tests.integration.local.runner_process import BINARIES, TOKEN, RunnerProcess, config_toml

Start = Callable[..., RunnerProcess]
SOON = {"X-GitLab-Trace-Update-Interval": "1"}
JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture(params=BINARIES)
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    with Coordinator(repositories=tmp_path / "repositories") as server:
        yield server


@pytest.fixture
def start(binary: str, coordinator: Coordinator, tmp_path: Path) -> Iterator[Start]:
    """Starts a runner for one job, or with other flags."""
    started: list[RunnerProcess] = []

    def begin(*flags: str) -> RunnerProcess:
        home = tmp_path / f"home{len(started)}"
        home.mkdir()
        text = config_toml(coordinator.url)
        process = RunnerProcess(binary, home, text, *(flags or ("--max-builds", "1")))
        started.append(process)
        return process

    yield begin
    for process in started:
        process.__exit__()


def finish(start: Start, *flags: str) -> RunnerProcess:
    process = start(*flags)
    assert process.wait() == 0
    return process


def final(coordinator: Coordinator) -> dict[str, Any]:
    """The body of the last `PUT` with a final state."""
    return coordinator.requests_of("update")[-1].fields


def log_of(coordinator: Coordinator, job_id: int = 1) -> str:
    return coordinator.traces.get(str(job_id), b"").decode()


FAILED = "script_failure"

# --- many jobs, one process -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """One job, its end, and what its log shows and hides."""

    script: Sequence[str]
    job: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    code: int | None = None
    shows: Sequence[str] = ()
    hides: Sequence[str] = ()
    uploads: bool = False


def failing(code: int, *script: str, **more: Any) -> Case:
    """A job whose script fails before its last line, which is added."""
    lines = (*script, "echo never")
    return Case(script=lines, reason=FAILED, code=code, **{"hides": ["never\n"], **more})


def variable(key: str, value: str, **more: bool) -> dict[str, Any]:
    return {"key": key, "value": value, **more}


def archive(**changes: Any) -> dict[str, Any]:
    usual = {"name": "", "paths": ["out"], "when": "on_success", "expire_in": "1 week"}
    return {**usual, "artifact_type": "archive", "artifact_format": "zip", **changes}


def earlier(job_id: int) -> dict[str, Any]:
    token = f"glcbt-64_{job_id:020d}"
    archived = {"filename": "artifacts.zip", "size": 1}
    return {"id": job_id, "token": token, "name": "build", "artifacts_file": archived}


def in_two_pieces(printed: str) -> str:
    """A command that prints the text in two pieces, and does not itself show it."""
    half = len(printed) // 2
    pieces = f"printf %s '{printed[:half]}'; sleep 0.1; printf '%s\\n' '{printed[half:]}'"
    return f'eval "$(echo {base64.b64encode(pieces.encode()).decode()} | base64 -d)"'


# The values of variables that refer to others, and what they expand to: once, by what is written.
REFERENCES = {
    "$A": "1",
    "${A}": "1",
    "x${A}y$B": "x1y2",
    "$MISSING.": ".",
    "$$A": "$A",
    "$1$?": "",
    "$CHAIN": "$A$B",
    "$RAW": "$A",
    "100%": "100%",
    "a$SELF": "ax$SELF",
}
REFERRED = [
    *(variable(key, value) for key, value in (("A", "1"), ("B", "2"), ("CHAIN", "$A$B"))),
    variable("RAW", "$A", raw=True),
    variable("SELF", "x$SELF"),
    *(variable(f"R{n}", value) for n, value in enumerate(REFERENCES)),
]
TIMEOUT = "job_execution_timeout"
MAKE_OUT = "rm -rf out; mkdir out; echo > out/f"
AFTER = ("echo after $CI_JOB_STATUS $X.", "exit 4")
TOKENS = {
    "glpat-abc.123_x=y z": "glpat-[MASKED] z",
    "a=glcbt-64_abcdef,": "a=glcbt-[MASKED],",
    "glrt-x glrt-": "glrt-[MASKED] glrt-",
    "_gitlab_session=0123;": "_gitlab_session=[MASKED];",
    "own-a1": "own-[MASKED]",
    "http://h/?x=1&private_token=abc&y=2": "http://h/?x=1&private_token=[MASKED]&y=2",
    "glpatx-1 xglpa glpa-t": "glpatx-1 xglpa glpa-t",
}
CACHE = {"key": "k-$CI_PROJECT_PATH", "paths": ["kept"], "policy": "pull-push"}
PULLED = {"key": "topic", "paths": ["kept"], "policy": "pull", "fallback_keys": ["k-acme/demo"]}
CASES = {
    "a job succeeds": Case(script=["echo täglich"], shows=["täglich\n"]),
    "a failing script": failing(3, "exit 3", shows=["ERROR: Job failed: exit status 3"]),
    "commands are green": Case(
        script=['echo "it\'s $((40 + 2))"', "if true; then\n  echo inner\nfi"],
        shows=[
            "\033[32;1m$ echo \"it's $((40 + 2))\"\033[0;m\nit's 42\n",
            "\033[32;1m$ if true; then # collapsed multi-line command\033[0;m\ninner\n",
            "section_start:",
            ":step_script\r\033[0K",
        ],
    ),
    "a pipe fails by its first command": failing(1, "false | true"),
    "a line fails in the middle": failing(1, "(exit 1); true"),
    "a block fails in the middle": failing(1, "cat no-file\ntrue"),
    "a command's own code is 1": failing(1, "bash -c 'exit 7'"),
    "one shell without input": Case(
        script=["cd /; X=kept", "echo $PWD $X; read line || echo no input"],
        shows=["/ kept\nno input\n"],
    ),
    "variables": Case(
        script=["echo $SECRET; echo $NESTED $RAW", 'cat "$CONFIG"; echo; echo $CI_SERVER $OWN'],
        job={
            "variables": [
                variable("SECRET", "tops3cret", masked=True),
                variable("NESTED", "id-$CI_PROJECT_PATH-$$x"),
                variable("RAW", "id-$CI_JOB_ID", raw=True),
                variable("CONFIG", "in a file", file=True),
            ]
        },
        shows=["[MASKED]\nid-acme/demo-$x id-$CI_JOB_ID\n", "in a file\nyes set\n"],
        hides=["tops3cret"],
    ),
    "references in variables": Case(
        script=[f'echo "<{n}:$R{n}>"' for n in range(len(REFERENCES))],
        job={"variables": REFERRED},
        shows=[f"<{n}:{value}>\n" for n, value in enumerate(REFERENCES.values())],
    ),
    "hard variables": Case(
        script=["echo $HARD"],
        job={"variables": [variable("HARD", 'it\'s "$HOME"\nline two', raw=True)]},
        shows=['\nit\'s "$HOME" line two\n'],
    ),
    "a name that bash does not take": failing(1, job={"variables": [variable("not-a-name", "x")]}),
    "which of two variables counts": Case(
        script=["echo $OWN $BOTH $CI_SERVER; echo $CI_PROJECT_DIR", "echo $CI_RUNNER_VERSION"],
        job={
            "variables": [
                variable("BOTH", "gitlab"),
                variable("CI_SERVER", "sent"),
                variable("CI_RUNNER_VERSION", "lie"),
            ]
        },
        shows=["set gitlab sent\n", "/builds/abcdefghi/0/acme/demo\n", "17.9.0\n"],
        hides=["lie\n"],
    ),
    "facts of the runner": Case(
        script=["echo $CI_RUNNER_SHORT_TOKEN $CI_CONCURRENT_ID; echo $CI_BUILDS_DIR"],
        shows=["abcdefghi 0\n", "/builds\n"],
    ),
    "the runner's environment and script": Case(
        script=["echo script $AWS_SECRET_ACCESS_KEY/$PYTHONPATH."],
        shows=["\nbefore\n", "script leaked/.\n"],
    ),
    "after_script after success": Case(
        script=["X=1; export X"],
        job={"after_script": AFTER},
        shows=["after success .\n", "after_script failed, but job will continue unaffected"],
    ),
    "after_script after a failure": failing(
        2, "exit 2", job={"after_script": AFTER}, shows=["after failed .\n"]
    ),
    "open output keeps the job open": Case(
        script=["(sleep 1; echo late) & echo begun"], shows=["begun\nlate\n"]
    ),
    "the job's time ends open output": Case(
        script=["sleep 60 & echo begun"], job={"runner_info": {"timeout": 2}}, reason=TIMEOUT
    ),
    "the job's time ends the script": Case(
        script=["sleep 60"],
        job={"runner_info": {"timeout": 2}, "after_script": ("echo late",)},
        reason=TIMEOUT,
        shows=["execution took longer than 2s seconds"],
        hides=["late\n"],
    ),
    "TERM to its own shell": Case(script=["kill -TERM $$", "echo goes on"], shows=["goes on\n"]),
    "TERM keeps the script's code": failing(3, "kill -TERM $$", "echo goes on; exit 3"),
    "HUP keeps the script's code": failing(1, "kill -HUP $$", "echo goes on; false"),
    "TERM to the inner shell": failing(143, "kill -TERM $BASHPID"),
    "a killed shell": Case(
        script=["kill -KILL $$"], reason=FAILED, shows=["Job failed: signal: killed"]
    ),
    "tokens are hidden": Case(
        script=[in_two_pieces(printed) for printed in TOKENS],
        job={"features": {"trace_sections": True, "token_mask_prefixes": ["own-"]}},
        shows=[f"\n{shown}\n" for shown in TOKENS.values()],
    ),
    "the log's limit": Case(
        script=["head -c 300000 /dev/zero | tr '\\0' x", "echo the end"],
        shows=["Job's log exceeded limit of 102400 bytes.\n"],
        hides=["the end"],
    ),
    **{
        f"artifacts {when} after {'failure' if fails else 'success'}": Case(
            script=[MAKE_OUT, *(["false"] if fails else [])],
            job={"artifacts": [archive(when=when)]},
            reason=FAILED if fails else None,
            code=1 if fails else None,
            uploads=when in {"always", "on_failure" if fails else "on_success"},
        )
        for when in ("on_success", "on_failure", "always")
        for fails in (False, True)
    },
    "artifacts that match nothing": Case(
        script=["true"],
        job={"artifacts": [archive(paths=["nothing"])]},
        shows=["nothing: no matching files", "No files to upload"],
    ),
    "artifacts of an earlier job": Case(
        script=[
            "cat out/from-earlier.txt; readlink out/link; stat -c %a out/tool",
            "echo old > ../kept; ln -sf ../../kept out/from-earlier.txt",
        ],
        job={"dependencies": [earlier(901), {**earlier(903), "artifacts_file": {}}]},
        shows=["hello from earlier\nnowhere\n750\n"],
    ),
    "artifacts take a link's place": Case(
        script=["cat ../kept out/from-earlier.txt; test ! -L out/from-earlier.txt"],
        job={"dependencies": [earlier(901)]},
        shows=["old\nhello from earlier\n"],
    ),
    "a broken archive": failing(1, job={"dependencies": [earlier(902)]}),
    "missing artifacts": failing(
        1,
        job={"dependencies": [earlier(904)], "after_script": ("echo after",)},
        shows=["Downloading artifacts from coordinator..."],
        hides=["never\n", "after\n"],
    ),
    "the first job of a cache": Case(
        script=["cat kept/f || echo no cache", "mkdir kept; echo cached > kept/f"],
        job={"cache": [CACHE]},
        shows=["no cache\n", "Creating cache k-acme/demo...\033[0;m"],
    ),
    "the next job of a cache": Case(
        script=["cat kept/f; rm -rf kept; mkdir kept; echo again > kept/f"],
        job={"cache": [CACHE]},
        shows=["cached\n", "Successfully extracted cache"],
    ),
    "a cache to pull, with a fallback": Case(
        script=["cat kept/f"],
        job={"cache": [PULLED]},
        shows=[
            "Checking cache for topic...",
            "Checking cache for k-acme/demo...",
            "again\n",
            "Not uploading cache topic due to policy",
        ],
    ),
    "a cache after a failure": failing(
        1,
        "mkdir -p kept; echo of a failure > kept/f; false",
        job={"cache": [{"key": "failed", "paths": ["kept"], "when": "on_failure"}]},
        shows=["Creating cache failed..."],
    ),
    "the fallback key of a variable": Case(
        script=["cat kept/f"],
        job={
            "cache": [{**PULLED, "fallback_keys": []}],
            "variables": [variable("CACHE_FALLBACK_KEY", "failed")],
        },
        shows=["of a failure\n"],
    ),
}


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


@dataclass(frozen=True, slots=True)
class Shift:
    """One process that has run all cases in their order."""

    coordinator: Coordinator
    process: RunnerProcess

    def final(self, job_id: int) -> dict[str, Any]:
        """The only final state of a job."""
        (update,) = (
            item
            for item in self.coordinator.requests_of("update")
            if item.target.endswith(f"/{job_id}")
        )
        return update.fields

    def lines(self, job_id: int) -> dict[str, dict[str, Any]]:
        """The process's lines on a job, by message."""
        return {
            str(line["msg"]).strip(): line
            for line in self.process.lines
            if line.get("job") == job_id
        }


@pytest.fixture(scope="module", params=BINARIES)
def shift(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("shift")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archived:
        archived.writestr("out/from-earlier.txt", "hello from earlier\n")
        archived.writestr(entry("out/link", stat.S_IFLNK | 0o777), "nowhere")
        archived.writestr(entry("out/tool", stat.S_IFREG | 0o750), "")
    own = '["OWN=set", "BOTH=runner", "CI_PROJECT_DIR=/lie", "broken"]'
    scripts = ('pre_build_script = "echo before"', f"environment = {own}")
    with Coordinator() as coordinator:
        coordinator.downloads |= {"901": packed.getvalue(), "902": b"no zip at all"}
        for job_id, case in enumerate(CASES.values(), start=1):
            clean = ("rm -rf kept",) if "cache" not in case.job else ()
            coordinator.offer(make_job(job_id, *clean, *case.script, **dict(case.job)))
        config = config_toml(coordinator.url, *scripts, "output_limit = 100")
        flags = ("--max-builds", str(len(CASES)))
        leak = {"AWS_SECRET_ACCESS_KEY": "leaked"}
        with RunnerProcess(request.param, home, config, *flags, **leak) as process:
            assert process.wait(within_s=180) == 0
            yield Shift(coordinator, process)


@pytest.mark.parametrize("name", CASES)
def test_a_job(name: str, shift: Shift) -> None:
    case, job_id = CASES[name], list(CASES).index(name) + 1
    end, trace = shift.final(job_id), shift.coordinator.traces[str(job_id)]
    assert (end["state"], end.get("failure_reason")) == (
        "failed" if case.reason else "success",
        case.reason,
    )
    if case.code is not None or case.reason is None:
        assert end.get("exit_code") == case.code
    checksum = f"crc32:{zlib.crc32(trace):08x}"
    assert end["output"] == {"checksum": checksum, "bytesize": len(trace)}
    assert [text for text in case.shows if text not in trace.decode()] == []
    assert [text for text in case.hides if text in trace.decode()] == []
    assert (str(job_id) in shift.coordinator.uploads) is case.uploads


def test_the_log_lines_a_follower_reads(shift: Shift) -> None:
    lines, trace = shift.lines(1), shift.coordinator.traces["1"]
    received = lines["Checking for jobs... received"]
    assert (received["runner"], received["level"]) == ("abcdefghi", "info")
    assert received["repo_url"] == "http://127.0.0.1:1/acme/demo.git"
    assert (lines["Job succeeded"]["project"], lines["Job succeeded"]["level"]) == (7, "info")
    assert 0 < lines["Job succeeded"]["duration_s"] < 30
    sent = lines["Appending trace to coordinator...ok"]
    assert sent["code"] == 202
    assert sent["sent-log"].endswith(f"-{len(trace) - 1}")  # the last piece
    put = lines["Submitting job to coordinator...ok"]
    assert (put["code"], put["bytesize"]) == (200, len(trace))
    failed = shift.lines(2)["Job failed: exit status 3"]
    assert (failed["level"], failed["project"]) == ("warning", 7)
    messages = shift.process.messages()
    assert messages[-1] == "This runner has processed its build limit, so now exiting"
    starting = f"Starting runner for {shift.coordinator.url} with token abcdefghi ..."
    assert starting in messages


def test_jobs_are_asked_for_one_after_another_without_a_pause(shift: Shift) -> None:
    requests = shift.coordinator.requests_of("request")
    assert len(requests) == len(CASES)
    fields = requests[0].fields
    assert fields["token"] == TOKEN
    assert fields["system_id"][:2] in {"s_", "r_"}
    assert (fields["info"]["name"], fields["info"]["executor"]) == ("gitlab-runner", "shell")
    for feature in ("refspecs", "masking", "cancelable", "cancel_gracefully", "trace_checksum"):
        assert fields["info"]["features"][feature] is True


def test_earlier_artifacts_are_fetched_with_the_earlier_jobs_token(shift: Shift) -> None:
    downloads = shift.coordinator.requests_of("download")
    assert downloads[0].target == "/api/v4/jobs/901/artifacts?direct_download=true"
    assert downloads[0].headers["job-token"] == earlier(901)["token"]
    assert not [download for download in downloads if "/903/" in download.target]


# --- answers of GitLab ------------------------------------------------------------------------


def test_a_long_log_goes_in_pieces_of_a_mebibyte(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "head -c 2500000 /dev/zero | tr '\\0' x"))
    coordinator.trace_interval_s = 30  # however slow the machine: most of it is sent at the end
    finish(start)
    sizes = [len(request.body) for request in coordinator.requests_of("trace")]
    assert max(sizes) == 1024 * 1024
    assert sum(sizes) == len(coordinator.traces["1"]) > 2_500_000


@pytest.mark.parametrize(
    ("kind", "answers", "times", "state"),
    [
        ("update", [500], 2, "success"),
        ("update", [403], 1, "success"),
        ("update", [404], 1, "success"),
        ("upload", [503], 2, "success"),
        ("upload", [403], 1, "failed"),
        ("upload", [413], 1, "failed"),
        ("upload", [500, 500, 500], 3, "failed"),
    ],
)
def test_what_gitlab_refuses_is_sent_again_if_that_may_help(
    kind: str, answers: list[int], times: int, state: str, *, coordinator: Coordinator, start: Start
) -> None:
    coordinator.answer_next(kind, *(Answer(status=status, headers=SOON) for status in answers))
    coordinator.offer(make_job(1, MAKE_OUT, artifacts=[archive()]))
    finish(start)
    assert len(coordinator.requests_of(kind)) == times
    assert final(coordinator)["state"] == state


def test_after_a_range_mismatch_the_log_goes_on_from_what_gitlab_has(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "echo content"))
    coordinator.answer_next("trace", Answer(status=416, headers={"Range": "0-0", **SOON}))
    finish(start)
    assert "content\n" in log_of(coordinator)
    starts = [request.headers["content-range"] for request in coordinator.requests_of("trace")]
    assert [start.startswith("0-") for start in starts[:2]] == [True, True]


@pytest.mark.parametrize("word", ["canceling", "canceled"])
def test_a_canceled_script_ends_and_only_canceling_runs_after_script(
    word: str, coordinator: Coordinator, start: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    talk = "for n in $(seq 600); do echo $n; sleep 0.1; done"  # each piece has an answer
    script = f"sleep 61 & echo $! > {pids}; echo begun; {talk}; echo never"
    coordinator.offer(make_job(1, script, after_script=("echo after $CI_JOB_STATUS",)))
    process = start()
    coordinator.wait_until(lambda: "begun\n" in log_of(coordinator))
    coordinator.job_status = word
    assert process.wait() == 0
    log = log_of(coordinator)
    assert "\nnever\n" not in log
    assert ("after canceled\n" in log) is (word == "canceling")
    assert process.line("Job failed")["msg"].strip() == "Job failed: canceled"
    assert final(coordinator)["failure_reason"] == "job_canceled"
    state = ["ps", "-o", "stat=", "-p", pids.read_text().strip()]
    shown = subprocess.run(state, check=False, capture_output=True, text=True).stdout
    assert shown[:1] in {"", "Z"}  # gone, or dead and not yet reaped by init


def test_a_refused_trace_aborts_the_job(coordinator: Coordinator, start: Start) -> None:
    coordinator.answer_next("trace", Answer(status=403))
    coordinator.offer(make_job(1, "echo begun; sleep 60"))
    process = finish(start)
    assert process.line("Job failed")["msg"].strip() == "Job failed: canceled"


def test_a_failed_poll_is_a_warning_and_the_next_one_counts(
    coordinator: Coordinator, start: Start
) -> None:
    answers = [
        Answer(status=500),
        Answer(status=409),
        Answer(status=201, body=b"{}"),  # no JSON type
        Answer(status=201, headers=JSON_TYPE, body=b"["),
        Answer(status=201, headers=JSON_TYPE, body=b'{"id":"9"}'),
        Answer(status=204, headers={"X-GitLab-Last-Update": "abc"}),
    ]
    coordinator.answer_next("request", *answers)
    coordinator.offer(make_job(1, "true"))
    process = finish(start)
    failed = [
        line for line in process.lines if line["msg"].startswith("Checking for jobs... failed")
    ]
    assert [item["level"] for item in failed] == ["warning"] * 5
    assert final(coordinator)["state"] == "success"
    *others, last = (
        request.fields.get("last_update") for request in coordinator.requests_of("request")
    )
    assert (set(others), last) == ({None}, "abc")


# --- signals ----------------------------------------------------------------------------------


def begin(coordinator: Coordinator, start: Start, script: str, *flags: str) -> RunnerProcess:
    """A runner whose job has sent `begun`."""
    coordinator.offer(make_job(1, script))
    process = start(*flags)
    coordinator.wait_until(lambda: "begun\n" in log_of(coordinator))
    return process


def test_sigterm_aborts_the_job_and_ends_the_process(
    coordinator: Coordinator, start: Start
) -> None:
    process = begin(coordinator, start, "echo begun; sleep 60")
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    end = final(coordinator)
    assert (end["state"], end["failure_reason"]) == ("failed", "runner_system_failure")
    aborted = "Job failed (system failure): aborted: terminated"
    assert process.line("Job failed")["msg"].strip() == aborted
    assert process.line("Requested exit")["msg"] == "Requested exit: terminated"


@pytest.mark.parametrize("answer", [Answer(status=204), Answer(status=403)], ids=["idle", "403"])
def test_sigterm_ends_a_process_without_a_job_at_once(
    answer: Answer, coordinator: Coordinator, start: Start
) -> None:
    coordinator.answer_next("request", answer)
    process = start()
    # The real runner may ask once before it hears signals.
    times = 1 if answer.status == 403 else 2
    coordinator.wait_until(lambda: len(coordinator.requests_of("request")) >= times)
    if answer.status == 403:
        process.wait_until(lambda: "Runner is not healthy!" in process.messages())
        assert process.line("Checking for jobs... forbidden")["level"] == "error"
        assert len(coordinator.requests_of("request")) == 1
    process.send(signal.SIGTERM)
    assert process.wait(within_s=30) == 0  # a rest of the runner is longer


def test_sigquit_lets_the_job_finish(coordinator: Coordinator, start: Start) -> None:
    process = begin(coordinator, start, "echo begun; sleep 2; echo done", "--max-builds", "5")
    process.send(signal.SIGQUIT)
    assert process.wait() == 0
    assert final(coordinator)["state"] == "success"
    assert "done\n" in log_of(coordinator)
    assert len(coordinator.requests_of("request")) == 1
    assert "Requested quit, waiting for builds to finish" in process.messages()


def test_a_second_signal_forces_the_end(coordinator: Coordinator, start: Start) -> None:
    process = begin(coordinator, start, "trap '' TERM; echo begun; sleep 8")
    process.send(signal.SIGTERM)
    process.wait_until(lambda: any("Requested exit" in line for line in process.messages()))
    assert process.send_until_end(signal.SIGTERM) == 1
    assert process.line("forced exit")["level"] == "fatal"
    assert coordinator.requests_of("update") == []


# --- sources ----------------------------------------------------------------------------------


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with three commits, and its bare copy for the coordinator."""
    work = tmp_path / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    for number in (1, 2, 3):
        (work / "number.txt").write_text(f"{number}\n")
        git("add", ".", cwd=work)
        git("commit", "-q", "-m", str(number), cwd=work)
    served = tmp_path / "repositories" / "acme"
    served.mkdir(parents=True)
    git("clone", "-q", "--bare", str(work), str(served / "demo.git"), cwd=tmp_path)
    return work


def git_info(coordinator: Coordinator, work: Path, **changes: Any) -> dict[str, Any]:
    host = coordinator.url.removeprefix("http://")
    return {
        "repo_url": f"http://gitlab-ci-token:secret-token@{host}/acme/demo.git",
        "ref": "main",
        "sha": git("rev-parse", "HEAD", cwd=work),
        "before_sha": "0" * 40,
        "ref_type": "branch",
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
        "depth": 2,
        **changes,
    }


def test_strategies_one_after_another(coordinator: Coordinator, start: Start, work: Path) -> None:
    """No job has files of the one before, unless it asks for them."""
    info = git_info(coordinator, work)
    look = "ls; cat number.txt; echo x > left; echo y > number.txt"
    first = ("git rev-list --count HEAD; git remote get-url origin", "echo $PWD $CI_PROJECT_DIR")
    untracked = [archive(paths=[], untracked=True)]
    hooks = [{"name": "pre_get_sources_script", "script": ["echo before sources"]}]
    coordinator.offer(make_job(1, *first, look, git_info=info, artifacts=untracked, hooks=hooks))
    coordinator.offer(make_job(2, look, git_info={**info, "depth": 0}))
    strategies = ("none", "clone", "svn")
    for job_id, strategy in enumerate(strategies, start=3):
        wanted = [variable("GIT_STRATEGY", strategy)]
        coordinator.offer(make_job(job_id, look, git_info=info, variables=wanted))
    lost = {**info, "sha": "1" * 40}
    coordinator.offer(make_job(6, "echo never", git_info=lost, after_script=("echo after",)))
    process = finish(start, "--max-builds", "6")
    fresh, again, none, clone, unknown, missing = (log_of(coordinator, n) for n in range(1, 7))
    project = process.home / "builds" / "abcdefghi" / "0" / "acme" / "demo"
    depth = "Fetching changes with git depth set to 2"
    assert fresh.index("\nbefore sources\n") < fresh.index(depth)
    assert "Created fresh repository." in fresh
    assert f"Checking out {info['sha'][:8]} as detached HEAD (ref is main)..." in fresh
    assert f"2\n{info['repo_url']}\n" in fresh
    assert f"{project} {project}\n" in fresh
    assert unpacked(coordinator.requests_of("upload")[0]).namelist() == ["left"]
    assert "\033[32;1mFetching changes...\033" in again
    assert "Skipping Git repository setup" in none
    assert "\nleft\nnumber.txt\ny\n" in none
    assert "Created fresh repository." in clone
    assert "GIT_STRATEGY" in unknown
    assert [("\nnumber.txt\n3\n" in log) for log in (fresh, again, clone, unknown)] == [True] * 4
    failed = process.line("Job failed")
    assert (failed["job"], failed["msg"][:24]) == (6, "Job failed: exit status ")
    assert not {"never\n", "after\n"} & set(missing.splitlines(keepends=True))


# --- artifacts and caches ---------------------------------------------------------------------


def content(upload: Request) -> bytes:
    """The file in the multipart body."""
    return upload.body[upload.body.index(b"\r\n\r\n") + 4 : upload.body.rindex(b"\r\n--")]


def unpacked(upload: Request) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content(upload)))


MAKE_TREE = """\
mkdir -p sub/deep empty
for name in a.txt b.log .hidden sub/c.txt sub/deep/d.txt sub/deep/e.log; do echo x > $name; done
ln -s a.txt link
ln -s ../sub empty/door"""
PATTERNS = {
    "a.txt": "a.txt",
    "./a.txt": "a.txt",
    "$CI_PROJECT_DIR/a.txt": "a.txt",
    "missing": "",
    "*.txt": "a.txt",
    "?.log": "b.log",
    "[ab].*": "a.txt b.log",
    "[!a].*": "b.log",
    "{a.txt,b.log}": "a.txt b.log",
    "**/*.txt": "a.txt empty/door/c.txt empty/door/deep/d.txt sub/c.txt sub/deep/d.txt",
    "sub/*.txt": "sub/c.txt",
    "sub/**/*.log": "sub/deep/e.log",
    "sub/deep/": "sub/deep sub/deep/d.txt sub/deep/e.log",
    "sub/dee*": "sub/deep sub/deep/d.txt sub/deep/e.log",
    "s*/c.txt": "sub/c.txt",
    ".hid*": ".hidden",
    "../*": "",
    "/etc/passwd": "",
    "nothing/*.txt": "",
    "link": "link",
    "empty": "empty empty/door",
    "empty/door/c.txt": "empty/door/c.txt",
    "empty/*/c.txt": "empty/door/c.txt",
    ".": ". .hidden a.txt b.log empty empty/door link sub sub/c.txt sub/deep sub/deep/d.txt"
    " sub/deep/e.log",
}


def test_patterns(coordinator: Coordinator, start: Start) -> None:
    artifacts = [archive(paths=[pattern], name=f"n{n}") for n, pattern in enumerate(PATTERNS)]
    coordinator.offer(make_job(1, MAKE_TREE, artifacts=artifacts))
    finish(start)
    saved = dict.fromkeys(PATTERNS, "")
    for upload in coordinator.requests_of("upload"):
        number = upload.body.partition(b'filename="n')[2].partition(b".zip")[0]
        names = sorted(name.rstrip("/") for name in unpacked(upload).namelist())
        saved[list(PATTERNS)[int(number)]] = " ".join(names)
    assert saved == PATTERNS


def test_artifacts_go_up_in_their_format(coordinator: Coordinator, start: Start) -> None:
    script = (
        "mkdir -p out/deep; echo a > out/a.txt; chmod 755 out/a.txt; ln -s nowhere out/link",
        "echo b > out/deep/b.log; echo '<testsuite/>' > report.xml",
        "touch -h -d 1970-01-02 out/a.txt out/link",
    )
    report = archive(paths=["report.xml"], expire_in=None)
    artifacts = [
        archive(paths=["out"], exclude=["out/**/*.log"], name="mine"),
        report | {"artifact_type": "junit", "artifact_format": "gzip"},
        report | {"artifact_type": "sast", "artifact_format": "raw"},
    ]
    coordinator.offer(make_job(1, *script, artifacts=artifacts))
    finish(start)
    uploads = coordinator.requests_of("upload")
    assert [upload.target.removeprefix("/api/v4/jobs/1/artifacts?") for upload in uploads] == [
        "artifact_format=zip&artifact_type=archive&expire_in=1+week",
        "artifact_format=gzip&artifact_type=junit",
        "artifact_format=raw&artifact_type=sast",
    ]
    assert {upload.headers["job-token"] for upload in uploads} == {"glcbt-64_00000000000000000001"}
    assert b'name="file"; filename="mine.zip"' in uploads[0].body
    packed = unpacked(uploads[0])
    assert packed.read("out/a.txt") == b"a\n"
    assert packed.getinfo("out/a.txt").external_attr >> 16 & 0o777 == 0o755
    assert packed.read("out/link") == b"nowhere"
    assert stat.S_ISLNK(packed.getinfo("out/link").external_attr >> 16)
    assert "out/deep/b.log" not in packed.namelist()
    assert gzip.decompress(content(uploads[1])) == content(uploads[2]) == b"<testsuite/>\n"


# --- how it starts ----------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_an_unreachable_gitlab_is_asked_until_the_time_is_over(
    url: str, binary: str, tmp_path: Path
) -> None:
    config = config_toml(url, 'tls-ca-file = "/nowhere.pem"')
    with RunnerProcess(binary, tmp_path, config, "--wait-timeout", "1") as process:
        assert process.wait() == 0
    assert process.line("Checking for jobs... failed")["level"] == "warning"


def test_no_job_in_time_ends_the_process(coordinator: Coordinator, start: Start) -> None:
    process = finish(start, "--max-builds", "1", "--wait-timeout", "1")
    assert coordinator.requests_of("update") == []
    assert process.messages()[-1] == (
        "This runner has not received a job in 1 seconds, so now exiting"
    )


def test_one_runner_of_several_works_where_its_configuration_says(
    binary: str, coordinator: Coordinator, tmp_path: Path
) -> None:
    other = config_toml("http://127.0.0.1:1").replace("wanted", "other")
    elsewhere = f'builds_dir = "{tmp_path}/elsewhere"'
    config = f"concurrent = 1\n{other}\n{config_toml(coordinator.url, elsewhere)}\n"
    coordinator.offer(make_job(1, "pwd"))
    with RunnerProcess(binary, tmp_path, config, "--max-builds", "1") as process:
        assert process.wait() == 0
    assert f"{tmp_path}/elsewhere/abcdefghi/0/acme/demo\n" in log_of(coordinator)


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        pytest.param("", [], id="no runner"),
        pytest.param("[[runners]", [], id="no TOML"),
        pytest.param(config_toml("http://x", token=""), [], id="no token"),
        pytest.param(config_toml(""), [], id="no address"),
        pytest.param(config_toml("http://x").replace("shell", ""), [], id="no executor"),
        pytest.param(config_toml("http://x", 'output_limit = "5"'), [], id="a wrong type"),
        pytest.param(config_toml("http://x"), ["--nonsense"], id="an unknown flag"),
        pytest.param(config_toml("http://x"), ["--max-builds"], id="a flag without its value"),
    ],
)
def test_a_bad_start_ends_the_process_with_a_fatal_line(
    config: str, flags: list[str], binary: str, tmp_path: Path
) -> None:
    with RunnerProcess(binary, tmp_path, config, *flags) as process:
        assert process.wait() == 1
    assert process.lines[-1]["level"] == "fatal"
