"""MailGuard: a managed e-mail-filtering SMTP relay."""

__version__ = "0.1.0"
