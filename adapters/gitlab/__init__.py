"""GitLab: its REST API, its hooks and their values."""
