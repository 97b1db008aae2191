"""AWS services besides the ledger and the machines."""
