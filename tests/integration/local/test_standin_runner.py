"""The stand-in runner, end to end against a small coordinator.

Where RUNNER_FLEET_GITLAB_RUNNER names the real binary, each test runs with that one as well: what
is claimed here about the stand-in is then shown to be true of gitlab-runner itself.
"""

from __future__ import annotations

import base64
import gzip
import io
import signal
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local.coordinator import Answer, Coordinator, make_job
from tests.integration.local.object_store import ObjectStore
from tests.integration.local.runner_process import BINARIES, TOKEN, RunnerProcess, config_toml

Start = Callable[..., RunnerProcess]


@pytest.fixture(params=BINARIES)
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    with Coordinator(repositories=tmp_path / "repositories") as server:
        yield server


@pytest.fixture
def start(binary: str, coordinator: Coordinator, tmp_path: Path) -> Iterator[Start]:
    """Starts a runner for one job; other flags, lines of its configuration, and environment."""
    started: list[RunnerProcess] = []

    def begin(*flags: str, config: Sequence[str] = (), **environ: str) -> RunnerProcess:
        home = tmp_path / f"home{len(started)}"
        home.mkdir()
        text = config_toml(coordinator.url, *config)
        process = RunnerProcess(binary, home, text, *(flags or ("--max-builds", "1")), **environ)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.__exit__()


def finish(start: Start, *flags: str, **more: Any) -> RunnerProcess:
    process = start(*flags, **more)
    assert process.wait() == 0
    return process


def final(coordinator: Coordinator) -> dict[str, Any]:
    """The body of the last `PUT` with a final state."""
    return coordinator.seen("update")[-1].fields


def log_of(coordinator: Coordinator, job_id: int = 1) -> str:
    return coordinator.traces[str(job_id)].decode()


def test_a_job_succeeds_and_the_process_says_so(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "echo hello world"))
    process = finish(start)
    assert final(coordinator)["state"] == "success"
    assert {"failure_reason", "exit_code"}.isdisjoint(final(coordinator))
    assert "hello world\n" in log_of(coordinator)
    assert process.messages()[-1] == ("This runner has processed its build limit, so now exiting")


def test_the_log_lines_a_follower_reads(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "true"))
    process = finish(start)
    received = process.line("Checking for jobs... received")
    assert (received["job"], received["runner"], received["level"]) == (1, "abcdefghi", "info")
    assert received["repo_url"] == "http://127.0.0.1:1/acme/demo.git"
    done = process.line("Job succeeded")
    assert (done["job"], done["project"], done["level"]) == (1, 7, "info")
    assert 0 < done["duration_s"] < 30
    sent = process.line("Appending trace to coordinator...ok")
    assert (sent["code"], sent["job"], sent["sent-log"][:2]) == (202, 1, "0-")
    put = process.line("Submitting job to coordinator...ok")
    assert (put["code"], put["job"], put["bytesize"]) == (200, 1, len(log_of(coordinator)))
    starting = process.line("Starting runner for")["msg"]
    assert starting == f"Starting runner for {coordinator.url} with token abcdefghi ..."


def test_what_is_asked_for_a_job(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "true"))
    finish(start)
    asked = coordinator.seen("request")[0].fields
    assert asked["token"] == TOKEN
    assert asked["system_id"][:2] in {"s_", "r_"}
    assert asked["info"]["name"] == "gitlab-runner"
    assert asked["info"]["executor"] == "shell"
    for feature in ("refspecs", "masking", "cancelable", "cancel_gracefully", "trace_checksum"):
        assert asked["info"]["features"][feature] is True


def test_the_checksum_and_size_are_those_of_the_whole_log(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "echo täglich"))
    finish(start)
    log = coordinator.traces["1"]
    output = final(coordinator)["output"]
    assert output == {"checksum": f"crc32:{zlib.crc32(log):08x}", "bytesize": len(log)}


def test_a_failing_script_is_the_jobs_failure_not_the_runners(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "exit 3", "echo never"))
    process = finish(start)
    told = final(coordinator)
    assert (told["state"], told["failure_reason"]) == ("failed", "script_failure")
    assert told["exit_code"] == 3
    failed = process.line("Job failed")
    assert failed["msg"].strip() == "Job failed: exit status 3"
    assert (failed["level"], failed["job"], failed["project"]) == ("warning", 1, 7)
    assert "Failed to process build" in process.messages()
    assert "ERROR: Job failed: exit status 3" in log_of(coordinator)
    assert "never\n" not in log_of(coordinator)


