"""Which hooks an event goes to, when GitLab switches a hook off, and how it signs."""

import base64
from datetime import timedelta

import pytest

from local.gitlab.webhooks.delivery import beside_custom
from local.gitlab.webhooks.hooks import (
    Delivery,
    Hook,
    Hooks,
    alert_status,
    is_executable,
    note_failure,
    note_success,
)
from local.gitlab.webhooks.signing import BadSigningToken, check_signing_token, signature
from tests.unit.local.gitlab.small_gitlab import NOON, group, project
from tests.unit.webhook.deliveries import (
    SIGNING,
    VECTOR_BODY,
    VECTOR_ID,
    VECTOR_SIGNATURE,
    VECTOR_STAMP,
)

URL = "http://127.0.0.1:1/hook"


def failed(times: int) -> Hook:
    """A hook after so many failures in a row."""
    hook = Hooks().add(project(), URL, at=NOON)
    for _ in range(times):
        note_failure(hook, NOON)
    return hook


def test_an_event_goes_to_the_hooks_of_the_project_and_of_all_groups_above() -> None:
    hooks = Hooks()
    top = group()
    sub = group("platform", number=2, parent=top)
    demo = project(within=sub)
    mine = [hooks.add(owner, URL, at=NOON) for owner in (demo, sub, top)]
    others = [
        hooks.add(owner, URL, at=NOON)
        for owner in (group("other", number=3), project("alien", number=2))
    ]
    assert list(hooks.wanting(demo, "job_events")) == []
    for hook in (*mine, *others):
        hook.events["job_events"] = True
    assert list(hooks.wanting(demo, "job_events")) == mine
    assert hooks.of(demo) == mine[:1]


@pytest.mark.parametrize(
    ("failures", "pause"),
    [
        pytest.param(3, None, id="three failures change nothing"),
        pytest.param(4, timedelta(minutes=1), id="the fourth pauses for a minute"),
        pytest.param(5, timedelta(minutes=2), id="each further doubles"),
        pytest.param(14, timedelta(minutes=1024), id="up to 1024 minutes"),
        pytest.param(15, timedelta(days=1), id="then a day"),
        pytest.param(39, timedelta(days=1), id="the last pause"),
    ],
)
def test_a_pause_doubles_with_each_failure_and_ends_by_itself(
    failures: int, pause: timedelta | None
) -> None:
    hook = failed(failures)
    assert hook.disabled_until == (None if pause is None else NOON + pause)
    if pause is not None:
        assert alert_status(hook, NOON + pause - timedelta(seconds=1)) == "temporarily_disabled"
        assert not is_executable(hook, NOON)
    assert is_executable(hook, NOON + (pause or timedelta()))


def test_the_fortieth_failure_disables_a_hook_until_a_success() -> None:
    hook = failed(40)
    assert alert_status(hook, NOON + timedelta(days=365)) == "disabled"
    note_success(hook)
    assert alert_status(hook, NOON) == "executable"
    for _ in range(3):
        note_failure(hook, NOON)
    assert is_executable(hook, NOON)  # the count began again


def test_no_more_than_five_hundred_deliveries_are_kept() -> None:
    hook = failed(0)
    for number in range(501):
        hook.deliveries.append(
            Delivery(
                id=number,
                trigger="job_events",
                request_headers={},
                body=b"{}",
                status=200,
                answer="",
                took_s=0.0,
                sent_at=NOON,
            )
        )
    assert [item.id for item in hook.history(NOON)] == list(range(1, 501))


def test_a_custom_header_cannot_override_gitlabs_in_any_case() -> None:
    own = {"X-Gitlab-Event": "Job Hook", "webhook-id": "1"}
    custom = {"x-gitlab-event": "lie", "Webhook-Id": "2", "X-Team": "blue"}
    assert beside_custom(custom, own) == {**own, "X-Team": "blue"}


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (SIGNING.removeprefix("whsec_"), "whsec_"),
        ("", "whsec_"),
        ("whsec_not base64!", "base64"),
        *((SIGNING[:20] + odd + SIGNING[20:], "base64") for odd in "!\n "),
        ("whsec_AAEC", "32 bytes"),
        ("whsec_" + base64.b64encode(bytes(33)).decode(), "32 bytes"),
    ],
)
def test_a_signing_token_is_whsec_and_32_bytes_in_base64(token: str, why: str) -> None:
    check_signing_token(SIGNING)
    with pytest.raises(BadSigningToken, match=why):
        check_signing_token(token)


def test_a_signature_equals_the_known_vector() -> None:
    signed = signature(SIGNING, delivery_id=VECTOR_ID, timestamp=VECTOR_STAMP, body=VECTOR_BODY)
    assert signed == VECTOR_SIGNATURE
