"""Voice to English voice."""
