"""Models that flows run: small enough to write on the spot, so no flow downloads anything."""
