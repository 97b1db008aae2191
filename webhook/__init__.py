"""One GitLab delivery in, one event out."""
