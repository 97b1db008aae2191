"""The embedded engine: MiniStack, the GitLab simulator, guests, the demo."""
