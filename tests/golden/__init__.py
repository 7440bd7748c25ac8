"""One folder a case: a message, the DNS as it was, and what must be found and decided."""
