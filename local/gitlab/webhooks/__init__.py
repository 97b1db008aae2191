"""Sends webhooks as GitLab does: payload, signature, delivery."""
