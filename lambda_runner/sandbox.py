"""The sandbox that Lambda keeps from one invocation to the next: nothing of a job may stay in it.

A job can stop its runner, but no job can stop the check that comes before the next credential is
read. A sandbox that is not proven clean is given up: its runtime ends, and Lambda resets it.
"""

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from adapters.guest.process_tree import DEAD, Family, stats
from adapters.guest.wipe import wipe

PROCESSES_S = 5.0
FILES_S = 60.0
# Besides the runner's own folder. Lambda has none of them today, and a read-only root.
SHARED_FOLDERS = (Path("/dev/shm"), Path("/dev/mqueue"), Path("/var/tmp"))  # noqa: S108
_IPC_RMID = 0  # linux/ipc.h
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, linux/proc_ns.h


def is_alone() -> bool:
    """Whether each process of this user, but pid 1 and this one, is a job's and may be killed.

    True only where Lambda's variable is set, in a pid namespace of its own, as the child of pid 1.
    The local host of the functions sets no such variable, and a machine's own system is in the
    first namespace.
    """
    return (
        "AWS_LAMBDA_RUNTIME_API" in os.environ
        and os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE
        and os.getppid() == 1
    )


# Asked before the first job, because a process becomes a child of pid 1 when its parent dies.
_IS_ALONE = is_alone()


class LambdaSandbox:
    """The processes and the files that a job may have left."""

    def __init__(self, folder: Path, family: Family) -> None:
        """`folder`: all that a job may write. `family`: all that this process starts."""
        self._folder = folder
        self._family = family

    def clean(self) -> str | None:
        """End every process of a job, then what it left; why that is not proven, or None."""
        ended = _end_all(self._family) if _IS_ALONE else self._family.end(within_s=PROCESSES_S)
        if not ended:
            return "a process of an earlier job is left"
        if _IS_ALONE and not end_memory():
            return "shared memory of an earlier job is left"
        folders = [
            self._folder,
            *(folder for folder in SHARED_FOLDERS if _IS_ALONE and folder.is_dir()),
        ]
        unclean = [str(folder) for folder in folders if not wipe(folder, within_s=FILES_S)]
        return f"files of an earlier job are left in {', '.join(unclean)}" if unclean else None


def _end_all(family: Family) -> bool:
    """Kill every process that this user may kill, at once: none can start another in between."""
    deadline = time.monotonic() + PROCESSES_S
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)
        if family.end(within_s=deadline - time.monotonic()) and not others_of_this_user():
            return True
        time.sleep(0.001)
    return False


def end_memory() -> bool:
    """Remove the System V memory, queues and semaphores of this namespace; whether none is left.

    They outlive every process that made them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for number in _ids_in_memory("shm"):
        libc.shmctl(number, _IPC_RMID, None)
    for number in _ids_in_memory("msg"):
        libc.msgctl(number, _IPC_RMID, None)
    for number in _ids_in_memory("sem"):
        libc.semctl(number, 0, _IPC_RMID)
    return not any(_ids_in_memory(kind) for kind in ("shm", "msg", "sem"))


def _ids_in_memory(kind: str) -> list[int]:
    """The ids of one kind. Source: proc(5), /proc/sysvipc: a head, then lines of key and id."""
    try:
        lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
    except OSError:  # a kernel without them
        return []
    return [int(line.split()[1]) for line in lines]


def others_of_this_user() -> frozenset[int]:
    """The living processes of this user but pid 1 and this one."""
    mine = {os.getuid(), os.geteuid()}
    alive = (pid for pid, state, _ in stats() if state not in DEAD and pid not in {1, os.getpid()})
    return frozenset(pid for pid in alive if _users(pid) & mine)


def _users(pid: int) -> set[int]:
    """Real, effective, saved and file system user of a process. Source: proc(5), status."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return set()  # ended meanwhile
    _, _, after = text.partition("\nUid:")
    return {int(number) for number in after.partition("\n")[0].split()}
