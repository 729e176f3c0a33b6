"""How fast engines are, for each executor; runs only where ``-m performance`` asks for it."""
