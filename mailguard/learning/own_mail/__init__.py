"""Templates of mail that MailGuard's authors wrote, honest and not: kinds of which no collection that may be learned from has much."""
