"""Getting a message to a next hop: where it is, how to reach it, and what its answers mean. It keeps nothing durable."""
