"""The workarounds of known gaps, tried."""
