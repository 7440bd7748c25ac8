"""The SMTP door: takes in mail from the internet and hands each transaction to a Door. Knows no tenants and no policy."""
