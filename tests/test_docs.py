"""What the pages in docs/ show runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
NUMBER = r"(-?\d+\.\d+)"


def test_the_identity_of_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """log p = ELBO + KL by quadrature; by sampling the same ELBO, and a log p that is no higher."""
    page = (DOCS / "likelihood.md").read_text()
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    found = re.search(
        rf"log p {NUMBER} = ELBO {NUMBER} \+ KL {NUMBER}\n"
        rf"by sampling: ELBO {NUMBER}, log p {NUMBER}",
        capsys.readouterr().out,
    )
    assert found
    log_p, elbo, kl, sampled, estimate = map(float, found.groups())
    assert log_p == pytest.approx(elbo + kl, abs=0.0021)
    assert kl > 0.1
    assert sampled == pytest.approx(elbo, abs=0.05)
    assert elbo + 0.5 * kl < estimate < log_p + 0.05