def test_commands_are_shown_in_green_and_long_ones_by_their_first_line(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, 'echo "it\'s $((40 + 2))"', "if true; then\n  echo inner\nfi"))
    finish(start)
    log = log_of(coordinator)
    assert "\033[32;1m$ echo \"it's $((40 + 2))\"\033[0;m\nit's 42\n" in log
    assert "\033[32;1m$ if true; then # collapsed multi-line command\033[0;m\ninner\n" in log
    assert "section_start:" in log
    assert ":step_script\r\033[0K" in log


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("false | true", id="a pipe's first command"),
        pytest.param("(exit 1); true", id="in the middle of a line"),
        pytest.param("cat missing-file\ntrue", id="in the middle of a block"),
    ],
)
def test_the_script_stops_at_the_first_failure(
    script: str, coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, script, "echo never"))
    finish(start)
    assert final(coordinator)["exit_code"] == 1


@pytest.mark.parametrize(("flag", "code"), [("false", 1), ("true", 7)])
def test_bash_tells_the_code_of_a_command_only_when_asked_to(
    flag: str, code: int, coordinator: Coordinator, start: Start
) -> None:
    flags = [{"key": "FF_USE_NEW_BASH_EVAL_STRATEGY", "value": flag}]
    coordinator.offer(make_job(1, "bash -c 'exit 7'", variables=flags))
    finish(start)
    assert final(coordinator)["exit_code"] == code


def test_the_commands_of_a_script_share_one_shell(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "cd /; X=kept", "echo $PWD $X; read line || echo no input"))
    finish(start)
    assert "/ kept\nno input\n" in log_of(coordinator)


def test_variables_reach_the_script_and_secrets_do_not_reach_the_log(
    coordinator: Coordinator, start: Start
) -> None:
    variables = [
        {"key": "SECRET", "value": "tops3cret", "masked": True},
        {"key": "NESTED", "value": "id-$CI_JOB_ID-$$x"},
        {"key": "RAW", "value": "id-$CI_JOB_ID", "raw": True},
        {"key": "CONFIG", "value": "in a file", "file": True},
    ]
    script = ("echo $SECRET; echo $NESTED $RAW", 'cat "$CONFIG"; echo; echo $CI_SERVER')
    coordinator.offer(make_job(1, *script, variables=variables))
    finish(start)
    log = log_of(coordinator)
    assert "tops3cret" not in log
    assert "[MASKED]\nid-1-$x id-$CI_JOB_ID\n" in log
    assert "in a file\nyes\n" in log


def test_the_job_sees_the_runners_environment(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "echo $AWS_SECRET_ACCESS_KEY/$PYTHONPATH."))
    finish(start, AWS_SECRET_ACCESS_KEY="leaked")
    assert "leaked/.\n" in log_of(coordinator)


def test_after_script_runs_apart_and_changes_nothing(
    coordinator: Coordinator, start: Start
) -> None:
    after = ("echo after $CI_JOB_STATUS $X.", "exit 4")
    coordinator.offer(make_job(1, "X=1; export X", after_script=after))
    coordinator.offer(make_job(2, "exit 2", after_script=after))
    finish(start, "--max-builds", "2")
    assert "after success .\n" in log_of(coordinator, 1)
    assert "after failed .\n" in log_of(coordinator, 2)
    assert "after_script failed, but job will continue unaffected" in log_of(coordinator, 1)
    ends = [request.fields for request in coordinator.seen("update")]
    assert [end["state"] for end in ends] == ["success", "failed"]
    assert ends[1]["exit_code"] == 2


def test_after_script_counts_when_its_errors_are_not_to_be_ignored(
    coordinator: Coordinator, start: Start
) -> None:
    variables = [{"key": "AFTER_SCRIPT_IGNORE_ERRORS", "value": "false"}]
    coordinator.offer(make_job(1, "true", after_script=("exit 4",), variables=variables))
    finish(start)
    assert (final(coordinator)["state"], final(coordinator)["exit_code"]) == ("failed", 4)


def test_what_holds_the_output_keeps_the_job_open(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "(sleep 3; echo late) & echo begun"))
    finish(start)
    assert final(coordinator)["state"] == "success"
    assert "begun\nlate\n" in log_of(coordinator)


