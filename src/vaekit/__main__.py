"""The command `vaekit`, and `python -m vaekit`."""

import os
import signal
from typing import Any


def leave(*_: Any) -> None:
    """End at once: an exception in the middle of an import breaks it, in words of its own."""
    os._exit(130)


def main() -> None:
    """Run the command line; until it computes, Ctrl-C ends it without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    from vaekit.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
