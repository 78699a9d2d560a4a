"""What the pages in docs/ show runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from vaekit.cli.main import main

DOCS = Path(__file__).resolve().parent.parent / "docs"
NUMBER = r"(-?\d+\.\d+)"


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_file_of_parts_of_ones_own_made_of_the_page_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "parts.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own = r"<!-- my_parts.py -->\n```python\n(.*?)```\n"
    (tmp_path / "my_parts.py").write_text("\n".join(re.findall(own, page, re.DOTALL)))
    (options,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "options.yaml").write_text(options)
    names: dict[str, object] = {}
    for code in re.findall(
        r"```python\n(.*?)```", re.sub(own, "", page, flags=re.DOTALL), re.DOTALL
    ):
        exec(code, names)
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            main(shlex.split(line)[1:])
    small = ("--data", "digits", "--epochs", "1", "--threads", "1")
    own_parts = ("--import", "my_parts.py")
    main(["train", "vae", "--config", "options.yaml", *small, "--out", "runs/yaml"])
    parts = (
        "--net",
        "linear:middle=4",
        "--posterior",
        "own-logistic",
        "--likelihood",
        "own-logistic",
    )
    main(
        [
            "train",
            "small_codes",
            *parts,
            "--model",
            ":fine=2",
            *small,
            "--out",
            "runs/small",
            *own_parts,
        ]
    )
    main(["evaluate", "runs/small", "worst:share=0.01", *own_parts])
    assert "where the width starts" in capsys.readouterr().out


def test_data_and_models_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "own.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own = r"<!-- mine.py -->\n```python\n(.*?)```\n"
    (code,) = re.findall(own, page, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    names: dict[str, object] = {"torch": torch}
    for code in re.findall(
        r"```python\n(.*?)```", re.sub(own, "", page, flags=re.DOTALL), re.DOTALL
    ):
        exec(code, names)
    assert names["images"].shape == (4, 1, 8, 8)  # type: ignore[attr-defined]
    assert Path("models/mine.vaekit").is_file()