def test_the_jobs_time_ends_what_holds_the_output(coordinator: Coordinator, start: Start) -> None:
    job = make_job(1, "sleep 60 & echo begun", runner_info={"timeout": 3})
    coordinator.offer(job)
    finish(start)
    assert final(coordinator)["failure_reason"] == "job_execution_timeout"


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (("kill -TERM $$", "echo goes on"), None),
        (("kill -TERM $$", "echo goes on; exit 3"), 3),
        (("kill -HUP $$", "echo goes on; false"), 1),
        (("echo goes on", "kill -TERM $BASHPID", "echo never"), 143),
    ],
)
def test_a_script_that_signals_its_shell_ends_with_its_own_code(
    ending: tuple[str, ...], code: int | None, coordinator: Coordinator, start: Start
) -> None:
    """The shell's trap is `exit` for TERM and HUP: it keeps the code of the script."""
    coordinator.offer(make_job(1, *ending))
    finish(start)
    assert final(coordinator).get("exit_code") == code
    assert "goes on\n" in log_of(coordinator)
    assert "never\n" not in log_of(coordinator)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("glpat-abc.123_x=y z", "glpat-[MASKED] z"),
        ("a=glcbt-64_abcdef,", "a=glcbt-[MASKED],"),
        ("glrt-x glrt-", "glrt-[MASKED] glrt-"),
        ("_gitlab_session=0123;", "_gitlab_session=[MASKED];"),
        ("own-a1", "own-[MASKED]"),
        ("http://h/?x=1&private_token=abc&y=2", "http://h/?x=1&private_token=[MASKED]&y=2"),
        ("glpatx-1 xglpa glpa-t", "glpatx-1 xglpa glpa-t"),
    ],
)
def test_what_looks_like_a_token_is_not_shown(
    printed: str, shown: str, coordinator: Coordinator, start: Start
) -> None:
    """Also where it comes in pieces."""
    half = len(printed) // 2
    pieces = f"printf %s '{printed[:half]}'; sleep 0.3; printf '%s\\n' '{printed[half:]}'"
    features = {"trace_sections": True, "token_mask_prefixes": ["own-"]}
    coordinator.offer(
        make_job(1, f'eval "$(echo {_encoded(pieces)} | base64 -d)"', features=features)
    )
    finish(start)
    assert f"\n{shown}\n" in log_of(coordinator)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("variable", ["RUNNER_SCRIPT_TIMEOUT", "RUNNER_AFTER_SCRIPT_TIMEOUT"])
def test_scripts_may_have_times_of_their_own(
    variable: str, coordinator: Coordinator, start: Start
) -> None:
    variables = [{"key": variable, "value": "1s"}]
    is_script = variable == "RUNNER_SCRIPT_TIMEOUT"
    script, after = ("sleep 60", "echo after") if is_script else ("true", "sleep 60")
    coordinator.offer(make_job(1, script, after_script=(after,), variables=variables))
    process = finish(start)
    told = final(coordinator)
    assert told["state"] == ("failed" if is_script else "success")
    if is_script:
        assert told["failure_reason"] == "job_execution_timeout"
        assert "script timeout" in process.line("Job failed")["msg"]
        assert "after\n" in log_of(coordinator)


def test_attempts_out_of_range_fail_the_system(coordinator: Coordinator, start: Start) -> None:
    changes = [{"key": "GET_SOURCES_ATTEMPTS", "value": "11"}]
    coordinator.offer(make_job(1, "true", variables=changes))
    process = finish(start)
    told = process.line("Job failed")["msg"]
    assert told.startswith("Job failed (system failure): number of attempts out of the range")
    assert final(coordinator)["failure_reason"] == "runner_system_failure"


def test_a_shell_that_is_killed_is_the_jobs_failure(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "kill -KILL $$"))
    process = finish(start)
    assert process.line("Job failed")["msg"].strip() == "Job failed: signal: killed"
    assert final(coordinator)["failure_reason"] == "script_failure"


def test_the_runners_own_scripts_and_environment(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "echo script $OWN"))
    scripts = ('pre_build_script = "echo before"', 'post_build_script = "echo behind"')
    finish(start, config=[*scripts, 'environment = ["OWN=set"]'])
    log = log_of(coordinator)
    assert log.index("\nbefore\n") < log.index("\nscript set\n") < log.index("\nbehind\n")


def test_no_job_in_time_ends_the_process(coordinator: Coordinator, start: Start) -> None:
    process = finish(start, "--max-builds", "1", "--wait-timeout", "1")
    assert coordinator.seen("update") == []
    assert process.messages()[-1] == (
        "This runner has not received a job in 1 seconds, so now exiting"
    )


def test_several_jobs_in_a_row_without_a_pause(coordinator: Coordinator, start: Start) -> None:
    for number in (1, 2, 3):
        coordinator.offer(make_job(number, "true"))
    finish(start, "--max-builds", "3")
    assert len(coordinator.seen("request")) == 3
    assert sorted(coordinator.traces) == ["1", "2", "3"]


def test_the_job_time_is_kept_by_the_runner(coordinator: Coordinator, start: Start) -> None:
    job = make_job(1, "sleep 60", after_script=("echo late",), runner_info={"timeout": 2})
    coordinator.offer(job)
    process = finish(start)
    told = final(coordinator)
    assert (told["state"], told["failure_reason"]) == ("failed", "job_execution_timeout")
    assert "execution took longer than 2s seconds" in process.line("Job failed")["msg"]
    assert "late\n" not in log_of(coordinator)


def test_output_is_cut_at_the_limit_and_the_job_goes_on(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "head -c 300000 /dev/zero | tr '\\0' x", "echo the end"))
    finish(start, config=["output_limit = 100"])
    log = log_of(coordinator)
    assert "Job's log exceeded limit of 102400 bytes.\n" in log
    assert "the end" not in log
    assert 102400 < len(log) < 103000
    assert final(coordinator)["state"] == "success"


