"""The learned geometry: disparity of both cameras of a pair, confidence, and who is the person."""
