"""One module for each command: `run` does it and returns the exit status, `add_flags` says what it takes.

Everything heavy is imported by the command that needs it.
"""
