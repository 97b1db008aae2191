"""Keywords that GitLab carries out and this simulator does not: checks, and warnings.
Source: GitLab's entries `Bridge`, `Trigger`, `Release`, `IdToken`, `Pages` and `JobInput`.
"""

from collections.abc import Callable, Iterator, Mapping

from local.gitlab.ci.values import Location

_ELSEWHERE = "other pipelines and projects are not read here"
_ENVIRONMENT = "environments do not stop here"
_ACCESS = "here every reader of the project may download them"
_REPORT = "the report is stored and not shown here"
# The warning for each keyword without effect, by its path in the job.
_WITHOUT_EFFECT: Mapping[tuple[str, ...], str] = {
    ("artifacts", "access"): _ACCESS,
    ("artifacts", "expose_as"): "no merge request shows them here",
    ("artifacts", "public"): _ACCESS,
    ("coverage",): "coverage is not read from the log here",
    ("dast_configuration",): "nothing is scanned here",
    ("environment", "auto_stop_in"): _ENVIRONMENT,
    ("environment", "kubernetes"): "there is no cluster here",
    ("environment", "on_stop"): _ENVIRONMENT,
    ("id_tokens",): "no token is issued here; its variable is not set",
    ("identity",): "no cloud sign-in happens here",
    ("image", "kubernetes"): "there is no cluster here",
    ("inputs",): "job inputs do not work here; their defaults are not interpolated",
    ("manual_confirmation",): "no confirmation is asked for here",
    ("pages",): "nothing is published here; the files are artifacts",
    ("publish",): "nothing is published here; the files are artifacts",
    ("release",): "no release is made here",
    ("secrets",): "no secret is fetched here; its variable is not set",
    ("trigger",): "no other pipeline starts here; the job is left out",
}
_SHOWN_REPORTS = ("dotenv",)
_RELEASE_KEYS = (
    *("tag_name", "tag_message", "name", "description", "ref", "released_at", "milestones"),
    "assets",
)
_INPUT_KEYS = ("default", "description", "options", "regex", "type")
_MOST_INPUTS = 50


def check_unsupported(name: str, own: Mapping[str, Location]) -> None:
    """Raises `CiError` where GitLab would refuse a keyword that has no effect here."""
    for key, check in _CHECKS.items():
        if key in own and own[key].node.value is not None:
            check(own[key])
    if "publish" in own and pages_path(name, own) is None:
        raise own["publish"].error("can only be used within a `pages` job")


def pages_path(name: str, own: Mapping[str, Location]) -> str | None:
    """The artifact folder that GitLab Pages would publish; None when the job is no Pages job."""
    pages = own.get("pages")
    value = pages.node.value if pages is not None else None
    if value is False or (not value and name != "pages"):
        return None
    entries = pages.entries() if pages is not None and pages.is_map else {}
    publish = entries.get("publish") or own.get("publish")
    return publish.text() if publish is not None else "public"


def warnings_of(jobs: Mapping[str, Location], defaults: Mapping[str, Location]) -> list[str]:
    """The warnings for keywords without effect, each once, with file and line."""
    warnings: dict[tuple[str, int, str], str] = {}
    for job in jobs.values():
        for spot, why in _of_job({**defaults, **job.entries()}):
            key = (spot.node.file, spot.node.line, why)
            warnings.setdefault(key, str(spot.error(why)))
    return list(warnings.values())


def _of_job(entries: Mapping[str, Location]) -> Iterator[tuple[Location, str]]:
    for (first, *rest), why in _WITHOUT_EFFECT.items():
        spot = entries.get(first)
        for key in rest:
            spot = spot.entries().get(key) if spot is not None and spot.is_map else None
        if spot is None or spot.is_null:
            continue
        if first != "pages" or spot.node.value is not False:
            yield spot, why
    artifacts = entries.get("artifacts")
    reports = artifacts.entries().get("reports") if artifacts and artifacts.is_map else None
    for kind, spot in reports.entries().items() if reports and reports.is_map else ():
        if kind not in _SHOWN_REPORTS:
            yield spot, _REPORT
    yield from _other_pipelines(entries)


def _other_pipelines(entries: Mapping[str, Location]) -> Iterator[tuple[Location, str]]:
    for item in _items(entries.get("needs")):
        if item.is_map and {"pipeline", "project"} & item.entries().keys():
            yield item, _ELSEWHERE
    for rule in _items(entries.get("rules")):
        exists = rule.entries().get("exists") if rule.is_map else None
        if exists is not None and exists.is_map and "project" in exists.entries():
            yield exists, f"{_ELSEWHERE}; the rule does not apply"


def _items(spot: Location | None) -> tuple[Location, ...]:
    if spot is None or spot.is_null:
        return ()
    return (spot,) if spot.is_map else spot.items()


def _check_release(spot: Location) -> None:
    entries = spot.entries(_RELEASE_KEYS)
    for key in ("tag_name", "description"):
        if key not in entries:
            raise spot.error(f"{key} is missing")
        entries[key].text()


def _check_tokens(spot: Location) -> None:
    for token in spot.entries().values():
        entries = token.entries(("aud",))
        if "aud" not in entries:
            raise token.error("aud is missing")
        entries["aud"].text_or_texts()


def _check_pages(spot: Location) -> None:
    if not spot.is_map:
        spot.flag()
        return
    entries = spot.entries(("path_prefix", "expire_in", "publish"))
    for key in entries:
        entries[key].text()
    if "expire_in" in entries and "$" not in entries["expire_in"].text():
        entries["expire_in"].expiry()


def _check_inputs(spot: Location) -> None:
    if len(inputs := spot.entries()) > _MOST_INPUTS:
        raise spot.error(f"may have {_MOST_INPUTS} entries at most")
    for entry in inputs.values():
        if "default" not in entry.entries(_INPUT_KEYS):
            raise entry.error("must have a default value")


def _check_trigger(spot: Location) -> None:
    if not spot.is_map:
        spot.text()
        return
    if "include" in spot.entries():
        entries = spot.entries(("strategy", "include", "forward"))
    else:
        entries = spot.entries(("project", "branch", "strategy", "forward", "inputs"))
        if "project" not in entries:
            raise spot.error("takes project or include")
        entries["project"].text()
    if "strategy" in entries:
        entries["strategy"].one_of(("depend", "mirror"))
    if "forward" in entries:
        for flag in entries["forward"].entries(("yaml_variables", "pipeline_variables")).values():
            flag.flag()


_CHECKS: Mapping[str, Callable[[Location], object]] = {
    "dast_configuration": Location.entries,
    "id_tokens": _check_tokens,
    "identity": Location.text,
    "inputs": _check_inputs,
    "manual_confirmation": Location.text,
    "pages": _check_pages,
    "publish": Location.text,
    "release": _check_release,
    "secrets": Location.entries,
    "trigger": _check_trigger,
}
