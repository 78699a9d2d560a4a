"""`python -m vaekit`: the command line."""

from vaekit.cli.main import main

main()
