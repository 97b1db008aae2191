"""A job gets the machine's engine only where the file says so, and the file's author is warned."""

import pytest

from fleet.config.reading import ConfigError, read_config
from tests.unit.orchestrator.scene import FLEET, Scene

SOCKET = "/var/run/docker.sock"
GITLAB = '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"\n'
POOL = (
    '[pools.p]\nbackend = "ec2"\ntags = ["a"]\nceiling = 1\n'
    'instance_types = ["m7i.large", "m7a.large"]\n'
)
WIDE = ["group:42", "instance"]
ROOT = {
    "docker = { socket = true }": "docker.socket",
    "docker = { privileged = true }": "docker.privileged",
    'docker = { volumes = ["/cache", "/:/host"] }': "docker.volumes[1]",
    'docker = { volumes = ["/var/run:/run:ro"] }': "docker.volumes[0]",
    'executor = "shell"': "executor",
}
NO_ROOT = ["", "docker = { socket = false }", 'docker = { volumes = ["/cache", "kept:/kept"] }']


def warned(keys: str, place: str) -> set[str]:
    """The keys of the pool that the file's author is warned of."""
    read = read_config(GITLAB.replace("group:42", place) + POOL + keys)
    return {warning.path for warning in read.warnings if warning.path.startswith("pools.p.")}


@pytest.mark.parametrize("place", WIDE)
@pytest.mark.parametrize(("keys", "key"), ROOT.items())
def test_root_in_the_hands_of_any_projects_job_is_a_warning(
    keys: str, key: str, place: str
) -> None:
    assert warned(keys, place) == {f"pools.p.{key}"}


@pytest.mark.parametrize("place", ["project", "project:7"])
@pytest.mark.parametrize("keys", ROOT)
def test_root_of_one_projects_jobs_is_no_finding(keys: str, place: str) -> None:
    assert warned(keys, place) == set()


@pytest.mark.parametrize("place", WIDE)
@pytest.mark.parametrize("keys", NO_ROOT)
def test_a_pool_without_root_is_none(keys: str, place: str) -> None:
    assert warned(keys, place) == set()


@pytest.mark.parametrize(
    "volume", [f"{SOCKET}:{SOCKET}", f"/run/docker.sock:{SOCKET}:ro", "/a/docker.sock:/x"]
)
def test_the_socket_hides_in_no_list_of_volumes(volume: str) -> None:
    with pytest.raises(ConfigError, match="write socket = true"):
        read_config(GITLAB + POOL + f'docker = {{ volumes = ["{volume}"] }}')


@pytest.mark.parametrize(
    ("keys", "volumes"),
    [
        ("", ()),
        ("docker = { socket = false }\n", ()),
        ('docker = { volumes = ["/cache"] }\n', ("/cache",)),
        ("docker = { socket = true }\n", (f"{SOCKET}:{SOCKET}",)),
        (
            'docker = { socket = true, volumes = ["/cache"] }\n',
            ("/cache", f"{SOCKET}:{SOCKET}"),
        ),
    ],
)
def test_a_machine_mounts_its_socket_only_where_the_file_says_so(
    keys: str, volumes: tuple[str, ...]
) -> None:
    scene = Scene(text=FLEET + keys)
    scene.launched(1)
    docker = scene.credential.docker
    assert docker is not None
    assert docker.volumes == volumes
