"""SMTP dialogues with the door: what a client says, and the right answer to it."""
