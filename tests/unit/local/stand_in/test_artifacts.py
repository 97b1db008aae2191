"""Artifacts on their way to GitLab and from it, against a GitLab that answers as told."""

from __future__ import annotations

import gzip
import io
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from local.stand_in.artifacts import Artifacts
from local.stand_in.job import Artifact, Dependency, Variable
from local.stand_in.log import Log
from local.stand_in.options import RunnerOptions
from local.stand_in.protocol import Coordinator
from local.stand_in.stops import BuildError
from local.stand_in.variables import Variables
from local.stand_in.wire import Reply
from tests.unit.local.stand_in.jobs import job
from tests.unit.local.stand_in.recorded_wire import Recorded, reply

DEPENDENCY = Dependency(id=9, token="glcbt-64_zyxwvutsrqp", name="build", filename="a.zip")


class Reading(Recorded):
    """Reads a body as it is sent, while there is something to read."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[list[bytes]] = []

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Callable[[], Iterable[bytes]] = b"",
        headers: Mapping[str, str],
    ) -> Reply:
        self.pieces.append(list(body()) if callable(body) else [body])
        return super().send(method, path, body=body, headers=headers)


@dataclass
class Scene:
    """A job's folder, what was sent for it and what its log says."""

    root: Path
    wire: Reading = field(default_factory=Reading)
    said: list[str] = field(default_factory=list)
    paused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        runner = RunnerOptions(token="glrt-abcdefghijk")
        quiet = Log(level="fatal")
        coordinator = Coordinator(runner, system_id="s_1", wire=self.wire, log=quiet)
        self.artifacts = Artifacts(
            coordinator, job(), say=self.said.append, pause=self.paused.append
        )

    def answers(self, *statuses: int, body: bytes = b"") -> None:
        self.wire.replies = [reply(status, body) for status in statuses]

    def has(self, path: str, content: str = "x") -> None:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(content)

    def upload(self, artifact: Artifact, **variables: str) -> None:
        given = [Variable(key=key, value=value) for key, value in variables.items()]
        known = Variables(given, folder_of_files="/t")
        self.artifacts.upload(artifact, str(self.root), known)

    def sent(self) -> tuple[dict[str, list[str]], str, bytes]:
        """The query, the file's name and its content of the last upload."""
        _, path, _, headers = self.wire.sent[-1]
        raw = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + b"".join(
            self.wire.pieces[-1]
        )
        (part,) = BytesParser(policy=HTTP).parsebytes(raw).iter_parts()
        assert part.get_param("name", header="content-disposition") == "file"
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        return parse_qs(urlsplit(path).query), str(part.get_filename()), content

    def says(self, text: str) -> bool:
        return any(text in line for line in self.said)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def artifact(*paths: str, **changes: Any) -> Artifact:
    usual: dict[str, Any] = {
        "name": "",
        "paths": paths,
        "exclude": (),
        "untracked": False,
        "when": "",
        "expire_in": "",
        "type": "archive",
        "format": "zip",
    }
    return Artifact(**{**usual, **changes})


