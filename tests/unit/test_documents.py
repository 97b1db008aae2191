"""The documents speak of what there is: files, alarms, lines of `explain`, commands."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from cli.main import COMMANDS
from fleet.month import ALARMS, MonthUse, month_cost
from fleet.prices import AS_OF, Ec2Use, LambdaUse, job_cost
from operations.trail import LABELS
from tests.unit.infra.documents import resources
from tests.unit.test_rules import PRODUCT, modules, saying, words

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEN = timedelta(minutes=10)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_has_a_target(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target, anchor in LINK.findall(text):
        there = (path.parent / target) if target else path
        assert there.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8"))


def test_no_name_of_the_product_has_a_word_that_the_glossary_forbids() -> None:
    rows = re.findall(r"^\|.*\|([^|]*)\|$", read("docs/glossary.md"), flags=re.MULTILINE)
    forbidden = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert {"worker", "letterbox", "scale_up"} <= forbidden
    spelled = "|".join(word.replace("_", "_?") for word in sorted(forbidden))
    for module in saying(rf"(?i){spelled}", modules(*sorted(PRODUCT))):
        names = {"_".join(words(name)) for name in module.names}
        wrong = {name for name in names for word in forbidden if f"_{word}_" in f"_{name}_"}
        assert not wrong, f"{module.path} says {wrong}"


def test_operations_lists_every_alarm_and_no_other() -> None:
    text = read("docs/operations.md")
    alarms = resources("CloudWatch::Alarm")
    assert alarms
    assert set(re.findall(r"`(\w+Alarm)`", text)) == set(alarms)


def test_operations_lists_every_line_of_explain() -> None:
    section = read("docs/operations.md").partition("What the lines of `explain` mean")[2]
    table = section.partition("Times are those")[0].replace("GitLab says …", " ".join(OUTCOMES))
    missing = [label for label in LABELS.values() if label not in table]
    assert missing == []


OUTCOMES = [label for label in LABELS.values() if label.startswith("GitLab says ")]


@pytest.mark.parametrize(
    ("row", "use"),
    [
        ("a 10-minute job", Ec2Use(instance_type="m7i.large", market="spot", ran=TEN, disk_gb=50)),
        ("on demand", Ec2Use(instance_type="m7i.large", market="on-demand", ran=TEN, disk_gb=50)),
        ("a 2-minute job in Lambda", LambdaUse(memory_gb=4, ran=timedelta(minutes=2))),
    ],
)
def test_the_readme_has_the_price_of_a_job(row: str, use: Ec2Use | LambdaUse) -> None:
    (price,) = re.findall(rf"^\| .*{row}.*\| (0\.\d+) USD", read("README.md"), re.MULTILINE)
    cost = job_cost(use)
    assert cost is not None
    assert float(price) == float(f"{cost:.2g}")


def test_the_readme_has_the_months_that_are_computed() -> None:
    readme = read("README.md")
    (day,) = re.findall(r"^\| a month, by the price list of (\S+) ", readme, re.MULTILINE)
    assert day == AS_OF.isoformat()
    amount = r"\| ([\d.]+) USD "
    rows = re.findall(rf"^\| (no job|[\d,]+ jobs of ten minutes) {amount}{amount}\|", readme, re.M)
    written = {jobs: [float(usd) for usd in usds] for jobs, *usds in rows}
    assert written == {
        f"{jobs:,} jobs of ten minutes" if jobs else "no job": [
            float(f"{cost.usd:.2g}")
            for market in ("spot", "on-demand")
            if (cost := month_cost(MonthUse(jobs=jobs, market=market)))
        ]
        for jobs in (0, 1_000, 50_000)
    }
    assert f"{ALARMS} alarms" in readme


def test_the_example_of_explain_has_lines_that_it_prints() -> None:
    example = read("README.md").partition("$ runner-fleet explain")[2].partition("```")[0]
    lines = re.findall(r"^\d\d:\S+ +(?:\+\S+)? +(.+?)(?: {2,}|$)", example, re.MULTILINE)
    assert len(lines) > 5
    assert set(lines) <= set(LABELS.values())


def test_the_readme_runs_commands_that_exist() -> None:
    called = set(re.findall(r"(?<!-)runner-fleet (\w+)", read("README.md")))
    assert called <= set(COMMANDS)


def test_the_picture_is_small() -> None:
    picture = read("README.md").partition("```mermaid")[2].partition("```")[0]
    boxes = set(re.findall(r"(\w+)\[", picture))
    assert 3 <= len(boxes) <= 10


def test_decisions_are_dated_short_and_newest_first() -> None:
    parts = read("docs/decisions.md").split("\n## ")[1:]
    dates = [part[:10] for part in parts]
    assert dates == sorted(dates, reverse=True)
    assert all(re.match(r"\d{4}-\d\d-\d\d: \S", part) for part in parts)
    assert all(len(part.strip().splitlines()) - 2 <= 12 for part in parts)


def test_every_proof_that_the_security_document_names_is_there() -> None:
    text = read("docs/security.md")
    tests = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    files = {path.name for path in tests}
    functions = set(re.findall(r"def (test_\w+)", "\n".join(tests.values())))
    named = set(re.findall(r"\btest_\w+(?:\.py)?", text))
    assert len(named) > 40
    assert named <= files | functions
