"""The HTTP face of the simulated GitLab."""
