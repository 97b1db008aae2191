"""Every path that ends a machine or deletes a runner record, with the signals that it needs.

One of the two signals no job, machine or event can write: GitLab's API, the cloud's own list, or
the ledger with its clock. `of`: module and function that acts; `why`: the reasons that it acts for.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One path. `shown_by`: tests, by name."""

    of: str
    why: tuple[str, ...] = ()
    signals: tuple[str, ...]
    shown_by: tuple[str, ...]


SETTLE, SWEEP = "orchestrator.settle._close", "orchestrator.sweep._close"

ENDS = (
    End(
        of=SETTLE,
        why=("finished",),
        signals=("GitLab's signed event", "the machine's goodbye, or GitLab's API on the job"),
        shown_by=(
            "test_a_job_s_end_closes_only_with_a_second_sign",
            "test_a_forged_end_of_a_job_ends_no_machine",
        ),
    ),
    End(
        of=SETTLE,
        why=("machine_gone", "went_unserved"),
        signals=("EC2's event", "DescribeInstances on that machine"),
        shown_by=("test_a_forged_event_of_a_machine_ends_nothing",),
    ),
    End(
        of=SETTLE,
        why=("invocation_failed", "machine_gone"),
        signals=("Lambda's event", "the mailbox is silent by the ledger's clock"),
        shown_by=("test_a_forged_failure_of_an_invocation_ends_nothing",),
    ),
    End(
        of=SWEEP,
        why=("machine_gone",),
        signals=("DescribeInstances", "silence by the ledger's clock where EC2 leaves it out"),
        shown_by=("test_a_machine_that_the_cloud_never_showed_is_given_time",),
    ),
    End(
        of=SWEEP,
        why=("finished", "went_unserved"),
        signals=("the machine's goodbye", "GitLab's API: no job runs there"),
        shown_by=("test_a_forged_goodbye_ends_no_machine_at_work",),
    ),
    End(
        of=SWEEP,
        why=("boot_deadline", "stalled"),
        signals=("silence by the ledger's clock", "GitLab's API: no job runs there"),
        shown_by=("test_a_silent_machine_is_ended_when_gitlab_says_that_nothing_runs_there",),
    ),
    End(
        of=SWEEP,
        why=("expired",),
        signals=("the ledger's clock and row", "GitLab's shorter time-out of the record"),
        shown_by=("test_nothing_outlives_its_expiry",),
    ),
    End(
        of="orchestrator.sweep.end_launch",
        signals=("the timer", "the time in the machine's own tag, by the clock"),
        shown_by=("test_a_forged_timer_ends_no_launch_before_its_time",),
    ),
    End(
        of="orchestrator.sweep._end_stray_machines",
        signals=("DescribeInstances", "no row in the ledger for two minutes"),
        shown_by=("test_a_machine_without_a_row_is_ended_unless_it_works",),
    ),
    End(
        of="orchestrator.sweep._delete_stray_record",
        signals=("GitLab's API: no job runs there", "no row in the ledger for two minutes"),
        shown_by=("test_a_runner_record_without_a_row_is_deleted_unless_a_job_runs_on_it",),
    ),
    End(
        of="orchestrator.launch._launch",
        signals=("the cloud's answer has no machine for it", "no machine in its row"),
        shown_by=("test_a_launch_that_failed_unclearly_is_not_repeated_before_its_deadline",),
    ),
    End(
        of="orchestrator.launch._place",
        signals=("the cloud's answer to this launch", "no row, so it never had a credential"),
        shown_by=("test_a_machine_whose_row_is_gone_is_ended_and_the_others_serve",),
    ),
    End(
        of="orchestrator.close.end_machine",
        signals=("its callers'", "they are in this table"),
        shown_by=("test_every_path_that_ends_a_machine_is_known",),
    ),
    End(
        of="orchestrator.close.close_runner",
        signals=("its callers'", "they are in this table"),
        shown_by=("test_every_path_that_ends_a_machine_is_known",),
    ),
    End(
        of="orchestrator.credentials.discard",
        signals=("its runner has no row yet", "no machine was asked for"),
        shown_by=("test_every_path_that_ends_a_machine_is_known",),
    ),
    *(
        End(
            of=f"operations.destroy.{name}",
            signals=("a person names the stack", "the stack's tag in AWS, or its name in GitLab"),
            shown_by=("test_a_fleet_goes_whole_and_leaves_its_neighbour_as_it_was",),
        )
        for name in ("end_machines", "remove", "_machine_kind", "_records")
    ),
)

# Callers of `delete_runner` that delete a pool's record, which no machine owns.
OF_POOLS = frozenset({"orchestrator.pool_tokens", "operations.pool_records"})
