"""Which worker, on which host: started, watched, replaced."""
