"""The network's client sides: DNS, SMTP and clamd. Knows no mail policy and no store."""
