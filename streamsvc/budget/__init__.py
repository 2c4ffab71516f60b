"""Spend a deadline: pure decisions over clocks, deadlines, rungs and slices. Imports nothing of ours."""
