"""The Lambda back end: one gitlab-runner, one job, a clean /tmp."""
