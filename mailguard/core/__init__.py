"""Values and pure types that every other room uses. Standard library only; no input or output."""
