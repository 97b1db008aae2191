"""GitLab on the laptop, simulated."""
