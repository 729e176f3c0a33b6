"""Makes the plugin's own tests able to run pytest in pytest."""

pytest_plugins = ["pytester"]