def names(packed: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return archive.namelist()


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def names_in(pieces: list[bytes]) -> list[str]:
    """The names in an archive that was sent as multipart."""
    return names(b"".join(pieces).split(b"\r\n\r\n", 1)[1])


# --- up


def test_what_is_named_is_packed_and_sent_with_the_jobs_token(scene: Scene) -> None:
    scene.has("out/a.txt", "A")
    scene.has("other.txt")
    scene.answers(201)
    scene.upload(artifact("out/", expire_in="1 week"))
    method, path, _, headers = scene.wire.sent[0]
    assert (method, path.split("?")[0]) == ("POST", "jobs/5/artifacts")
    assert headers["JOB-TOKEN"] == job().token
    query, filename, content = scene.sent()
    assert query == {
        "artifact_format": ["zip"],
        "artifact_type": ["archive"],
        "expire_in": ["1 week"],
    }
    assert filename == "artifacts.zip"
    assert names(content) == ["out/", "out/a.txt"]
    assert scene.said[:2] == [
        "\033[32;1mUploading artifacts...",
        "out/: found 2 matching artifact files and directories",
    ]
    assert scene.said[-1] == (
        'Uploading artifacts as "archive" to coordinator... 201   '
        "id=5 responseStatus=201  token=64_abcdef"
    )


def test_without_an_expiry_none_is_asked_for(scene: Scene) -> None:
    scene.has("a")
    scene.answers(201)
    scene.upload(artifact("a"))
    assert "expire_in" not in scene.sent()[0]


@pytest.mark.parametrize(
    ("name", "kind", "form", "filename"),
    [
        ("", "archive", "zip", "artifacts.zip"),
        ("", "", "", "artifacts.zip"),
        ("", "junit", "gzip", "junit.gz"),
        ("", "dotenv", "raw", "dotenv"),
        ("built-$REF", "archive", "zip", "built-main.zip"),
        ("a/$REF", "archive", "zip", "main.zip"),
    ],
)
def test_the_name_of_what_is_sent(
    scene: Scene, name: str, kind: str, form: str, filename: str
) -> None:
    scene.has("a", "content")
    scene.answers(201)
    scene.upload(artifact("a", name=name, type=kind, format=form), REF="main")
    query, sent_as, _ = scene.sent()
    assert sent_as == filename
    assert query.get("artifact_type", [""]) == [kind]
    assert query.get("artifact_format", [""]) == [form]


def test_a_report_goes_as_gzip_and_a_raw_file_as_it_is(scene: Scene) -> None:
    scene.has("a.xml", "<a/>")
    scene.has("b.xml", "<b/>")
    scene.answers(201, 201)
    scene.upload(artifact("*.xml", type="junit", format="gzip"))
    assert gzip.decompress(scene.sent()[2]) == b"<a/><b/>"
    scene.upload(artifact("a.xml", type="dotenv", format="raw"))
    assert scene.sent()[2] == b"<a/>"


def test_variables_stand_in_paths_and_exclusions(scene: Scene) -> None:
    for path in ("out/a.txt", "out/a.log", "out/deep/b.log"):
        scene.has(path)
    scene.answers(201)
    scene.upload(artifact("$DIR/**", exclude=("$DIR/**/*.log",)), DIR="out")
    assert names(scene.sent()[2]) == ["out/", "out/a.txt", "out/deep/"]
    assert scene.says("out/**: found 3 matching artifact files and directories")


def test_untracked_files_are_sent_but_for_those_excluded(scene: Scene) -> None:
    subprocess.run(["git", "init", "-q", str(scene.root)], check=True)
    scene.has("new.txt")
    scene.has("new.log")
    scene.answers(201)
    scene.upload(artifact(untracked=True, exclude=("*.log",)))
    assert names(scene.sent()[2]) == ["new.txt"]
    assert scene.says("untracked: found 2 files")


def test_nothing_found_is_told_and_no_failure(scene: Scene) -> None:
    scene.upload(artifact("missing/*"))
    assert scene.wire.sent == []
    assert scene.says("WARNING: missing/*: no matching files")
    assert scene.says(f"relative to the working directory ({scene.root})")
    assert scene.said[-1] == "\033[31;1mERROR: No files to upload"


@pytest.mark.parametrize(
    ("status", "tries", "why"),
    [
        (403, 1, "permission denied"),
        (413, 1, "too large"),
        (401, 1, "invalid argument"),
        (404, 1, "invalid argument"),
        (500, 3, "invalid argument"),
        (-1, 3, "invalid argument"),
        (503, 6, "service unavailable"),
    ],
)
def test_an_upload_that_is_not_taken_fails_the_job(
    scene: Scene, status: int, tries: int, why: str
) -> None:
    scene.has("a")
    scene.answers(*[status] * tries)
    with pytest.raises(BuildError, match="exit status 1") as caught:
        scene.upload(artifact("a"))
    assert (caught.value.exit_code, caught.value.reason) == (1, "script_failure")
    assert scene.wire.replies == []  # every answer was asked for, and no other
    assert scene.said[-1] == f"\033[31;1mFATAL: {why}"
    assert scene.says("ERROR: Uploading artifacts as")


def test_a_try_that_goes_well_ends_the_tries(scene: Scene) -> None:
    scene.has("a", "again")
    scene.answers(500, 201)
    scene.upload(artifact("a"))
    assert [part for pieces in scene.wire.pieces for part in names_in(pieces)] == ["a", "a"]
    assert scene.paused == [1.0]
    assert scene.says("WARNING: Retrying...  error=500 ")


def test_what_gitlab_says_of_a_refusal_is_in_the_log(scene: Scene) -> None:
    scene.has("a")
    headers = {"content-type": "application/json"}
    for body, said in (
        (b'{"message":"Invalid Format"}', "400 Bad Request (Invalid Format)  id="),
        (b'{"error":"x"}', "400 Bad Request  id="),
        (b"[", "400 Bad Request  id="),
    ):
        refused = Reply(status=400, reason="Bad Request", headers=headers, body=body)
        scene.wire.replies = [refused] * 3
        with pytest.raises(BuildError):
            scene.upload(artifact("a"))
        assert said in scene.said[-2]


def test_pauses_double_up_to_five_seconds(scene: Scene) -> None:
    scene.has("a")
    scene.answers(*[503] * 6)
    with pytest.raises(BuildError):
        scene.upload(artifact("a"))
    assert scene.paused == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_large_archive_goes_in_pieces(scene: Scene) -> None:
    size = 3 * 64 * 1024
    (scene.root / "a").write_bytes(bytes(range(256)) * (size // 256))
    scene.answers(201)
    scene.upload(artifact("a", format="raw"))
    (pieces,) = scene.wire.pieces
    assert [len(piece) for piece in pieces[2:-1]] == [64 * 1024] * 3


# --- down


def test_the_archive_of_an_earlier_job_is_fetched_with_that_jobs_token(scene: Scene) -> None:
    scene.answers(200, body=zipped(a="A", b="B"))
    scene.artifacts.download(DEPENDENCY, str(scene.root))
    method, path, _, headers = scene.wire.sent[0]
    assert (method, path) == ("GET", "jobs/9/artifacts?direct_download=true")
    assert headers["JOB-TOKEN"] == DEPENDENCY.token
    assert (scene.root / "a").read_text() + (scene.root / "b").read_text() == "AB"
    assert scene.said == [
        "\033[32;1mDownloading artifacts for build (9)...",
        "Downloading artifacts from coordinator... ok  id=9 responseStatus=200  token=64_zyxwvu",
    ]


@pytest.mark.parametrize(
    ("status", "tries", "why"),
    [
        (401, 1, "unauthorized"),
        (403, 1, "forbidden"),
        (404, 1, "not found"),
        (500, 3, "failed"),
        (201, 3, "failed"),
        (503, 6, "failed"),
    ],
)
def test_a_download_that_is_refused_fails_the_job(
    scene: Scene, status: int, tries: int, why: str
) -> None:
    scene.answers(*[status] * tries)
    with pytest.raises(BuildError, match="exit status 1") as caught:
        scene.artifacts.download(DEPENDENCY, str(scene.root))
    assert caught.value.exit_code == 1
    assert scene.wire.replies == []
    assert scene.says(f"ERROR: Downloading artifacts from coordinator... {why}  id=9")


@pytest.mark.parametrize("body", [b"no zip", zipped(**{"../escaped": "x"})])
def test_an_archive_that_cannot_be_unpacked_fails_the_job(scene: Scene, body: bytes) -> None:
    scene.answers(200, body=body)
    with pytest.raises(BuildError, match="exit status 1") as caught:
        scene.artifacts.download(DEPENDENCY, str(scene.root / "in"))
    assert caught.value.exit_code == 1
    assert scene.said[-1].startswith("\033[31;1mFATAL: ")
    assert not (scene.root / "escaped").exists()


def test_an_answer_without_a_reason_is_told_by_its_cause(scene: Scene) -> None:
    scene.has("a")
    lost = Reply(status=-1, reason="couldn't execute POST: refused", headers={})
    scene.wire.replies = [lost, reply(201)]
    scene.upload(artifact("a"))
    assert scene.says("WARNING: Retrying...  error=couldn't execute POST: refused")
