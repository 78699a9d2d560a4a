"""The pages of docs/howto are short, and what they show runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas
import pytest

from vaekit.cli.main import main

PAGES = sorted((Path(__file__).resolve().parent.parent / "docs" / "howto").glob("*.md"))


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: page.stem)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all that a page shows was run."""
    place = tmp_path_factory.mktemp(request.param.stem)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for kind, code in re.findall(r"```(\w+)\n(.*?)```", request.param.read_text(), re.DOTALL):
            if kind == "python":
                exec(code, {})
            else:
                for line in code.splitlines():
                    main(shlex.split(line, comments=True)[1:])
    return place


def test_what_a_page_shows_runs_and_is_short(done: Path) -> None:
    page = next(page for page in PAGES if done.name.startswith(page.stem))
    assert len(page.read_text().splitlines()) <= 60
    shown = "".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL))
    named = re.findall(r"-o (\S+)", shown)
    assert named or page.stem == "sklearn"
    assert all((done / name).is_file() for name in named)
    if page.stem == "scores":
        scores = pandas.read_csv(done / "scores.csv")
        assert scores["strange"][95:].all()
        assert scores["strange"][:95].mean() < 0.06
    if page.stem == "gaps":
        assert not pandas.read_csv(done / "filled.csv").isna().any(axis=None)
        assert len(pandas.read_csv(done / "draws.csv")) == 10_000
