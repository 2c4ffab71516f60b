"""Say what it cost: records, sinks, report. Imports nothing of ours."""
