"""The dashboard: pages, metrics and traces over `operations/`. It draws values, decides nothing."""
