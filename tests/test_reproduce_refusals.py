"""What `vaekit reproduce` does not take for its own: folders and files of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vaekit
from vaekit import VaekitError
from vaekit.cli.main import main
from vaekit.runs import METRICS, Reproduction, measured, record

SMALL: dict[str, Any] = {
    "data": "digits",
    "limit": 200,
    "epochs": 1,
    "latent": 2,
    "net": "mlp:hidden=8",
}


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> None:
    def metric(*_: Any) -> dict[str, Any]:
        return {"ours": 1.0, "standard_error": 0.0}

    made = Reproduction(
        name="small",
        title="a title",
        number="-ELBO, nats",
        reference=1.0,
        source="a source",
        protocol="a protocol",
        recipe="vae",
        measure={"metric": "elbo"},
        options=SMALL,
    )
    monkeypatch.setitem(METRICS, "elbo", metric)
    monkeypatch.setattr("vaekit.runs._reproduce.known", lambda: {"small": made})


@pytest.mark.usefixtures("one")
@pytest.mark.parametrize("other", [{"seed": 1}, {"latent": 3}, {"limit": 100}])
def test_a_folder_of_another_training_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    """Its numbers would be recorded as those of this protocol and seed."""
    out = tmp_path / "r"
    vaekit.train("vae", out=out, report=False, threads=1, **{**SMALL, **other})
    with pytest.raises(VaekitError, match="holds another training than small from seed 0"):
        vaekit.reproduce("small", out=out)
    assert not (out / "reproduction.json").exists()


@pytest.mark.usefixtures("one")
def test_other_threads_are_the_same_training(tmp_path: Path) -> None:
    vaekit.train("vae", out=tmp_path / "r", report=False, threads=1, **SMALL)
    assert vaekit.reproduce("small", out=tmp_path / "r", device="cpu")["ours"] == 1.0


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"PK\xca\x00\n", b"name,seed\na,0\n"])
def test_a_file_that_holds_no_results_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    for use in (measured, lambda p: record({"name": "a", "seed": 0}, p)):
        with pytest.raises(VaekitError, match=r"r\.csv .* name another"):
            use(path)
    assert path.read_bytes() == content


@pytest.mark.usefixtures("one")
def test_the_list_has_protocol_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    main(["reproduce", "--list"])
    shown = capsys.readouterr().out
    assert "a protocol" in shown
    assert "a source" in shown
