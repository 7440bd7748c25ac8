"""What a tenant's profile makes of the findings: profiles as data, the score, the decision. Checks report, policy decides."""