def test_a_long_log_goes_in_pieces_of_a_mebibyte(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "head -c 2500000 /dev/zero | tr '\\0' x"))
    coordinator.trace_interval_s = 30  # however slow the machine: most of it is sent at the end
    finish(start)
    sizes = [len(request.body) for request in coordinator.seen("trace")]
    assert max(sizes) == 1024 * 1024
    assert sum(sizes) == len(coordinator.traces["1"]) > 2_500_000


def test_a_range_mismatch_makes_it_go_on_from_what_gitlab_has(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "echo content"))
    coordinator.answer_next(
        "trace", Answer(status=416, headers={"Range": "0-0", "X-GitLab-Trace-Update-Interval": "1"})
    )
    finish(start)
    assert "content\n" in log_of(coordinator)
    ranges = [request.headers["content-range"] for request in coordinator.seen("trace")]
    assert len(ranges) == 2
    assert ranges[0] == ranges[1]


def test_a_final_state_that_is_not_taken_yet_is_told_again(
    coordinator: Coordinator, start: Start
) -> None:
    soon = {"X-GitLab-Trace-Update-Interval": "1"}
    coordinator.answer_next("update", Answer(status=202, headers=soon))
    coordinator.offer(make_job(1, "true"))
    process = finish(start)
    assert [request.fields["state"] for request in coordinator.seen("update")] == ["success"] * 2
    assert "Submitting job to coordinator...accepted, but not yet completed" in process.messages()


def test_a_log_that_gitlab_calls_invalid_is_sent_again_from_the_start(
    coordinator: Coordinator, start: Start
) -> None:
    soon = {"X-GitLab-Trace-Update-Interval": "1"}
    coordinator.answer_next("update", Answer(status=412, headers=soon))
    coordinator.offer(make_job(1, "echo once"))
    process = start()
    coordinator.wait_until(lambda: bool(coordinator.seen("update")))
    coordinator.traces.clear()
    assert process.wait() == 0
    starts = [request.headers["content-range"][:2] for request in coordinator.seen("trace")]
    assert starts == ["0-", "0-"]
    assert "once\n" in log_of(coordinator)


def test_a_final_state_that_fails_is_tried_again(coordinator: Coordinator, start: Start) -> None:
    soon = {"X-GitLab-Trace-Update-Interval": "1"}
    coordinator.answer_next("update", Answer(status=500, headers=soon))
    coordinator.offer(make_job(1, "true"))
    finish(start)
    assert len(coordinator.seen("update")) == 2


@pytest.mark.parametrize("status", [403, 404])
def test_a_final_state_nobody_wants_is_told_once(
    status: int, coordinator: Coordinator, start: Start
) -> None:
    coordinator.answer_next("update", Answer(status=status))
    coordinator.offer(make_job(1, "true"))
    finish(start)
    assert len(coordinator.seen("update")) == 1


