"""Everything that is kept: the database, the message bodies, the journal. Nothing here knows SMTP or policy."""
