"""Makes the shell scripts of a job: the user's commands, and the fetching of sources."""

from collections.abc import Iterable
from shlex import quote, split
from urllib.parse import urlsplit

from local.stand_in.config import ARCHITECTURE, NAME, VERSION
from local.stand_in.job import Job
from local.stand_in.variables import Places, Variables

STRATEGIES = ("fetch", "clone", "none")


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
    return "printf '%s\\n' " + quote(f"\033[32;1m{text}\033[0;m")


def exports(variables: Variables) -> list[str]:
    """Lines that set the job's variables."""
    return [
        f"export {variable.key}={quote(variables.exported(variable))}" for variable in variables
    ]


def commands(script: Iterable[str]) -> list[str]:
    """Each command after a green line that shows it; a long command shows its beginning."""
    lines: list[str] = []
    for command in (item.strip() for item in script):
        first, newline, _ = command.partition("\n")
        shown = f"$ {first} # collapsed multi-line command" if newline else f"$ {first}"
        lines += [notice(shown) if command else "echo", command]
    return lines


def source_commands(job: Job, variables: Variables, places: Places) -> list[str]:
    """The commands that put a job's sources in place."""
    project = quote(places.project)
    strategy = "fetch" if job.allow_git_fetch else "clone"
    if variables.value("GIT_STRATEGY") in STRATEGIES:
        strategy = variables.value("GIT_STRATEGY")
    if strategy == "none":
        skipped = ("Git repository setup", "Git checkout", "Git submodules setup")
        return [f"mkdir -p {project}", *(notice(f"Skipping {part}") for part in skipped)]
    git = job.git_info
    limit = ["--depth", str(git.depth)] if git.depth else []
    shown = f" with git depth set to {git.depth}" if git.depth else ""
    words = ["--no-recurse-submodules", *git.refspecs, *limit, "--prune", "--quiet"]
    agent = quote(f"http.userAgent={NAME} {VERSION} linux/{ARCHITECTURE}")
    clean = variables.value("GIT_CLEAN_FLAGS") or "-ffdx"
    credentials = quote(f"{places.temporary}/git-credentials")
    return [
        *commands(job.script("pre_get_sources_script")),
        notice(f"Fetching changes{shown}..."),
        f"rm -rf {project}" if strategy == "clone" else ":",
        *_repository(git.repo_url, git.clean_url, project, credentials),
        f"git -c {agent} fetch origin {_quoted(words)}",
        notice(f"Checking out {git.sha[:8]} as detached HEAD (ref is {git.ref})..."),
        f"git -c submodule.recurse=false checkout -f -q {quote(git.sha)}",
        f"git clean {_quoted(split(clean))}" if clean != "none" else ":",
        notice("Skipping Git submodules setup"),
    ]


def _repository(url: str, clean_url: str, project: str, credentials: str) -> list[str]:
    """An initialised repository that knows the address of its sources and its credentials."""
    given = urlsplit(url)
    plain = f"{given.scheme}://{given.netloc.rpartition('@')[2]}"
    rewrite = f"{quote(f'url.{given.scheme}://{given.netloc}.insteadOf')} {quote(plain)}"
    return [
        "export GIT_TERMINAL_PROMPT=0",
        f"git -c init.defaultBranch=none init --template= {project}",
        f"cd {project}",
        f"if git remote add origin {quote(clean_url)} >/dev/null 2>&1; then",
        notice("Created fresh repository."),
        f"else git remote set-url origin {quote(clean_url)}; fi",
        # Beside the repository and not in it: the file goes when the job ends.
        f"rm -f {credentials}",
        f"(umask 077; git config -f {credentials} {rewrite})",
        f"git config include.path {credentials}",
    ]


def _quoted(words: Iterable[str]) -> str:
    return " ".join(quote(word) for word in words)
