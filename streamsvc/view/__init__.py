"""Frame sets to a novel view."""
