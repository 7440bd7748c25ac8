"""Watching the service from outside, as a sender and a recipient see it."""
