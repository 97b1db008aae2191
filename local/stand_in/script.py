"""Makes the shell scripts of a job: the user's commands, and the fetching of sources."""

import re
from collections.abc import Iterable
from shlex import quote, split
from urllib.parse import urlsplit

from local.stand_in.config import ARCHITECTURE, NAME, VERSION
from local.stand_in.job import Job
from local.stand_in.variables import Places, Variables

STRATEGIES = ("fetch", "clone", "none")
_GREEN, _RESET = "\033[32;1m", "\033[0;m"
_NAME = re.compile(r"[A-Za-z_]\w*")


def shell_script(lines: Iterable[str]) -> str:
    """A script that stops at the first line that fails, its input empty.

    As with the real runner, bash gives the exit code of a failed command (not of an `exit`) as 1.
    """
    body = "\n".join(lines) + "\n"
    pipefail = "if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\n"
    # Of the trap's three words two are signals, 1 and TERM: `exit` keeps the script's own code.
    return f"trap exit 1 TERM\n{pipefail}set +o noclobber\n: | eval {quote(body)}\nexit 0\n"


def notice(text: str) -> str:
    """A line that shows `text` in green."""
    return "printf '%s\\n' " + quote(f"{_GREEN}{text}{_RESET}")


def exports(variables: Variables) -> list[str]:
    """Lines that set the job's variables."""
    return [
        f"export {variable.key}={quote(variables.exported(variable))}"
        for variable in variables
        if _NAME.fullmatch(variable.key)
    ]


def commands(script: Iterable[str]) -> list[str]:
    """Each command after a green line that shows it; a long command shows its beginning."""
    lines: list[str] = []
    for command in (item.strip() for item in script):
        first, newline, _ = command.partition("\n")
        shown = f"$ {first} # collapsed multi-line command" if newline else f"$ {first}"
        lines += [notice(shown) if command else "echo", command]
    return lines


class Sources:
    """The script that puts a job's sources in place."""

    def __init__(self, job: Job, variables: Variables, places: Places) -> None:
        self._git = job.git_info
        self._variables = variables
        self._project = quote(places.project)
        self._credentials = quote(f"{places.temporary}/git-credentials")
        self.strategy = "fetch" if job.allow_git_fetch else "clone"
        if variables.value("GIT_STRATEGY") in STRATEGIES:
            self.strategy = variables.value("GIT_STRATEGY")
        depth = variables.whole("GIT_DEPTH", self._git.depth)
        self._depth = ["--depth", str(depth)] if depth else []
        self._with_depth = f" with git depth set to {depth}" if depth else ""
        self._clean = variables.value("GIT_CLEAN_FLAGS") or "-ffdx"

    def lines(self) -> list[str]:
        """The commands."""
        if self.strategy == "none":
            skipped = ("Git repository setup", "Git checkout", "Git submodules setup")
            return [f"mkdir -p {self._project}", *(notice(f"Skipping {one}") for one in skipped)]
        return [*self._repository(), self._fetch(), *self._checkout(), *self._submodules()]

    def _repository(self) -> list[str]:
        """An initialised repository that knows the address of its sources and its credentials."""
        url = quote(self._git.clean_url)
        given = urlsplit(self._git.repo_url)
        plain = f"{given.scheme}://{given.netloc.rpartition('@')[2]}"
        rewrite = f"{quote(f'url.{given.scheme}://{given.netloc}.insteadOf')} {quote(plain)}"
        return [
            notice(f"Fetching changes{self._with_depth}..."),
            "export GIT_TERMINAL_PROMPT=0",
            f"rm -rf {self._project}" if self.strategy == "clone" else ":",
            f"git -c init.defaultBranch=none init --template= {self._project}",
            f"cd {self._project}",
            f"if git remote add origin {url} >/dev/null 2>&1; then",
            notice("Created fresh repository."),
            f"else git remote set-url origin {url}; fi",
            # Beside the repository and not in it: the file goes when the job ends.
            f"rm -f {self._credentials}",
            f"(umask 077; git config -f {self._credentials} {rewrite})",
            f"git config include.path {self._credentials}",
        ]

    def _fetch(self) -> str:
        agent = quote(f"http.userAgent={NAME} {VERSION} linux/{ARCHITECTURE}")
        words = ["--no-recurse-submodules", *self._git.refspecs, *self._depth, "--prune", "--quiet"]
        return f"git -c {agent} fetch origin {_quoted(words)}"

    def _checkout(self) -> list[str]:
        sha, ref = self._git.sha, self._git.ref
        return [
            notice(f"Checking out {sha[:8]} as detached HEAD (ref is {ref})..."),
            f"git -c submodule.recurse=false checkout -f -q {quote(sha)}",
            f"git clean {_quoted(split(self._clean))}" if self._clean != "none" else ":",
        ]

    def _submodules(self) -> list[str]:
        strategy = self._variables.value("GIT_SUBMODULE_STRATEGY") or "none"
        if strategy == "none":
            return [notice("Skipping Git submodules setup")]
        recursive = " --recursive" if strategy == "recursive" else ""
        how = " recursively" if recursive else ""
        update = _quoted(["update", "--init", "--force", *self._depth])
        return [
            notice(f"Updating/initializing submodules{how}{self._with_depth}..."),
            f"git submodule sync{recursive}",
            f"git -c include.path={self._credentials} submodule {update}{recursive}",
            notice("Updated submodules"),
        ]


def _quoted(words: Iterable[str]) -> str:
    return " ".join(quote(word) for word in words)
