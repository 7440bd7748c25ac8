"""Processes apart, without rights, in which the parsers of hostile files run. docs/sandbox.md says what holds them."""
