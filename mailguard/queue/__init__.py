"""Mail that waits: attempted when due, given up when its time is over, and told of to those who may be told."""
