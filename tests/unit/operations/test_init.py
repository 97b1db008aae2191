"""A first fleet.toml: what an address means, where that is in GitLab, and that the file holds."""

from itertools import product
from typing import Any, Literal

import pytest

from adapters.gitlab.values import GitLabProject
from fleet.config.reading import read_config
from fleet.errors import Refused
from fleet.rules.quotas import FirstPools
from operations.init import (
    Address,
    FirstFile,
    GitLabOwner,
    find_owner,
    first_text,
    read_pasted,
    token_page,
)
from tests.fakes import FakeGitLab

EXECUTORS: tuple[Literal["docker", "shell"], ...] = ("docker", "shell")
EXAMPLE = "https://gitlab.example.com"


@pytest.mark.parametrize(
    ("pasted", "url", "path"),
    [
        (f"{EXAMPLE}/acme", EXAMPLE, "acme"),
        (f"{EXAMPLE}/acme/demo/", EXAMPLE, "acme/demo"),
        (f" {EXAMPLE}/acme/demo/-/tree/main?ref=x#top\n", EXAMPLE, "acme/demo"),
        (f"{EXAMPLE}/groups/acme/sub/-/runners", EXAMPLE, "acme/sub"),
        (f"{EXAMPLE}/acme/demo.git", EXAMPLE, "acme/demo"),
        ("https://GitLab.com/acme", "https://gitlab.com", "acme"),
        (EXAMPLE, EXAMPLE, ""),
    ],
)
def test_a_pasted_address_names_gitlab_and_a_place(pasted: str, url: str, path: str) -> None:
    assert read_pasted(pasted) == Address(url=url, path=path)


def test_a_path_and_a_gitlab_below_a_path_need_the_address_of_gitlab() -> None:
    below = "https://example.com/gitlab"
    assert read_pasted("acme/demo", below) == Address(url=below, path="acme/demo")
    assert read_pasted(f"{below}/acme/-/x", below) == Address(url=below, path="acme")


@pytest.mark.parametrize(
    ("pasted", "url"),
    [
        ("acme/demo", ""),
        ("ftp://example.com/acme", ""),
        ("https://user:pw@example.com/acme", ""),
        (f"{EXAMPLE}/a b", ""),
        (f"{EXAMPLE}/../x", ""),
        ("https://other.example.com/acme", EXAMPLE),
    ],
)
def test_any_other_address_is_refused(pasted: str, url: str) -> None:
    with pytest.raises(Refused) as refused:
        read_pasted(pasted, url)
    assert "pw" not in str(refused.value)


class Places(FakeGitLab):
    """A GitLab with a project and a group, that answers as GitLab does for others."""

    def project(self, id_or_path: int | str) -> Any:
        if id_or_path != "acme/demo":
            raise Refused("no", status=404)
        return GitLabProject(id=7, path="acme/demo")

    def group(self, id_or_path: int | str) -> int:
        if id_or_path == "locked":
            raise Refused("no", status=401)
        if id_or_path != "acme":
            raise Refused("no", status=404)
        return 42


def test_a_place_is_a_project_or_a_group() -> None:
    gitlab = Places()
    assert find_owner(gitlab, "acme/demo") == GitLabOwner(kind="project", id=7, path="acme/demo")
    assert find_owner(gitlab, "acme") == GitLabOwner(kind="group", id=42, path="acme")
    with pytest.raises(Refused, match="member"):
        find_owner(gitlab, "nobody")
    with pytest.raises(Refused, match="paste"):
        find_owner(gitlab, "")
    with pytest.raises(Refused) as refused:
        find_owner(gitlab, "locked")
    assert refused.value.facts["status"] == 401


def test_the_token_page_has_the_scopes_filled_in() -> None:
    page = token_page("https://example.com/gitlab")
    assert page.startswith("https://example.com/gitlab/-/user_settings/personal_access_tokens?")
    assert "scopes=api,create_runner,manage_runner" in page


def test_every_first_file_can_be_applied() -> None:
    for kind, where, socket, ec2, lambda_, executor in product(
        ("group", "project"), ("group", "project"), (True, False), (0, 7), (0, 9), EXECUTORS
    ):
        if (kind, where) == ("project", "group"):
            continue
        file = FirstFile(
            gitlab_url=EXAMPLE,
            owner=GitLabOwner(kind=kind, id=42, path="acme"),  # type: ignore[arg-type]
            runners_in=where,  # type: ignore[arg-type]
            socket=socket,
            pools=FirstPools(ec2=ec2, lambda_=lambda_, size="2GB"),
            tls_ca_file='/etc/a "ca".pem',
            executor=executor,
        )
        if not (ec2 or lambda_):
            with pytest.raises(Refused, match="quota"):
                first_text(file)
            continue
        config = read_config(first_text(file))
        assert {pool.name: pool.ceiling for pool in config.pools} == {
            name: ceiling for name, ceiling in (("docker", ec2), ("node", lambda_)) if ceiling
        }
        for pool in (pool for pool in config.pools if pool.name == "docker"):
            assert pool.executor == executor
            assert pool.docker.socket == (socket and executor == "docker")
        watch = config.gitlab.watch
        assert (watch.groups, watch.projects) == (
            (("42",), ()) if kind == "group" else ((), ("42",))
        )
        assert config.gitlab.runners_in.kind == where
        assert config.gitlab.tls_ca_file == '/etc/a "ca".pem'
