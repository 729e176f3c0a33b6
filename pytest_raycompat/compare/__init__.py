"""What a change made worse: two reports in, what became of each test out. Pure functions."""