def test_canceled_ends_the_script_and_runs_nothing_more(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.job_status = "canceled"
    after = ("echo after",)
    coordinator.offer(make_job(1, "echo begun; sleep 60; echo never", after_script=after))
    process = finish(start)
    log = log_of(coordinator)
    assert "begun\n" in log
    assert "after\n" not in log
    assert process.line("Job failed")["msg"].strip() == "Job failed: canceled"
    told = final(coordinator)
    assert (told["state"], told["failure_reason"]) == ("failed", "unknown_failure")


def test_canceling_ends_the_script_and_runs_after_script(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.job_status = "canceling"
    after = ("echo after $CI_JOB_STATUS",)
    coordinator.offer(make_job(1, "echo begun; sleep 60; echo never", after_script=after))
    process = finish(start)
    assert "after canceled\n" in log_of(coordinator)
    assert process.line("Job failed")["msg"].strip() == "Job failed: canceled"
    assert final(coordinator)["state"] == "failed"


def test_a_refused_trace_aborts_the_job(coordinator: Coordinator, start: Start) -> None:
    coordinator.answer_next("trace", Answer(status=403))
    coordinator.offer(make_job(1, "echo begun; sleep 60"))
    process = finish(start)
    assert process.line("Job failed")["msg"].strip() == "Job failed: canceled"


def test_processes_of_an_aborted_script_are_gone(
    coordinator: Coordinator, start: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    coordinator.job_status = "canceled"
    coordinator.offer(make_job(1, f"sleep 61 & echo $! > {pids}; echo begun; sleep 62"))
    finish(start)
    state = ["ps", "-o", "stat=", "-p", pids.read_text().strip()]
    shown = subprocess.run(state, check=False, capture_output=True, text=True).stdout
    assert shown[:1] in {"", "Z"}  # nothing, or dead and not yet looked at by init


def test_sigterm_aborts_the_job_and_ends_the_process(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "echo begun; sleep 60"))
    process = start()
    coordinator.wait_until(lambda: "begun\n" in coordinator.traces.get("1", b"").decode())
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    told = final(coordinator)
    assert (told["state"], told["failure_reason"]) == ("failed", "runner_system_failure")
    said = "Job failed (system failure): aborted: terminated"
    assert process.line("Job failed")["msg"].strip() == said
    assert process.line("Requested exit")["msg"] == "Requested exit: terminated"


def test_sigterm_while_idle_ends_the_process_at_once(
    coordinator: Coordinator, start: Start
) -> None:
    process = start()
    coordinator.wait_until(lambda: bool(coordinator.seen("request")))
    process.send(signal.SIGTERM)
    assert process.wait(within_s=5) == 0


def test_sigquit_lets_the_job_finish(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "echo begun; sleep 2; echo done"))
    process = start("--max-builds", "5")
    coordinator.wait_until(lambda: "begun\n" in coordinator.traces.get("1", b"").decode())
    process.send(signal.SIGQUIT)
    assert process.wait() == 0
    assert final(coordinator)["state"] == "success"
    assert "done\n" in log_of(coordinator)
    assert len(coordinator.seen("request")) == 1
    assert "Requested quit, waiting for builds to finish" in process.messages()


def test_a_second_signal_forces_the_end(coordinator: Coordinator, start: Start) -> None:
    coordinator.offer(make_job(1, "trap '' TERM; echo begun; sleep 8"))
    process = start()
    coordinator.wait_until(lambda: "begun\n" in coordinator.traces.get("1", b"").decode())
    process.send(signal.SIGTERM)
    process.wait_until(lambda: any("Requested exit" in line for line in process.messages()))
    assert process.send_until_end(signal.SIGTERM) == 1
    assert process.line("forced exit")["level"] == "fatal"
    assert coordinator.seen("update") == []


def test_a_forbidden_runner_sits_until_a_signal(coordinator: Coordinator, start: Start) -> None:
    coordinator.answer_next("request", Answer(status=403))
    process = start()
    process.wait_until(lambda: "Runner is not healthy!" in process.messages())
    assert process.line("Checking for jobs... forbidden")["level"] == "error"
    process.send(signal.SIGTERM)
    assert process.wait(within_s=5) == 0
    assert len(coordinator.seen("request")) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(status=500), id="500"),
        pytest.param(Answer(status=409), id="409"),
        pytest.param(Answer(status=201, body=b"{}"), id="no JSON type"),
        pytest.param(
            Answer(status=201, headers={"Content-Type": "application/json"}, body=b"["), id="broken"
        ),
        pytest.param(
            Answer(status=201, headers={"Content-Type": "application/json"}, body=b'{"id":"9"}'),
            id="id as text",
        ),
    ],
)
def test_a_failed_poll_is_a_warning_and_the_next_one_counts(
    answer: Answer, coordinator: Coordinator, start: Start
) -> None:
    coordinator.answer_next("request", answer)
    coordinator.offer(make_job(1, "true"))
    process = finish(start)
    assert process.line("Checking for jobs... failed")["level"] == "warning"
    assert final(coordinator)["state"] == "success"


def test_last_update_comes_back_with_the_next_question(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.answer_next("request", Answer(status=204, headers={"X-GitLab-Last-Update": "abc"}))
    coordinator.offer(make_job(1, "true"))
    finish(start)
    first, second = (request.fields for request in coordinator.seen("request"))
    assert "last_update" not in first
    assert second["last_update"] == "abc"


# --- sources ---------------------------------------------------------------------------------


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def sources(tmp_path: Path, coordinator: Coordinator) -> dict[str, Any]:
    """`git_info` of a repository with three commits, served to those with credentials."""
    work = tmp_path / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    for number in (1, 2, 3):
        (work / "number.txt").write_text(f"{number}\n")
        git("add", ".", cwd=work)
        git("commit", "-q", "-m", str(number), cwd=work)
    (tmp_path / "repositories" / "acme").mkdir(parents=True)
    bare = tmp_path / "repositories" / "acme" / "demo.git"
    git("clone", "-q", "--bare", str(work), str(bare), cwd=tmp_path)
    host = coordinator.url.removeprefix("http://")
    return {
        "repo_url": f"http://gitlab-ci-token:secret-token@{host}/acme/demo.git",
        "ref": "main",
        "sha": git("rev-parse", "HEAD", cwd=work),
        "before_sha": "0" * 40,
        "ref_type": "branch",
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
        "depth": 2,
    }


@pytest.fixture
def with_submodule(
    coordinator: Coordinator, sources: dict[str, Any], tmp_path: Path
) -> dict[str, Any]:
    """The same with a submodule of three commits, for which git asks for credentials as well."""
    work = tmp_path / "work"
    base = coordinator.url.removesuffix("/")
    bare = tmp_path / "repositories" / "acme" / "library.git"
    git("clone", "-q", "--bare", str(work), str(bare), cwd=tmp_path)
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(bare), "lib", cwd=work)
    git("config", "-f", ".gitmodules", "submodule.lib.url", f"{base}/acme/library.git", cwd=work)
    git("commit", "-q", "-a", "-m", "with a library", cwd=work)
    git("push", "-q", str(tmp_path / "repositories" / "acme" / "demo.git"), "main", cwd=work)
    return sources | {"sha": git("rev-parse", "HEAD", cwd=work)}


