"""The runner that takes the place of gitlab-runner on the laptop."""
