"""The shell scripts of a job."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.stand_in.job import Variable
from local.stand_in.script import commands, exports, shell_script, source_commands
from local.stand_in.variables import Places, Variables
from tests.unit.local.stand_in.jobs import job


def places(root: Path) -> Places:
    return Places(
        builds=str(root), project=f"{root}/p", temporary=f"{root}/p.tmp", cache=f"{root}/c"
    )


def run(script: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    return subprocess.run([shell], input=script, capture_output=True, text=True, check=False)


PLACES = places(Path("/b"))


def variables(**values: str) -> Variables:
    return Variables([Variable(key=key, value=value) for key, value in values.items()], PLACES)


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_commands_are_shown_and_run_in_order(shell: str) -> None:
    lines = commands(["echo 'one  \\n'", "", "if true; then\necho two\nfi"])
    done = run(shell_script(lines), shell)
    shown = [
        line.replace("\033[32;1m", "").replace("\033[0;m", "") for line in done.stdout.split("\n")
    ]
    assert done.returncode == 0
    assert shown[0] == "$ echo 'one  \\n'"
    assert "$ if true; then # collapsed multi-line command" in shown
    assert shown[-2] == "two"


def test_variables_are_exported_whatever_is_in_them(tmp_path: Path) -> None:
    where = places(tmp_path)
    given = Variables(
        [
            Variable(key="HARD", value='it\'s "$HOME"\nline two', raw=True),
            Variable(key="not-a-name", value="x"),
            Variable(key="FILE", value="content", file=True),
        ],
        where,
    )
    lines = [*exports(given), "env"]
    done = run(shell_script(lines))
    assert done.returncode == 0, done.stderr
    assert 'HARD=it\'s "$HOME"\nline two\n' in done.stdout
    assert f"FILE={where.temporary}/FILE\n" in done.stdout


def sources(**values: str) -> str:
    return "\n".join(source_commands(job(), variables(**values), PLACES))


def test_the_credentials_stay_out_of_the_repository() -> None:
    script = sources()
    assert "git remote add origin http://host:8080/acme/demo.git" in script
    rewrite = "url.http://gitlab-ci-token:secret@host:8080.insteadOf http://host:8080"
    assert f"(umask 077; git config -f /b/p.tmp/git-credentials {rewrite})" in script
    assert "git config include.path /b/p.tmp/git-credentials" in script
    assert script.count("secret") == 1


@pytest.mark.parametrize(
    ("values", "wanted", "unwanted"),
    [
        ({}, ["--depth 20", "--prune --quiet", "git clean -ffdx"], ["rm -rf"]),
        ({"GIT_DEPTH": "3"}, ["--depth 3", "depth set to 3..."], ["--depth 20"]),
        ({"GIT_DEPTH": "x"}, ["--depth 20"], []),
        ({"GIT_DEPTH": "0"}, ["Fetching changes..."], ["--depth"]),
        ({"GIT_STRATEGY": "clone"}, ["rm -rf /b/p\n"], []),
        ({"GIT_CLEAN_FLAGS": "-ffd -e cache/"}, ["git clean -ffd -e cache/"], ["-ffdx"]),
        ({"GIT_CLEAN_FLAGS": "none"}, [], ["git clean"]),
        ({"GIT_SUBMODULE_STRATEGY": "normal"}, ["submodule update --init"], ["--recursive"]),
        (
            {"GIT_SUBMODULE_STRATEGY": "recursive"},
            ["submodule update --init --force --depth 20 --recursive"],
            ["Skipping Git sub"],
        ),
        ({"GIT_STRATEGY": "none"}, ["mkdir -p /b/p"], ["git fetch", "rm -rf"]),
    ],
)
def test_settings_of_the_sources(
    values: dict[str, str], wanted: list[str], unwanted: list[str]
) -> None:
    script = sources(**values)
    assert [part for part in wanted if part not in script] == []
    assert [part for part in unwanted if part in script] == []
