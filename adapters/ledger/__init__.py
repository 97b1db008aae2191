"""The ledger: one table of jobs, runners, pools, projects and hooks, and the mailboxes."""
