"""Composing: loops are written out, as cfn-lint and CloudFormation understand them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.compose import as_yaml, compose
from infra.package import TEMPLATE

LOOP = """
Transform: AWS::LanguageExtensions
Metadata: {cfn-lint: {}, Other: {}}
Mappings:
  Sizes:
    Small: {Mb: 1, Word: little, Of: !Ref A, Each: [a]}
    Large: {Mb: 2, Word: much, Of: [b], Each: [b, c]}
Resources:
  Fn::ForEach::Sizes:
    - Size
    - [Small, Large]
    - ${Size}Queue: BODY
"""


def looped(body: str) -> dict[str, Any]:
    """What the loop makes of this for each size."""
    return dict(compose(LOOP.replace("BODY", body))["Resources"])


@pytest.mark.parametrize(
    ("body", "small", "large"),
    [
        ("{A: !Ref Size}", "Small", "Large"),
        ("{A: !Ref Other}", {"Ref": "Other"}, {"Ref": "Other"}),
        ('{A: !Ref "${Size}Queue"}', {"Ref": "SmallQueue"}, {"Ref": "LargeQueue"}),
        (
            '{A: !GetAtt "${Size}Queue.Arn"}',
            {"Fn::GetAtt": "SmallQueue.Arn"},
            {"Fn::GetAtt": "LargeQueue.Arn"},
        ),
        ('{A: "Make${Size}"}', "MakeSmall", "MakeLarge"),
        (
            '{A: !If ["Is${Size}", 1, 2]}',
            {"Fn::If": ["IsSmall", 1, 2]},
            {"Fn::If": ["IsLarge", 1, 2]},
        ),
        ("{A: !FindInMap [Sizes, !Ref Size, Mb]}", 1, 2),
        ("{A: !FindInMap [Sizes, !Ref Size, Of]}", {"Ref": "A"}, ["b"]),
        (
            '{A: !Sub ["${AWS::Region}-${Word}", {Word: !FindInMap [Sizes, !Ref Size, Word]}]}',
            {"Fn::Sub": "${AWS::Region}-little"},
            {"Fn::Sub": "${AWS::Region}-much"},
        ),
        (
            '{A: !Sub ["${X}-${Size}", {X: !Ref Other}]}',
            {"Fn::Sub": ["${X}-Small", {"X": {"Ref": "Other"}}]},
            {"Fn::Sub": ["${X}-Large", {"X": {"Ref": "Other"}}]},
        ),
        (
            "{A: {Fn::ForEach::Inner: [N, !FindInMap [Sizes, !Ref Size, Each], {'${N}': 1}]}}",
            {"a": 1},
            {"b": 1, "c": 1},
        ),
        (
            "{A: {Fn::ForEach::Inner: [N, [x], {'${N}${Size}': !Ref N}]}}",
            {"xSmall": "x"},
            {"xLarge": "x"},
        ),
        ("{A: !Condition Other}", {"Condition": "Other"}, {"Condition": "Other"}),
    ],
)
def test_a_loop_is_written_out_for_each_name(body: str, small: Any, large: Any) -> None:
    assert looped(body) == {"SmallQueue": {"A": small}, "LargeQueue": {"A": large}}


def test_what_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="SmallQueue stands twice"):
        compose(LOOP + "  SmallQueue: {}\n")


def test_nothing_is_left_that_only_a_transform_understands(tmp_path: Path) -> None:
    written = as_yaml(compose(TEMPLATE.read_text()))
    for word in ("Fn::ForEach", "Transform:", "FindInMap", "cfn-lint", "!Ref", "&id"):
        assert word not in written
    assert yaml.load(written, Loader=yaml.CSafeLoader) == compose(TEMPLATE.read_text())
    assert compose(LOOP)["Metadata"] == {"Other": {}}