@pytest.mark.parametrize(("wanted", "depth"), [({}, 2), ({"GIT_SUBMODULE_DEPTH": "1"}, 1)])
def test_submodules_are_fetched_with_the_jobs_token(
    wanted: dict[str, str],
    depth: int,
    coordinator: Coordinator,
    with_submodule: dict[str, Any],
    start: Start,
) -> None:
    wanted = {"GIT_SUBMODULE_STRATEGY": "normal", **wanted}
    variables = [{"key": key, "value": value} for key, value in wanted.items()]
    script = "cat lib/number.txt; git -C lib rev-list --count HEAD; cat .git/modules/lib/config"
    coordinator.offer(make_job(1, script, git_info=with_submodule, variables=variables))
    finish(start)
    log = log_of(coordinator)
    assert final(coordinator)["state"] == "success"
    assert f"Updating/initializing submodules with git depth set to {depth}..." in log
    assert f"\n3\n{depth}\n" in log
    assert "secret-token" not in log


def test_sources_are_fetched_with_the_depth_asked_for(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    script = ("cat number.txt; git rev-list --count HEAD", "echo $PWD; echo $CI_PROJECT_DIR")
    coordinator.offer(make_job(1, *script, git_info=sources))
    process = finish(start)
    log = log_of(coordinator)
    assert "Fetching changes with git depth set to 2..." in log
    assert "Created fresh repository." in log
    assert f"Checking out {sources['sha'][:8]} as detached HEAD (ref is main)..." in log
    project = process.home / "builds" / "abcdefghi" / "0" / "acme" / "demo"
    assert "3\n2\n\033[32;1m$ echo $PWD" in log
    assert f"{project}\n{project}\n" in log


def test_leftovers_of_the_last_job_are_cleaned_away(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    coordinator.offer(make_job(1, "echo x > left; echo y > number.txt", git_info=sources))
    coordinator.offer(make_job(2, "ls; cat number.txt", git_info=sources))
    finish(start, "--max-builds", "2")
    assert "Removing left\n" in log_of(coordinator, 2)
    assert "\nnumber.txt\n3\n" in log_of(coordinator, 2)


@pytest.mark.parametrize(
    "case",
    [
        ("clone", False, "Created fresh repository."),
        ("none", True, "Skipping Git repository setup"),
        ("fetch", False, "Reinitialized existing Git repository"),
    ],
)
def test_strategies(
    case: tuple[str, bool, str], coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    strategy, kept, said = case
    variables = [{"key": "GIT_STRATEGY", "value": strategy}]
    coordinator.offer(make_job(1, "echo x > left", git_info=sources))
    coordinator.offer(make_job(2, "ls", git_info=sources, variables=variables))
    finish(start, "--max-builds", "2")
    assert said in log_of(coordinator, 2)
    assert ("\nleft\n" in log_of(coordinator, 2)) is kept


def test_a_strategy_that_does_not_exist_is_not_followed(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    variables = [{"key": "GIT_STRATEGY", "value": "svn"}]
    coordinator.offer(make_job(1, "cat number.txt", git_info=sources, variables=variables))
    finish(start)
    assert "got \"svn\", using default value 'fetch'" in log_of(coordinator)
    assert "\n3\n" in log_of(coordinator)


def test_the_empty_strategy_gives_an_empty_folder_of_its_own(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    variables = [{"key": "GIT_STRATEGY", "value": "empty"}]
    coordinator.offer(make_job(1, "ls -A; pwd", git_info=sources, variables=variables))
    finish(start)
    assert "acme/demo-empty\n" in log_of(coordinator)
    assert "number.txt" not in log_of(coordinator)


def test_sources_that_cannot_be_had_fail_the_job(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    sources = {**sources, "sha": "1" * 40}
    coordinator.offer(make_job(1, "echo never", git_info=sources, after_script=("echo after",)))
    process = finish(start)
    assert process.line("Job failed")["msg"].startswith("Job failed: exit status ")
    assert "never\n" not in log_of(coordinator)
    assert "after\n" not in log_of(coordinator)


def test_attempts_are_made_as_often_as_asked(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    sources = {**sources, "sha": "1" * 40}
    variables = [{"key": "GET_SOURCES_ATTEMPTS", "value": "2"}]
    coordinator.offer(make_job(1, "echo never", git_info=sources, variables=variables))
    finish(start)
    assert log_of(coordinator).count("Checking out 11111111") == 2


# --- artifacts and caches --------------------------------------------------------------------


def archive(**changes: Any) -> dict[str, Any]:
    return {
        "name": "",
        "paths": ["out"],
        "when": "on_success",
        "expire_in": "1 week",
        "artifact_type": "archive",
        "artifact_format": "zip",
        **changes,
    }


def uploaded(coordinator: Coordinator, job_id: int = 1) -> zipfile.ZipFile:
    """The archive in a multipart body."""
    body = coordinator.uploads[str(job_id)]
    start = body.index(b"\r\n\r\n") + 4
    return zipfile.ZipFile(io.BytesIO(body[start : body.rindex(b"\r\n--")]))


def test_artifacts_go_up_as_a_chunked_multipart(coordinator: Coordinator, start: Start) -> None:
    script = "mkdir -p out/deep; echo a > out/a.txt; echo b > out/deep/b.log; chmod 755 out/a.txt"
    artifact = archive(paths=["out"], exclude=["out/**/*.log"], name="mine")
    coordinator.offer(make_job(1, script, artifacts=[artifact]))
    finish(start)
    (request,) = coordinator.seen("upload")
    assert request.target == (
        "/api/v4/jobs/1/artifacts?artifact_format=zip&artifact_type=archive&expire_in=1+week"
    )
    assert request.headers["transfer-encoding"] == "chunked"
    assert request.headers["job-token"] == "glcbt-64_00000000000000000001"
    assert b'name="file"; filename="mine.zip"' in request.body
    packed = uploaded(coordinator)
    assert packed.read("out/a.txt") == b"a\n"
    assert packed.getinfo("out/a.txt").external_attr >> 16 & 0o777 == 0o755
    assert "out/deep/b.log" not in packed.namelist()


@pytest.mark.parametrize(
    ("when", "after_success", "after_failure"),
    [("on_success", True, False), ("on_failure", False, True), ("always", True, True)],
)
def test_when_artifacts_go_up(
    when: str, after_success: bool, after_failure: bool, coordinator: Coordinator, start: Start
) -> None:
    artifacts = [archive(when=when)]
    coordinator.offer(make_job(1, "mkdir -p out; echo > out/f", artifacts=artifacts))
    coordinator.offer(make_job(2, "mkdir -p out; echo > out/f; false", artifacts=artifacts))
    finish(start, "--max-builds", "2")
    assert ("1" in coordinator.uploads, "2" in coordinator.uploads) == (
        after_success,
        after_failure,
    )


def test_untracked_files_can_be_artifacts(
    coordinator: Coordinator, start: Start, sources: dict[str, Any]
) -> None:
    artifact = archive(paths=[], untracked=True)
    coordinator.offer(make_job(1, "echo x > new.txt", artifacts=[artifact], git_info=sources))
    finish(start)
    assert uploaded(coordinator).namelist() == ["new.txt"]


def test_reports_go_up_as_gzip(coordinator: Coordinator, start: Start) -> None:
    report = archive(paths=["junit.xml"], artifact_type="junit", artifact_format="gzip")
    coordinator.offer(make_job(1, "echo '<testsuite/>' > junit.xml", artifacts=[report]))
    finish(start)
    (request,) = coordinator.seen("upload")
    assert "artifact_format=gzip&artifact_type=junit" in request.target
    body = coordinator.uploads["1"]
    packed = body[body.index(b"\r\n\r\n") + 4 : body.rindex(b"\r\n--")]
    assert gzip.decompress(packed) == b"<testsuite/>\n"


def test_artifacts_that_match_nothing_are_no_failure(
    coordinator: Coordinator, start: Start
) -> None:
    coordinator.offer(make_job(1, "true", artifacts=[archive(paths=["nothing"])]))
    finish(start)
    assert "nothing: no matching files" in log_of(coordinator)
    assert "No files to upload" in log_of(coordinator)
    assert final(coordinator)["state"] == "success"


@pytest.mark.parametrize(
    ("answers", "tries", "state"),
    [
        pytest.param([503], 2, "success", id="unavailable once"),
        pytest.param([403], 1, "failed", id="forbidden"),
        pytest.param([413], 1, "failed", id="too large"),
        pytest.param([500, 500, 500], 3, "failed", id="three errors"),
    ],
)
def test_uploads_that_are_not_taken(
    answers: list[int], tries: int, state: str, coordinator: Coordinator, start: Start
) -> None:
    coordinator.answer_next("upload", *(Answer(status=status) for status in answers))
    coordinator.offer(make_job(1, "mkdir -p out; echo > out/f", artifacts=[archive()]))
    finish(start)
    assert len(coordinator.seen("upload")) == tries
    assert final(coordinator)["state"] == state


def test_artifacts_of_an_earlier_job_come_down(coordinator: Coordinator, start: Start) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive_file:
        archive_file.writestr("out/from-earlier.txt", "hello from earlier\n")
    coordinator.downloads["41"] = packed.getvalue()
    earlier = {
        "id": 41,
        "token": "glcbt-64_00000000000000000041",
        "name": "build",
        "artifacts_file": {"filename": "artifacts.zip", "size": 1},
    }
    without = {**earlier, "id": 42, "artifacts_file": {}}
    coordinator.offer(make_job(1, "cat out/from-earlier.txt", dependencies=[earlier, without]))
    finish(start)
    (request,) = coordinator.seen("download")
    assert request.target == "/api/v4/jobs/41/artifacts?direct_download=true"
    assert request.headers["job-token"] == earlier["token"]
    assert "hello from earlier\n" in log_of(coordinator)


def test_a_broken_archive_fails_the_job(coordinator: Coordinator, start: Start) -> None:
    coordinator.downloads["41"] = b"no zip at all"
    earlier = {"id": 41, "token": "t" * 20, "name": "b", "artifacts_file": {"filename": "a.zip"}}
    coordinator.offer(make_job(1, "echo never", dependencies=[earlier]))
    finish(start)
    assert final(coordinator)["state"] == "failed"
    assert "never\n" not in log_of(coordinator)


def test_missing_artifacts_fail_the_job(coordinator: Coordinator, start: Start) -> None:
    earlier = {
        "id": 41,
        "token": "glcbt-64_00000000000000000041",
        "name": "build",
        "artifacts_file": {"filename": "artifacts.zip"},
    }
    coordinator.offer(make_job(1, "echo never", dependencies=[earlier]))
    finish(start)
    assert "Downloading artifacts from coordinator... not found" in log_of(coordinator)
    assert final(coordinator)["failure_reason"] == "script_failure"
    assert "never\n" not in log_of(coordinator)


def test_a_cache_is_kept_for_the_next_job(coordinator: Coordinator, start: Start) -> None:
    cache = [{"key": "k-$CI_PROJECT_PATH", "paths": ["kept"], "policy": "pull-push"}]
    clean = "cat kept/f 2>/dev/null || echo nothing there; rm -rf kept"
    coordinator.offer(make_job(1, clean, "mkdir kept; echo cached > kept/f", cache=cache))
    coordinator.offer(make_job(2, clean, "mkdir kept", cache=cache))
    finish(start, "--max-builds", "2")
    assert "nothing there\n" in log_of(coordinator, 1)
    assert "Creating cache k-acme/demo...\033[0;m" in log_of(coordinator, 1)
    assert "cached\n" in log_of(coordinator, 2)
    assert "Successfully extracted cache" in log_of(coordinator, 2)


def test_a_pull_only_cache_is_not_saved_and_fallbacks_are_tried(
    coordinator: Coordinator, start: Start
) -> None:
    saved = [{"key": "main", "paths": ["kept"]}]
    pulled = [{"key": "topic", "paths": ["kept"], "policy": "pull", "fallback_keys": ["main"]}]
    coordinator.offer(make_job(1, "mkdir -p kept; echo cached > kept/f", cache=saved))
    coordinator.offer(make_job(2, "cat kept/f", cache=pulled))
    finish(start, "--max-builds", "2")
    log = log_of(coordinator, 2)
    assert log.index("Checking cache for topic...") < log.index("Checking cache for main...")
    assert "cached\n" in log
    assert "Not uploading cache topic due to policy" in log


@pytest.mark.parametrize(
    ("shared", "name"),
    [(True, "/caches/project/7/k"), (False, "/caches/runner/abcdefghi/project/7/k")],
)
def test_a_cache_in_a_bucket_reaches_other_machines(
    shared: bool, name: str, coordinator: Coordinator, start: Start
) -> None:
    cache = [{"key": "k", "paths": ["kept"], "policy": "pull-push"}]
    coordinator.offer(make_job(1, "mkdir kept; echo cached > kept/f", cache=cache))
    coordinator.offer(make_job(2, "cat kept/f", cache=cache))
    with ObjectStore() as store:
        config = [
            *("[runners.cache]", 'Type = "s3"', f"Shared = {str(shared).lower()}"),
            *("[runners.cache.s3]", f'ServerAddress = "{store.address}"', "Insecure = true"),
            *('BucketName = "caches"', 'BucketLocation = "us-east-1"'),
            *('AccessKey = "AK"', 'SecretKey = "SK"', 'AuthenticationType = "access-key"'),
        ]
        finish(start, config=config)
        assert list(store.objects) == [name]
        finish(start, config=config)  # in another folder
    assert "cached\n" in log_of(coordinator, 2)


# --- how it starts ----------------------------------------------------------------------------


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
        ("", []),
        ("[[runners]", []),
        (config_toml(""), []),
        (config_toml("http://x", token=""), []),
        (config_toml("http://x").replace('"shell"', '""', 1), []),
        (config_toml("http://x", 'output_limit = "5"'), []),
        (config_toml("http://x"), ["--nonsense"]),
        (config_toml("http://x"), ["--max-builds"]),
    ],
)
def test_what_cannot_be_followed_ends_the_process_with_a_fatal_line(
    config: str, flags: list[str], binary: str, tmp_path: Path
) -> None:
    with RunnerProcess(binary, tmp_path, config, *flags) as process:
        assert process.wait() == 1
    assert process.lines[-1]["level"] == "fatal"
