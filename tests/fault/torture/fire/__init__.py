"""What the runs under fire are made of: records that can be checked, a ledger, roles, a verdict."""
