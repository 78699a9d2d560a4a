"""Runs docs/guide/first-vae.ipynb and stores what its cells print and draw.

python tools/notebook.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "guide" / "first-vae.ipynb"


def executed(path: Path, folder: str | Path) -> Any:
    """The notebook with fresh outputs, run in `folder` by one thread."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["OMP_NUM_THREADS"] = "1"
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources)
    with tempfile.TemporaryDirectory() as sockets:
        manager = client.create_kernel_manager()
        manager.transport, manager.ip = "ipc", f"{sockets}/kernel"  # no open ports
        return client.execute()


def plain(notebook: Any) -> Any:
    """Without times and versions, which change from run to run."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return notebook


def main() -> None:
    """Runs it and writes it."""
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        notebook = plain(executed(NOTEBOOK, folder))
    nbformat.write(notebook, NOTEBOOK)
    print(f"wrote {NOTEBOOK.name}: {NOTEBOOK.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
