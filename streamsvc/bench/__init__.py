"""Every figure that the README quotes, measured.

Imports nothing: the stock side of `bench edge` runs in a process without our edge.
"""
