"""Shells run to their end, or to an earlier one."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from local.stand_in.process import Scope, run_shell
from local.stand_in.stops import BuildError, Over, Stops

BASH = ["bash"]


class Output:
    """What was written, and a way to wait for it."""

    def __init__(self) -> None:
        self.content = b""
        self._changed = threading.Condition()

    def write(self, data: bytes) -> None:
        with self._changed:
            self.content += data
            self._changed.notify_all()

    def wait_for(self, text: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.content, timeout=60)


def run(script: str, scope: Scope | None = None) -> tuple[int, bytes]:
    output = Output()
    code = run_shell(
        BASH, script, write=output.write, scope=scope or Scope(stops=Stops(timeout_s=60))
    )
    return code, output.content


def stopped(script: str, scope: Scope, *, by: str, when: bytes = b"begun\n") -> BuildError:
    """The error of a run that a wish ended once `when` was seen."""
    output = Output()

    def wish() -> None:
        output.wait_for(when)
        {"abort": scope.stops.abort, "cancel": scope.stops.cancel}[by]()

    thread = threading.Thread(target=wish)
    thread.start()
    with pytest.raises(BuildError) as caught:
        run_shell(BASH, script, write=output.write, scope=scope)
    thread.join(timeout=60)
    return caught.value


@pytest.mark.parametrize("code", [0, 1, 42])
def test_the_exit_code_is_handed_on(code: int) -> None:
    assert run(f"exit {code}")[0] == code


def test_output_and_errors_come_in_order() -> None:
    assert run("echo one; echo two >&2; echo three")[1] == b"one\ntwo\nthree\n"


def test_a_long_script_and_a_long_output_pass() -> None:
    lines = "\n".join(f"echo line {number}" for number in range(20_000))
    code, output = run(lines)
    assert (code, output.count(b"\n")) == (0, 20_000)


def test_a_shell_ended_by_a_signal_has_a_negative_code() -> None:
    assert run("kill -KILL $$")[0] == -9


def test_the_shell_leads_a_process_group_of_its_own() -> None:
    _, output = run("ps -o pgid= -p $$; echo $$")
    group, pid = output.split()
    assert group == pid
    assert int(group) != os.getpgrp()


def test_what_holds_the_output_is_waited_for() -> None:
    code, output = run("(read line < <(sleep 1.5); echo late) & exec 3>&-; echo begun")
    assert (code, output) == (0, b"begun\nlate\n")


def test_a_wish_ends_what_outlived_the_shell() -> None:
    error = stopped("sleep 60 & echo begun", Scope(stops=Stops(timeout_s=60)), by="abort")
    assert isinstance(error, Over)


def test_an_abort_ends_the_whole_group() -> None:
    scope = Scope(stops=Stops(timeout_s=60))
    error = stopped("sleep 60 & echo begun; sleep 61", scope, by="abort")
    assert isinstance(error, Over)
    listed = subprocess.run(
        ["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True
    )
    alive = [line for line in listed.stdout.splitlines() if not line.startswith("Z")]
    assert not [line for line in alive if line.split(maxsplit=1)[1:] == ["sleep 61"]]


def test_a_script_may_tidy_up_before_it_ends() -> None:
    scope = Scope(stops=Stops(timeout_s=60))
    output = Output()

    def wish() -> None:
        output.wait_for(b"begun\n")
        scope.stops.abort()

    threading.Thread(target=wish, daemon=True).start()
    script = "trap 'echo tidied; exit 0' TERM; echo begun; while :; do sleep 0.05; done"
    with pytest.raises(Over):
        run_shell(BASH, script, write=output.write, scope=scope)
    assert output.content.splitlines()[-1] == b"tidied"


def test_canceling_ends_a_script_and_nothing_else() -> None:
    script = Scope(stops=Stops(timeout_s=60), is_script=True)
    error = stopped("echo begun; sleep 60", script, by="cancel")
    assert (str(error), isinstance(error, Over)) == ("canceled", False)
    after = Scope(stops=script.stops)
    assert run("echo after", after) == (0, b"after\n")


def test_the_jobs_time_ends_it() -> None:
    with pytest.raises(Over, match="execution took longer than 0s seconds"):
        run("sleep 60", Scope(stops=Stops(timeout_s=0.2)))


def test_a_time_of_its_own_ends_it_otherwise() -> None:
    late = BuildError("too late")
    scope = Scope(stops=Stops(timeout_s=60), timeout_s=0.2, on_timeout=late)
    with pytest.raises(BuildError, match="too late") as caught:
        run("sleep 60", scope)
    assert caught.value is late


def test_a_wish_from_before_the_start_counts() -> None:
    stops = Stops(timeout_s=60)
    stops.abort()
    with pytest.raises(Over, match="canceled"):
        run("sleep 60", Scope(stops=stops))


def test_a_shell_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run_shell(["no-such-shell"], "", write=print, scope=Scope(stops=Stops(timeout_s=1)))
