"""HTTP for operators: metrics and health, on a listener apart from anything public."""
