"""Run real vLLM-on-Ray flows and say per flow: works, a known gap, or something new.

Nothing is imported here: pytest loads this package for every run, and the flows run it inside environments
that have neither pytest nor this project's dependencies.
"""

__version__ = "0.1.0"
