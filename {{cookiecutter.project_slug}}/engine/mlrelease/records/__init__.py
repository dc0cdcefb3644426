"""Records: git, the record of an environment, and its ledger."""
