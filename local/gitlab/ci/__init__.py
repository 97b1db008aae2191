"""Reads `.gitlab-ci.yml` as GitLab does."""
