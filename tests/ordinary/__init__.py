"""Ordinary documents as people send them, made anew for each test: none of them may look like an attack."""
