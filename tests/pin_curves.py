"""Writes pinned_curves.json anew: run it only when a change is meant to alter the numbers.

python tests/pin_curves.py [RECIPE...]   of some recipes, as new ones, alone
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    path = Path(__file__).parent / "pinned_curves.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    if not old:
        path.write_text("{}")
    from test_training import VAES, curve

    renewed = sys.argv[1:] or VAES
    new = {n: [round(v, 4) for v in curve(n)] if n in renewed else old.get(n, []) for n in VAES}
    path.write_text(json.dumps(new, indent=1) + "\n")
