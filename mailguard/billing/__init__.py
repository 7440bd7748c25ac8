"""What the bill follows from: counts of recorded MailEvents, and nothing else."""
