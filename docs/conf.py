"""Sphinx settings. The documentation is Markdown, read through MyST."""

from pytest_raycompat import __version__

project = "pytest-raycompat"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 2
html_theme = "furo"
html_title = f"{project} {release}"
