"""A month's cost: its parts, and what makes it more or less."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from fleet.month import ALARMS, DASHBOARDS, SECRETS, MonthCost, MonthUse, month_cost
from fleet.prices import Ec2Use, LambdaUse, job_cost
from tests.unit.infra.documents import properties, resources

IDLE = MonthUse(jobs=0)
THOUSAND = MonthUse(jobs=1000)


def cost(use: MonthUse) -> MonthCost:
    price = month_cost(use)
    assert price is not None
    return price


def part(use: MonthUse, word: str) -> Decimal:
    """The sum of the parts that this word names."""
    return sum((line.usd for line in cost(use).lines if word in line.what), Decimal(0))


def test_what_is_there_by_the_month_is_that_of_the_template() -> None:
    assert len(resources("CloudWatch::Alarm")) == ALARMS
    assert len(resources("SecretsManager::Secret")) == SECRETS
    assert len(resources("CloudWatch::Dashboard")) == DASHBOARDS
    assert properties("WebhookFunction")["MemorySize"] == 1024 * IDLE.snapshot_gb


def test_an_idle_month_has_no_machine_and_is_not_free() -> None:
    assert part(IDLE, "machines") == 0
    assert 3 < cost(IDLE).usd < 12
    assert cost(IDLE).usd == sum(line.usd for line in cost(IDLE).lines)


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_a_machine_is_paid_from_its_launch_with_disk_and_address(market: str) -> None:
    use = replace(THOUSAND, market=market)
    ran = use.runs + use.around
    alone = job_cost(Ec2Use(instance_type="m7i.large", market=market, ran=ran, disk_gb=50))
    assert alone is not None
    assert part(use, "machines") == 1000 * alone
    assert use.around > timedelta(minutes=1)


def test_lambda_is_paid_by_its_run_time() -> None:
    use = MonthUse(jobs=1000, instance_type=None, runs=timedelta(minutes=2))
    alone = job_cost(LambdaUse(memory_gb=4, ran=timedelta(minutes=2)))
    assert alone is not None
    assert part(use, "machines") == 1000 * alone


@pytest.mark.parametrize(
    ("more", "word", "usd"),
    [
        pytest.param({"pools": 5}, "secrets", 1.2, id="three pools more"),
        pytest.param({"alarms": ALARMS + 7}, "alarms", 0.7, id="seven alarms more"),
        pytest.param({"images_gb": Decimal(20)}, "ECR", 2.0, id="20 GB of images"),
        pytest.param({"warm_h": 10.0}, "machines", 0.458, id="ten warm hours"),
        pytest.param({"snapshot_gb": Decimal(0)}, "snapshot", -1.977, id="no snapshot"),
        pytest.param({"jobs": 1000}, "snapshot", 0.14, id="two starts of the webhook for a job"),
        pytest.param({"jobs": 50_000}, "snapshot", 0.738, id="at most one a minute"),
    ],
)
def test_what_more_costs(more: dict[str, object], word: str, usd: float) -> None:
    use = replace(IDLE, **more)  # type: ignore[arg-type]
    assert float(part(use, word) - part(IDLE, word)) == pytest.approx(usd, rel=0.02)


@pytest.mark.parametrize(
    ("use", "hours"),
    [
        pytest.param(IDLE, 0, id="nothing waits"),
        pytest.param(replace(IDLE, warm_h=50), 50, id="machines are warm"),
        pytest.param(replace(THOUSAND, jobs=6), 1.15, id="one after the other"),
        pytest.param(replace(THOUSAND, jobs=50_000), 176, id="at most the working hours"),
        pytest.param(replace(THOUSAND, awake_h=730), 730, id="as it is said"),
    ],
)
def test_scale_is_awake_while_something_runs(use: MonthUse, hours: float) -> None:
    an_hour = part(replace(IDLE, awake_h=1), "scale")
    assert float(part(use, "scale")) == pytest.approx(float(an_hour) * hours, rel=0.01)


def test_jobs_cost_in_proportion() -> None:
    fixed = ("secrets", "key", "alarms", "once a minute")
    for word in fixed:
        assert part(THOUSAND, word) == part(IDLE, word)
    ten = replace(THOUSAND, jobs=10_000)
    assert part(ten, "machines") == 10 * part(THOUSAND, "machines")
    assert part(ten, "work for jobs") == pytest.approx(10 * part(THOUSAND, "work for jobs"))


def test_a_type_without_a_price_has_no_estimate() -> None:
    assert month_cost(replace(THOUSAND, instance_type="p5.48xlarge")) is None
