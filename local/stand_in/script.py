"""Makes the shell scripts of a job: the user's commands, and the fetching of sources."""

import re
from collections.abc import Iterable
from shlex import quote, split
from urllib.parse import urlsplit

from local.stand_in.config import ARCHITECTURE, NAME, VERSION
from local.stand_in.job import Job
from local.stand_in.variables import Places, Variables

_GREEN, _RESET = "\033[32;1m", "\033[0;m"
_NAME = re.compile(r"[A-Za-z_]\w*")
_STRATEGIES = ("fetch", "clone", "none", "empty")
_LOCKS = ("index.lock", "shallow.lock", "HEAD.lock", "config.lock", "hooks/post-checkout")


def shell_script(
    lines: Iterable[str], *, is_traced: bool = False, in_subshell: bool = False
) -> str:
    """A script that stops at the first line that fails, its input empty.

    As with the real runner, bash gives the exit code of a failed command (not of an `exit`) as 1,
    unless the whole is run in a subshell: that is what FF_USE_NEW_BASH_EVAL_STRATEGY is for.
    """
    body = "\n".join(lines) + "\n"
    # Of its three words two are signals, 1 and TERM: `exit` keeps the script's own code.
    head = "trap exit 1 TERM\n" + ("set -o xtrace\n" if is_traced else "")
    pipefail = "if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\n"
    run = f"(eval {quote(body)})" if in_subshell else f"eval {quote(body)}"
    return f"{head}{pipefail}set +o noclobber\n: | {run}\nexit 0\n"


def notice(text: str) -> str:
    """A line that shows `text` in green."""
    return "printf '%s\\n' " + quote(f"{_GREEN}{text}{_RESET}")


def exports(variables: Variables, places: Places) -> list[str]:
    """Lines that set the job's variables, and those earlier scripts left in `$GITLAB_ENV`."""
    lines = [
        f"export {variable.key}={quote(variables.exported(variable))}"
        for variable in variables
        if _NAME.fullmatch(variable.key)
    ]
    env_file = quote(f"{places.temporary}/gitlab_runner_env")
    reader = f'while read -r line; do export "$line"; done < {env_file}'
    return [*lines, f"export GITLAB_ENV={env_file}", f"touch {env_file}", reader]


def commands(script: Iterable[str]) -> list[str]:
    """Each command after a green line that shows it, of a long one its beginning."""
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
        self.complaint = ""  # about a setting that is not followed
        wanted = variables.value("GIT_STRATEGY")
        if wanted in _STRATEGIES:
            self.strategy = wanted
        elif wanted:
            self.complaint = (
                "GIT_STRATEGY: expected either 'clone', 'fetch', 'none' or 'empty' "
                f"got \"{wanted}\", using default value '{self.strategy}'"
            )
        self._depth = variables.whole("GIT_DEPTH", self._git.depth)
        self._clean = variables.value("GIT_CLEAN_FLAGS") or "-ffdx"

    def lines(self) -> list[str]:
        """The commands."""
        if self.strategy in {"none", "empty"}:
            return self._no_repository()
        checkout = self._variables.flag("GIT_CHECKOUT", absent=True)
        last = self._checkout() if checkout else [notice("Skipping Git checkout")]
        return [*self._repository(), self._fetch(), *last, *self._submodules()]

    def _no_repository(self) -> list[str]:
        text, first = "Skipping Git repository setup", []
        if self.strategy == "empty":
            text += " and creating an empty build directory"
            first = [f"rm -rf {self._project}"]
        skipped = [notice("Skipping Git checkout"), notice("Skipping Git submodules setup")]
        return [notice(text), *first, f"mkdir -p {self._project}", *skipped]

    def _repository(self) -> list[str]:
        """An initialised repository that knows where its sources and its credentials are."""
        locks = " ".join(f"{self._project}/.git/{name}" for name in _LOCKS)
        url = quote(self._git.clean_url)
        given = urlsplit(self._git.repo_url)
        plain = f"{given.scheme}://{given.netloc.rpartition('@')[2]}"
        rewrite = f"{quote(f'url.{given.scheme}://{given.netloc}.insteadOf')} {quote(plain)}"
        return [
            notice(f"Fetching changes{_with_depth(self._depth)}..."),
            "export GIT_TERMINAL_PROMPT=0 GIT_LFS_SKIP_SMUDGE=1",
            f"rm -rf {self._project}" if self.strategy == "clone" else f"rm -f {locks}",
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
        extra = split(self._variables.value("GIT_FETCH_EXTRA_FLAGS") or "--prune --quiet")
        depth = ["--depth", str(self._depth)] if self._depth else []
        words = ["origin", "--no-recurse-submodules", *self._git.refspecs, *depth, *extra]
        command = f"git -c {agent} fetch {_quoted(words)}"
        if self._depth:
            return command
        return f"if [ -e .git/shallow ]; then {command} --unshallow; else {command}; fi"

    def _checkout(self) -> list[str]:
        sha, ref = self._git.sha, self._git.ref
        clean = f"git clean {_quoted(split(self._clean))}" if self._clean != "none" else ":"
        return [
            notice(f"Checking out {sha[:8]} as detached HEAD (ref is {ref})..."),
            f"git -c submodule.recurse=false checkout -f -q {quote(sha)}",
            clean,
            "if git lfs version >/dev/null 2>&1; then git lfs pull; echo; fi",
        ]

    def _submodules(self) -> list[str]:
        strategy = self._variables.value("GIT_SUBMODULE_STRATEGY") or "none"
        if strategy == "none":
            return [notice("Skipping Git submodules setup")]
        recursive = " --recursive" if strategy == "recursive" else ""
        depth = self._variables.whole("GIT_SUBMODULE_DEPTH", self._depth)
        paths = split(self._variables.value("GIT_SUBMODULE_PATHS"))
        only = f" -- {_quoted(paths)}" if paths else ""
        sync = f"git submodule sync{recursive}{only}"
        extra = split(self._variables.value("GIT_SUBMODULE_UPDATE_FLAGS"))
        words = ["--init", *(["--depth", str(depth)] if depth else []), *extra]
        git = f"git -c include.path={self._credentials}"
        update = f"{git} submodule update{recursive} {_quoted(words)}{only}"
        each = f"git submodule foreach{recursive}"
        tidy = f"{each} {quote(f'git clean {self._clean}')}" if self._clean != "none" else ":"
        how = " recursively" if recursive else ""
        return [
            notice(f"Updating/initializing submodules{how}{_with_depth(depth)}..."),
            *("git submodule init", sync, tidy, f"{each} 'git reset --hard'"),
            f"if {update}; then",
            notice("Updated submodules"),
            f"{sync}; else {sync}; {update}; {each} 'git reset --hard'; fi",
            tidy,
        ]


def _with_depth(depth: int) -> str:
    return f" with git depth set to {depth}" if depth else ""


def _quoted(words: Iterable[str]) -> str:
    return " ".join(quote(word) for word in words)
