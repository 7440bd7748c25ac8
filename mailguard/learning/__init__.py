"""What the filter learns from, how it is trained, and how well it does."""
