"""Alarms and the CloudWatch dashboard speak of metrics that something sends."""

import json
import re

import pytest

from fleet import events
from fleet.metrics import MEASURED, NAMESPACE, STACK
from tests.unit.infra.documents import properties, resources

SENT = {
    measure.name: kind
    for event, kind in MEASURED.items()
    for measure in kind.measures
    if event.__module__ == events.__name__
}
OURS = {
    name: body["Properties"]
    for name, body in resources("CloudWatch::Alarm").items()
    if body["Properties"]["Namespace"] == NAMESPACE
}
STACK_NAME = {"Ref": "AWS::StackName"}


@pytest.mark.parametrize("name", OURS)
def test_an_alarm_watches_a_metric_that_an_event_sends(name: str) -> None:
    alarm = OURS[name]
    assert [STACK] in SENT[alarm["MetricName"]].dimensions
    assert alarm["Dimensions"] == [{"Name": STACK, "Value": STACK_NAME}]
    assert alarm["TreatMissingData"] == "notBreaching"  # a fleet at zero sends none


def test_there_is_an_alarm_for_each_trouble() -> None:
    watched = {alarm["MetricName"] for alarm in OURS.values()}
    assert watched >= {"Stuck", "Leaked", "GitLabTroubles", "GitLabCallsLeft", "FullPools"}


def body() -> str:
    text = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    return re.sub(r"\$\{(\w+)(?:\.\w+|::\w+)?\}", r"\1", text)


def test_the_dashboard_is_json_within_its_grid() -> None:
    widgets = json.loads(body())["widgets"]
    assert len(widgets) > 8
    for widget in widgets:
        assert widget["x"] + widget["width"] <= 24
        assert widget["type"] in {"alarm", "metric"}


def test_the_dashboard_shows_every_metric_of_the_fleet_and_no_other() -> None:
    text = body()
    searched = set(re.findall(r'SEARCH\(\'\{RunnerFleet,(Stack,\w+)\} MetricName=\\"(\w+)', text))
    for dimensions, name in searched:
        assert dimensions.split(",") in SENT[name].dimensions
    named = {
        str(line[1])
        for widget in json.loads(text)["widgets"]
        for line in widget["properties"].get("metrics", [])
        if len(line) > 1 and line[0] in {NAMESPACE, "."}
    }
    shown = named | {name for _, name in searched}
    assert shown - {"ApproximateNumberOfMessagesVisible"} == set(SENT) - {"PoolsFailed"}


def test_the_dashboard_shows_every_alarm_once_but_those_of_late_machines() -> None:
    alarms = set(
        re.findall(r"\$\{(\w+Alarm)\.Arn\}", properties("Dashboard")["DashboardBody"]["Fn::Sub"])
    )
    late = {name for name in resources("CloudWatch::Alarm") if name.endswith("LateAlarm")}
    assert alarms == set(resources("CloudWatch::Alarm")) - late
