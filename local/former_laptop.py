"""The folder of a former laptop: its repositories stay, everything else is created again."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from adapters.guest.wipe import remove_tree
from fleet.errors import Refused
from local.gitlab.repository import DESCRIPTION, run_git
from local.gitlab.seed import SeededProject, create_project

# The engine's state, GitLab's jobs and artifacts, the guests' files: nothing reads them again.
RECREATED = ("engine", "gitlab", "lambda", "guests", "restored")
EARLIER = "earlier"
REMOVED_WITHIN_S = 60.0


def make_private(folder: Path) -> None:
    """Make the folder, or restrict an existing one: only its user may read it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def set_aside(folder: Path) -> None:
    """Empty the folder, except for the repositories that a former laptop served.

    May be repeated at any point: until `restore_projects` ends, the folder set aside has them all.
    Raises `Refused` where a repository does not say which project it is of.
    """
    served, earlier = folder / "gitlab" / "repositories", folder / EARLIER
    repositories = tuple(served.iterdir()) if served.exists() else ()
    if repositories and not earlier.exists():
        if not all((repository / DESCRIPTION).exists() for repository in repositories):
            raise Refused(
                "an earlier `local up` left repositories here that this one cannot restore: "
                f"remove them (rm -r {shlex.quote(str(folder))}), or give another --data",
                folder=folder,
            )
        served.rename(earlier)
    for name in RECREATED:
        if (folder / name).exists():  # jobs wrote some of it
            remove_tree(folder / name, within_s=REMOVED_WITHIN_S)


def restore_projects(folder: Path, *, gitlab_url: str, token: str) -> dict[str, SeededProject]:
    """Create the projects of the repositories set aside again, with all branches and tags, by path.

    No pipeline starts for them.
    """
    earlier = folder / EARLIER
    if not earlier.exists():
        return {}
    made = dict(_recreated(earlier, gitlab_url, token))
    restored = folder / "restored"  # from here on GitLab serves all of them
    earlier.rename(restored)
    shutil.rmtree(restored)
    return made


def _recreated(earlier: Path, url: str, token: str) -> Iterator[tuple[str, SeededProject]]:
    for repository in sorted(earlier.iterdir(), key=lambda folder: (len(folder.name), folder.name)):
        path = (repository / DESCRIPTION).read_text().strip()
        branch = run_git(repository, "symbolic-ref", "--short", "HEAD").strip()
        project = create_project(url, token, path, {}, default_branch=branch)
        if run_git(repository, "for-each-ref", "refs/heads", "refs/tags"):
            run_git(
                repository,
                *("push", "--quiet", "--push-option=ci.skip", project.clone_url),
                *("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"),
            )
        yield path, project
