"""The suites: parametrised flows and what is asserted of them, one folder for each area."""
