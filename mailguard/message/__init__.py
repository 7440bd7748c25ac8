"""Mail content: bytes to a Message and facts about it. Pure functions of bytes; never raises on what a sender sent."""
