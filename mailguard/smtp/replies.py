"""Every reply that the door gives by itself, with the enhanced status codes of RFC 3463 and the registry of RFC 5248."""

from __future__ import annotations

from dataclasses import replace

from mailguard.core.reply import LOCAL_ERROR, Reply

# transactions
OK = Reply(250, "2.0.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
BYE = Reply(221, "2.0.0", "Bye")
SEND_DATA = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
CANNOT_VRFY = Reply(252, "2.5.0", "Cannot VRFY user, but will accept message and attempt delivery")  # RFC 5321 §3.5.3
HELP = Reply(214, "2.0.0", "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT; see RFC 5321")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")

# syntax
UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command not recognised")
BAD_LINE = Reply(500, "5.5.2", "Control characters, or text that is not UTF-8, in the command")
BARE_NEWLINE_COMMAND = Reply(500, "5.5.2", "Commands end with <CR><LF> (RFC 5321 2.3.8)")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
NO_CHUNKING = Reply(502, "5.5.1", "CHUNKING is not offered here; closing, since data may follow")
BDAT_SYNTAX = Reply(501, "5.5.4", "Syntax: BDAT size [LAST]; closing, since data may follow")
NOT_SMTP = Reply(554, "5.5.1", "This is an SMTP server")
NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
HELO_SYNTAX = Reply(501, "5.5.4", "Syntax: EHLO domain or address literal")
VRFY_SYNTAX = Reply(501, "5.5.4", "Syntax: VRFY address")
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_SENDER = Reply(553, "5.1.7", "Sender address is malformed")
BAD_RECIPIENT = Reply(553, "5.1.3", "Recipient address is malformed")
SENDER_TOO_LONG = Reply(501, "5.1.7", "Sender address is too long (RFC 5321 4.5.3.1)")
RECIPIENT_TOO_LONG = Reply(501, "5.1.3", "Recipient address is too long (RFC 5321 4.5.3.1)")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "Non-ASCII addresses need the SMTPUTF8 parameter")  # RFC 6531 §3.5

# order
NEED_HELO = Reply(503, "5.5.1", "Send EHLO first")
NEED_MAIL = Reply(503, "5.5.1", "Send MAIL first")
NEED_RCPT = Reply(503, "5.5.1", "Send RCPT first")
CHUNKS_BEGUN = Reply(503, "5.5.1", "The message is coming by BDAT: only BDAT, RSET or QUIT now")  # RFC 3030 §2
NESTED_MAIL = Reply(503, "5.5.1", "A mail transaction is already under way")
NO_VALID_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")  # RFC 5321 §3.3
TLS_ACTIVE = Reply(503, "5.5.1", "TLS is already active")
TURNED_AWAY = Reply(503, "5.5.1", "No service here; only QUIT is left")  # RFC 5321 §3.1
OUT_OF_SYNC = Reply(554, "5.5.0", "Protocol synchronisation error: wait for the reply (RFC 2920 3.1)")

# messages
MESSAGE_TOO_LARGE = Reply(552, "5.3.4", "Message exceeds the size limit")
NO_ROOM = Reply(452, "4.3.1", "Not enough storage here at the moment; please try again")
TOO_BUSY = Reply(452, "4.3.1", "Too many large messages here at the moment; please try again")
BARE_NEWLINE = Reply(554, "5.6.0", "Message has a bare <CR> or <LF> (RFC 5321 2.3.8)")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients in one message; send the rest in another")

# the end of a connection
COMMAND_TIMEOUT = Reply(421, "4.4.2", "Timeout: no command came in time; closing")
DATA_TIMEOUT = Reply(421, "4.4.2", "Timeout: the message took too long; closing")
DATA_TOO_SLOW = Reply(421, "4.4.2", "Timeout: the message comes too slowly; closing")
SESSION_TIMEOUT = Reply(421, "4.7.0", "The connection has lasted too long; closing")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors; closing")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands in one connection; closing")
TOO_MUCH_JUNK = Reply(421, "4.7.0", "Too many commands without a message; closing")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages in one connection; closing, come again")
SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down; please come again")
UNFORESEEN = replace(LOCAL_ERROR)
"""What an unforeseen error is answered with; told apart from a LOCAL_ERROR that the Door gave on purpose by identity."""
BROKEN = Reply(421, "4.3.0", "Temporary failure on our side; please try again")
BUSY = Reply(421, "4.3.2", "Too many connections here; please come again")
CLIENT_BUSY = Reply(421, "4.7.0", "Too many connections from your address; please come again")
CLIENT_TOO_FAST = Reply(421, "4.7.0", "Connections from your address come too fast; please come again")
PROXY_ONLY = Reply(421, "4.7.0", "This port takes connections from our proxy only")
