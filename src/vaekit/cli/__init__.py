"""The command line: `vaekit.cli.main`. torch is imported only inside commands."""

from vaekit.cli.main import app, main

__all__ = ["app", "main"]
