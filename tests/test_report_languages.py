"""The report in Chinese: every sentence has a translation, and the numbers are the same."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

import vaekit
from vaekit.errors import VaekitError
from vaekit.report import write_run_report

ROOT = Path(__file__).resolve().parent.parent
CATALOGS = sorted((ROOT / "src/vaekit/report/locales").glob("*/LC_MESSAGES/vaekit.po"))
NUMBER = re.compile(r"[−-]?\d[\d,]*\.\d+|\d+%")


def translate() -> Any:
    spec = importlib.util.spec_from_file_location("translate", ROOT / "tools" / "translate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def braces(text: str) -> list[tuple[str, str]]:
    """Names and forms of what `str.format` puts into a text; none where it holds "%(name)s"."""
    parts = Formatter().parse(text)
    return sorted((name, form or "") for _, name, form, _ in parts if name is not None)


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.parent.name)
def test_catalogs_are_whole_and_compiled(path: Path) -> None:
    assert translate().stale(path) == []


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.parent.name)
def test_a_translation_takes_what_its_sentence_takes(path: Path) -> None:
    for message in translate().catalog(path):
        if not message.id:
            continue
        for text in (message.id, message.string):
            assert text.strip()
        fields = [braces(text) for text in (message.id, message.string)]
        numbered = sorted((str(n), form) for n, (_, form) in enumerate(fields[0]))
        assert fields[1] in (fields[0], numbered), message.id
        named = [sorted(re.findall(r"%\((\w+)\)s", text)) for text in (message.id, message.string)]
        assert named[0] == named[1], message.id


def rows(html: str) -> str:
    """What stands between head and script, without images."""
    body = html[html.index("<main>") : html.index("</main>")]
    body = re.sub(r'(src|href|style|d|aria-label)="[^"]*"', "", body)
    body = re.sub(r"<script.*?</script>|<code>.*?</code>", "", body, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", body)


def test_the_chinese_report_has_the_numbers_of_the_english_one(tmp_path: Path) -> None:
    run = vaekit.train(
        "vae", data="digits", latent=3, epochs=2, limit=300, net="mlp:hidden=8", threads=1,
        out=tmp_path / "r",
    )  # fmt: skip
    english = run.folder.report.read_text()
    chinese = write_run_report(run, lang="zh").read_text()
    assert '<html lang="en">' in english
    assert '<html lang="zh-CN">' in chinese
    assert "隐空间" in chinese
    assert "重构" in chinese
    assert not re.search("[\u4e00-\u9fff]", english)
    found = [sorted(NUMBER.findall(rows(page))) for page in (english, chinese)]
    assert found[0] == found[1]
    assert write_run_report(run).read_text() == english


def test_another_language_is_refused(tmp_path: Path) -> None:
    run = vaekit.train(
        "vae", data="digits", latent=1, epochs=1, limit=50, net="mlp:hidden=4", threads=1,
        out=tmp_path / "r", report=False,
    )  # fmt: skip
    with pytest.raises(VaekitError, match=r"unknown language 'fr'\. Known: en, zh\."):
        write_run_report(run, lang="fr")
    assert not run.folder.report.exists()
