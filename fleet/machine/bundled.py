"""The images that the image of the Lambda runners bundles, and the bash that puts one in front."""

import re
from collections.abc import Iterator

# The folder with each version's commands in the image of the Lambda runners: `infra/`.
BUNDLED = {
    "node": {version: f"/opt/node/{version}/bin" for version in ("22", "24")},
    "python": {version: f"/opt/python/{version}/bin" for version in ("3.11", "3.12", "3.13")},
}
_DOCKER_HUB = ("docker.io/", "index.docker.io/", "registry-1.docker.io/")
# Of an image's tag, behind the version: `.1`, `-slim`, `-alpine3.20`, and nothing of Windows.
_ENDINGS = re.compile(r"(\.\d+)*(-(slim|alpine|bookworm|bullseye|trixie)[\w.]*)*")


def bundled(image: str) -> str | None:
    """The folder whose commands stand for an image on a Lambda runner, or None for another image.

    Official images only, under each name that a registry or its mirror has for them: another
    image of such a name may hold anything.
    """
    name, _, tag = _official_name(image.partition("@")[0]).partition(":")
    for version, folder in BUNDLED.get(name, {}).items():
        if tag.startswith(version) and _ENDINGS.fullmatch(tag.removeprefix(version)):
            return folder
    return None


def _official_name(image: str) -> str:
    for host in _DOCKER_HUB:
        image = image.removeprefix(host)
    for mirror in ("/dependency_proxy/containers/", "/library/"):
        _, is_there, official = image.rpartition(mirror)
        image = official if is_there else image
    return image.removeprefix("library/")


def image_script(image: str, services: str) -> Iterator[str]:
    """Lines of bash: say in a job's log that its image is not used, and put a bundled one in front.

    Both are quoted paths. The script writes the image's name into `image`, with its variables
    expanded: only a job knows them. Where `services` is there, its text is a line of the log, too.
    The script chooses as `bundled` does.
    """
    yield 'fleet_image="${CI_JOB_IMAGE:-}" fleet_path='
    yield f'test -z "$fleet_image" || printf %s "$fleet_image" > {image}'
    yield 'fleet_image="${fleet_image%%@*}"'
    yield 'case "$fleet_image" in'
    yield f'{"|".join(f"{host}*" for host in _DOCKER_HUB)}) fleet_image="${{fleet_image#*/}}";;'
    yield "esac"
    yield 'fleet_image="${fleet_image##*/dependency_proxy/containers/}"'
    yield 'fleet_image="${fleet_image##*/library/}" fleet_image="${fleet_image#library/}"'
    for name, versions in BUNDLED.items():
        for version, folder in versions.items():
            pattern = f"^{name}:{re.escape(version)}{_IN_BASH}$"
            yield f"fleet_pattern='{pattern}'"
            yield f'[[ "$fleet_image" =~ $fleet_pattern ]] && fleet_path={folder} || true'
    yield 'if [[ -n "$fleet_path" && -d "$fleet_path" ]]; then'
    yield 'echo "runner-fleet: image: ${CI_JOB_IMAGE@Q} is not used, this machine has its version"'
    yield 'export PATH="$fleet_path:$PATH"'
    # Another shell runs after_script, and nothing of ours before it.
    yield 'printf \'PATH=%q:"$PATH"\\n\' "$fleet_path" > "$HOME/.bash_profile"'
    yield 'elif [[ -n "${CI_JOB_IMAGE:-}" ]]; then'
    yield (
        'echo "runner-fleet: image: ${CI_JOB_IMAGE@Q} is not used,'
        " a shell runner has no containers: give the job tags of a pool with the docker executor,"
        ' or this pool an overflow"'
    )
    yield "fi"
    yield f"test -r {services} && cat {services} || true"


_IN_BASH = _ENDINGS.pattern.replace(r"\d", "[0-9]").replace(r"[\w.]", "[A-Za-z0-9_.]")
