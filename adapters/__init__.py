"""Everything that talks to the outside: AWS, GitLab, processes, settings."""
