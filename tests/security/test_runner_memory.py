"""A job of gitlab-runner's own user cannot read its memory or use its descriptors."""

import json
import os
import shutil
from pathlib import Path

import pytest

from adapters.guest.runner_process import BINARY_VARIABLE, clean_environment, open_to_jobs
from tests.security.test_processes import run

NOBODY = 65534
# What the neighbour of a process can do: an own process of the same user looks at it.
LOOK = """
import json, os, subprocess, sys, time
binary, home = sys.argv[1:]
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
os.mkfifo(f"{home}/config.toml")
process = subprocess.Popen(
    [binary, "run-single", "-c", f"{home}/config.toml", "-r", "none"],
    cwd=home, env={"HOME": home, "PATH": "/bin"}, stderr=subprocess.PIPE, start_new_session=True)
give_up = time.monotonic() + 20
while True:  # it waits for its configuration
    try:
        sink = os.open(f"{home}/config.toml", os.O_WRONLY | os.O_NONBLOCK); break
    except OSError:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.01)
def can(look):
    try:
        look()
    except OSError:
        return False
    return True
proc = f"/proc/{process.pid}"
print(json.dumps({
    "mem": can(lambda: open(f"{proc}/mem", "rb").close()),
    "fd": can(lambda: os.listdir(f"{proc}/fd")),
    "stderr": can(lambda: open(f"{proc}/fd/2", "wb").close()),
    "maps": can(lambda: open(f"{proc}/maps").read()),
    "environ": can(lambda: open(f"{proc}/environ").read()),
}))
process.kill()
"""


@pytest.mark.real_runner
@pytest.mark.skipif(BINARY_VARIABLE not in os.environ, reason=f"{BINARY_VARIABLE} names no binary")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can own the binary and start it as another")
@pytest.mark.parametrize(("mode", "is_open"), [(0o711, False), (0o755, True)])
def test_a_binary_that_jobs_cannot_read_hides_its_process(
    mode: int, is_open: bool, open_folder: Path
) -> None:
    """With 0755 each of these is open: the test would show it."""
    named = os.environ[BINARY_VARIABLE]
    binary, home = open_folder / "gitlab-runner", open_folder / "home"
    shutil.copyfile(named, binary)
    binary.chmod(mode)
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    opened = json.loads(run(LOOK, str(binary), str(home)))
    assert opened == dict.fromkeys(["mem", "fd", "stderr", "maps", "environ"], is_open)


CHECK = """
import os, sys
from adapters.guest.runner_process import open_to_jobs
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
print(open_to_jobs(sys.argv[1], {}) is not None)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can own the binary and look as another")
@pytest.mark.parametrize(
    ("owner", "mode", "is_open"),
    [(0, 0o711, False), (0, 0o755, True), (NOBODY, 0o111, True), (0, 0o111, False)],
)
def test_a_binary_that_jobs_can_read_is_a_warning(
    owner: int, mode: int, is_open: bool, open_folder: Path
) -> None:
    binary = open_folder / "gitlab-runner"
    binary.touch()
    binary.chmod(mode)
    os.chown(binary, owner, owner)
    assert run(CHECK, str(binary)).strip() == str(is_open)


@pytest.mark.skipif(os.getuid() != 0, reason="root's own binary is safe from others")
def test_a_runner_of_root_is_a_warning_in_any_mode(tmp_path: Path) -> None:
    (tmp_path / "gitlab-runner").touch(mode=0o711)
    assert open_to_jobs("gitlab-runner", {"PATH": str(tmp_path)})
    assert open_to_jobs("not-there", {"PATH": str(tmp_path)}) is None


def test_a_jobs_environment_has_nothing_of_lambda_or_aws(tmp_path: Path) -> None:
    lambdas = {
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "_HANDLER": "lambda_runner.handler.handler",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129",
        "LAMBDA_TASK_ROOT": "/var/task",
        "FLEET_LEDGER_TABLE": "ledger",
        "LD_PRELOAD": "/tmp/hook.so",
        "PYTHONPATH": "/tmp",
    }
    clean = clean_environment({"PATH": "/bin", **lambdas}, home=tmp_path)
    assert clean.keys() == {"PATH", "LANG", "HOME", "TMPDIR"}
