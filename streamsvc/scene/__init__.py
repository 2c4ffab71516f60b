"""People and rooms rendered into calibrated cameras, for peer, probe, demo and tests."""
