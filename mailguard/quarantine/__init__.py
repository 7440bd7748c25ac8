"""What is kept from its recipient: looking at it, releasing it, deleting it, and letting it expire."""
