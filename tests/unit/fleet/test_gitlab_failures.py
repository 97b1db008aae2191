"""GitLab's failure reasons in words."""

from fleet.gitlab_failures import FAILURES, failure_words
from fleet.reasons import Reason
from fleet.rules.retry import INFRA_FAILURES
from local.gitlab.ci.keywords import _RETRY_WHEN
from local.gitlab.failures import FROM_RUNNER

# Of jobs that start other pipelines: no runner takes those. And the word for all of them.
OF_NO_RUNNER = {
    *("always", "insufficient_bridge_permissions", "downstream_bridge_project_not_found"),
    *("invalid_bridge_trigger", "upstream_bridge_project_not_found"),
    *("insufficient_upstream_permissions", "bridge_pipeline_is_child_pipeline"),
    *("downstream_pipeline_creation_failed", "reached_max_descendant_pipelines_depth"),
    *("reached_max_pipeline_hierarchy_size", "reached_downstream_pipeline_trigger_rate_limit"),
    "duo_workflow_not_allowed",
}


def test_every_reason_of_a_job_has_words_of_its_own() -> None:
    known = {*_RETRY_WHEN, *FROM_RUNNER, *INFRA_FAILURES} - OF_NO_RUNNER
    assert known <= set(FAILURES)
    assert all("_" not in words for words in FAILURES.values())
    assert not set(FAILURES) & set(Reason)  # `explain` prints either by its word


def test_a_reason_of_a_newer_gitlab_stays_as_it_is() -> None:
    assert failure_words("script_failure") == "a command of its script failed"
    assert (failure_words("some_new_failure"), failure_words("")) == ("some_new_failure", "")
