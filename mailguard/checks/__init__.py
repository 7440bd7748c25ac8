"""What is looked for in a mail: one file a check. Checks report, policy decides; no check knows the store or another check."""
