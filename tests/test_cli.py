"""The command line as a user types it, in the process and, where it matters, outside it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit
from vaekit._torchutil import find_device
from vaekit._train_options import Data, Training
from vaekit.cli._train import _records
from vaekit.cli.main import in_shell, main
from vaekit.data import load
from vaekit.recipes import find_recipe

QUICK = ["--latent", "3", "--net", "mlp:hidden=16", "--epochs", "2", "--limit", "300", "--quiet"]


def call(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run"
    call("train", "vae", "--out", path, *QUICK)
    return path


def fails(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    return int(caught.value.code or 0)


def test_train_writes_a_whole_run_folder(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "snapshots",
        "latest.png",
        "model.safetensors",
        "fitted.safetensors",
        "README.md",
        "report.html",
    }
    config = json.loads((run / "config.json").read_text())
    assert config["parts"]["latent"] == 3
    assert config["parts"]["net"]["hidden"] == [16]
    assert config["training"]["epochs"] == 2
    known = json.loads((run / "run.json").read_text())
    assert known["environment"]["torch"] == torch.__version__
    assert known["data"]["train"] + known["data"]["validation"] == 300
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_evaluate_prints_one_json_object_with_the_protocol(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("evaluate", run, "bound:samples=3", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"], abs=1e-6)
    assert found["bits_per_dim"] is None
    assert found["protocol"]["samples"] == 3
    assert found["protocol"]["rows"] == 300
    assert found["protocol"]["weights"] == "best"
    assert found["implied_sigma"] == pytest.approx(math.sqrt(found["mse"]))
    call("evaluate", run, "--limit", 20)
    assert "elbo" in capsys.readouterr().out


def test_evaluate_measures_the_test_set_as_by_hand(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("evaluate", run, "bound:samples=1000", "--json", "--limit", 50)
    found = json.loads(capsys.readouterr().out)
    model = vaekit.load(run).model
    x = load("digits").test.images[::6].float() / 255
    with torch.no_grad():
        q = model.posterior(x)
        z = q.mean + q.scale * torch.randn(1000, 50, 3)
        loc = model.likelihood(z).mean
        log_scale = model.likelihood.family.scale.log_scale
        likelihood = torch.distributions.Normal(loc, log_scale.exp()).log_prob(x).sum((2, 3, 4))
        standard = torch.distributions.Normal(0.0, 1.0)
        posterior = torch.distributions.Normal(q.mean, q.scale)
        kl = torch.distributions.kl_divergence(posterior, standard).sum(1)
    assert found["kl"] == pytest.approx(kl.mean().item(), rel=1e-5)
    assert found["log_likelihood"] == pytest.approx(likelihood.mean().item(), abs=0.1)
    assert found["mse"] == pytest.approx((loc - x).square().mean().item(), rel=1e-2)


def test_bits_per_dim_exist_for_a_categorical_likelihood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("train", "vae", "--likelihood", "categorical", "--out", tmp_path / "r", *QUICK)
    capsys.readouterr()
    call("evaluate", tmp_path / "r", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / (64 * math.log(2)))
    assert 1 < found["bits_per_dim"] < 9


def test_gray_values_under_a_bernoulli_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("train", "vae", "--likelihood", "bernoulli", "--out", tmp_path / "r", *QUICK)
    call("evaluate", tmp_path / "r")
    assert "not a likelihood" in capsys.readouterr().out
    assert "not a likelihood" in (tmp_path / "r" / "report.html").read_text()


def test_an_autoencoder_has_no_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("train", "ae", "--out", tmp_path / "r", *QUICK)
    capsys.readouterr()
    call("evaluate", tmp_path / "r", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["elbo"] is None
    assert found["kl"] is None
    assert math.isfinite(found["log_likelihood"])
    for words in (["sample"], ["animate", "--what", "samples"]):
        assert fails(words[0], tmp_path / "r", *words[1:], "-o", tmp_path / "s.gif") == 2
        assert "has no prior to draw from" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_sample_and_reconstruct_write_images_and_arrays(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    call("sample", run, "-n", 12, "-o", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert np.asarray(image).std() > 1
    call("sample", run, "-n", 12, "-o", tmp_path / "x.npz")
    images = np.load(tmp_path / "x.npz")["images"]
    assert images.shape == (12, 1, 8, 8)
    assert np.allclose(images, vaekit.load(run).sample(12))
    call("sample", run, "-n", 12, "--draws", "-o", tmp_path / "y.npz")
    draws = np.load(tmp_path / "y.npz")["images"]
    assert draws.std() > images.std(), "draws add the likelihood's noise to the mean"
    call("reconstruct", run, "-n", 5, "-o", tmp_path / "r.npz")
    saved = np.load(tmp_path / "r.npz")
    x = load("digits").test.images[::60].float() / 255
    assert np.array_equal(saved["images"], x)
    assert np.allclose(saved["reconstructions"], vaekit.load(run).reconstruct(x))
    call("reconstruct", run, "-o", tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 500


def test_info_and_recipes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("info", run, "--json")
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    call("info", run)
    assert "StandardNormal((3,))" in capsys.readouterr().out
    call("recipes", "--json")
    listed = json.loads(capsys.readouterr().out)
    assert isinstance(listed, list)
    assert {"ae", "vae", "beta_vae", "sigma_vae", "iwae"} <= {entry["name"] for entry in listed}
    call("recipes")
    assert "sigma_vae" in capsys.readouterr().out


def test_parts_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    call("parts")
    kinds = capsys.readouterr().out
    assert all(word in kinds for word in ("prior ", "standard-normal", "iwae", "beta_vae"))
    call("parts", "objective", "iwae")
    assert capsys.readouterr().out.splitlines()[1].split() == [":samples=50", "K,", "the", "draws."]
    call("parts", "likelihood", "categorical", "--json")
    assert json.loads(capsys.readouterr().out)["options"]["levels"]["default"] == 256
    call("parts", "recipe", "beta_vae")
    assert "--objective elbo:beta=4" in capsys.readouterr().out


def test_a_recipe_that_is_registered_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaekit import registry
    from vaekit.recipes import recipe

    monkeypatch.setattr(registry, "_OBJECTS", dict(registry._OBJECTS))
    recipe("tiny", "A small VAE.", latent=2, net="mlp:hidden=4", epochs=1)
    call("train", "tiny", "--limit", 60, "--quiet", "--no-report", "--out", tmp_path / "r")
    assert json.loads((tmp_path / "r/config.json").read_text())["parts"]["latent"] == 2


def test_train_prints_one_json_object_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("train", "iwae", "--json", "--no-report", "--out", tmp_path / "r", *QUICK)
    printed = json.loads(capsys.readouterr().out)
    assert printed["run"] == str(tmp_path / "r")
    assert not (tmp_path / "r" / "report.html").exists()


def test_options_come_from_a_yaml_file_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(
        "latent: 5\nnet: {name: mlp, hidden: [9, 7]}\nobjective: :beta=2\nlr: 0.01\nepochs: 1\n"
        "limit: 200\n"
    )
    call("train", "vae", "--config", file, "--latent", 4, "--quiet", "--out", tmp_path / "r")
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    parts = config["parts"]
    assert (parts["latent"], parts["net"]["hidden"]) == (4, [9, 7])
    assert parts["objective"] == {"name": "elbo", "beta": 2.0, "kl": "closed", "samples": 1}
    assert config["training"]["lr"] == 0.01


def test_options_of_a_part_change_that_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a name they change the file's part, with one they replace it."""
    file = tmp_path / "options.yaml"
    file.write_text("likelihood: gaussian:scale=2:mean=relu\nnet: {name: mlp, hidden: [9, 7]}\n")
    for typed, wanted in (
        (["--likelihood", ":scale=3"], ["gaussian:scale=3:mean=relu"]),
        (["--likelihood=:scale=3", "--net", ":norm=batch"], [":norm=batch", "hidden=9,7"]),
        (["--likelihood", "gaussian:scale=3"], ["likelihood: gaussian:scale=3\n"]),
    ):
        text = shown(capsys, "train", "vae", "--config", str(file), *typed, "--print-config")
        assert [word for word in wanted if word not in text] == []


def test_flags_win_with_underscores_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("batch_size: 7\n")
    assert "batch_size: 7" in shown(capsys, "train", "vae", f"--config={file}", "--print-config")
    typed = ["--config", str(file), "--batch_size", "5"]
    assert "batch_size: 5" in shown(capsys, "train", "vae", *typed, "--print-config")


def test_short_flags_win_too(run: Path, tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("number: 5\nout: other.npz\n")
    typed = ["-n", 2, "-o", tmp_path / "s.npz"]
    call("sample", run, "--config", tmp_path / "options.yaml", *typed)
    with np.load(tmp_path / "s.npz") as file:
        assert len(file["images"]) == 2


def test_a_config_is_printed_and_read_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--latent", 4, "--net", "mlp:hidden=9,7", "--optimizer-options", "eps=1e-7", "--gray"]
    call("train", "beta-vae", *typed, "--objective.beta", 2, "--limit", 200, "--print-config")
    printed = capsys.readouterr().out
    (tmp_path / "c.yaml").write_text(printed)
    call("train", "--config", tmp_path / "c.yaml", "--print-config")
    assert capsys.readouterr().out == printed
    for line in ("recipe: beta_vae", "latent: 4", "limit: 200", "gray: true", "lr: 0.002"):
        assert line in printed.splitlines()
    call("train", "beta-vae", "--config", tmp_path / "c.yaml", "--no-gray", "--print-config")
    assert capsys.readouterr().out == printed.replace("gray: true", "gray: false")
    call("train", "--config", run / "config.json", "--quiet", "--out", tmp_path / "again")
    first, again = (
        json.loads((path / "config.json").read_text()) for path in (run, tmp_path / "again")
    )
    assert first == again


def test_options_of_parts_go_by_their_path(tmp_path: Path) -> None:
    words = ["--objective.beta=3", "--net.hidden", "5,4", "--net", "mlp:norm=batch"]
    call("train", "vae", *words, "--epochs", 1, "--limit", 60, "--quiet", "--out", tmp_path / "r")
    parts = json.loads((tmp_path / "r" / "config.json").read_text())["parts"]
    assert parts["objective"]["beta"] == 3
    assert (parts["net"]["hidden"], parts["net"]["norm"]) == ([5, 4], "batch")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    call(*words)
    return capsys.readouterr().out


def test_help_fits_a_screen_and_shows_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    every = shown(capsys, "--help")
    names = [
        line.split()[0] for line in every.splitlines() if line.startswith("  ") and line[2] != " "
    ]
    commands = [name for name in names if name[0] != "-"]
    assert {"train", "evaluate", "sample", "runs"} < set(commands)
    assert len(every.splitlines()) <= 60
    for words in ([], ["vae"], ["iwae"], ["colorizer"]):
        assert len(shown(capsys, "train", *words, "--help").splitlines()) <= 60
    for name in (*commands, "train vae", "sweep vae"):
        text = shown(capsys, *name.split(), "--help-all")
        assert f"Example: vaekit {name.split()[0]}" in text
        assert "--no-no-" not in text
        assert "--empty-" not in text


def test_help_shows_every_option_once_asked(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "train", "vae", "--help-all")
    brief = shown(capsys, "train", "vae", "-h")
    for name in ("latent", "epochs", "no-report", "seeds"):
        assert f"  --{name}" in text
        assert f"  --{name}" in brief
    for name in (*Data.model_fields, *Training.model_fields):
        assert f"  --{name.replace('_', '-')}" in text
    assert "  --split-seed" not in brief
    assert "[adam]" in text
    assert "[elbo:beta=4]" in shown(capsys, "train", "beta_vae", "--help")


@pytest.mark.parametrize("recipe", ["vae", "cvae"])
def test_options_are_those_of_the_records(recipe: str) -> None:
    """The command line reads them from the source, since pydantic is slow to import."""
    for record in _records(recipe)[1:]:
        fields = {"Data": Data, "Training": Training}[type(record).__name__].model_fields
        presets = find_recipe(recipe).options
        expected = {name: presets.get(name, field.default) for name, field in fields.items()}
        assert asdict(record) == expected
        help_ = {each.name: each.type.__metadata__[-1].help for each in dataclasses.fields(record)}
        words = {name: " ".join(str(field.description).split()) for name, field in fields.items()}
        assert help_ == words


def test_help_needs_neither_torch_nor_pydantic_nor_markdown() -> None:
    code = "import sys\nfrom vaekit.cli import main\nmain(['train', 'vae', '--help'])\n"
    code += "print({'torch', 'pydantic.main', 'rich.markdown', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("give `size=64` and `data_dir`", "give --size 64 and --data-dir"),
        ("take `objective.beta=4`", "take --objective.beta 4"),
        ("`report=False`, `gray=True`", "--no-report, --gray"),
        ("`data='my set'` or `data=N`", "--data 'my set' or --data N"),
        ("`import_=['a.py', 'b c.py']`", "--import a.py --import 'b c.py'"),
        ("`n=3`, `rows=(0, 1)`, `set_`, `all_`", "-n 3, --rows 0 1, --set, --all"),
        ("`objective=iwae:samples=5`", "--objective iwae:samples=5"),
        (
            "as `latent: 8`, `vaekit data`, `active_units`",
            "as `latent: 8`, `vaekit data`, `active_units`",
        ),
    ],
)
def test_the_shell_speaks_of_flags(text: str, typed: str) -> None:
    assert in_shell(text) == typed


def test_notes_are_shown_under_quiet_and_progress_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "vaekit: note: a batch of 999 is more than the 54 training rows"
    few = [*QUICK[:4], "--limit", "60", "--epochs", "2", "--batch-size", "999"]
    call("train", "vae", *few, "--quiet", "--out", tmp_path / "quiet")
    assert [line[: len(note)] for line in capsys.readouterr().err.splitlines()] == [note]
    call("train", "vae", *few, "--json", "--out", tmp_path / "json")
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)) == {"run", "weights", "last"}
    assert note in captured.err


def test_resume_continues(tmp_path: Path) -> None:
    call("train", "vae", "--out", tmp_path / "r", *QUICK)
    call("train", "--resume", tmp_path / "r", "--epochs", 3, "--quiet")
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 3


def test_npz_of_ones_own_trains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "mine.npz"
    np.savez(file, images=rng.integers(0, 256, (60, 9, 7, 3), dtype=np.uint8), labels=[0, 1] * 30)
    call("train", "vae", "--data", file, "--net", "conv:channels=4,6", "--quiet",
         "--epochs", 1, "--out", tmp_path / "r")  # fmt: skip
    assert vaekit.load(tmp_path / "r").sample(2).shape == (2, 3, 9, 7)


def test_a_run_of_shapes_is_binary_and_has_a_likelihood_in_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("train", "vae", "--data", "shapes", "--out", tmp_path / "r", *QUICK)
    capsys.readouterr()
    call("evaluate", tmp_path / "r", "--json", "--limit", 50)
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"]["likelihood"] == "Bernoulli"
    assert found["protocol"]["is_likelihood"]
    assert found["bits_per_dim"] == pytest.approx(-found["elbo"] / (1024 * math.log(2)))


def test_what_exists_is_not_written_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    assert fails("train", "vae", "--out", run, *QUICK) == 2
    assert "--resume" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_a_broken_run_is_refused(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    config = json.loads((broken / "config.json").read_text())
    config["parts"]["latent"] = 7
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(vaekit.VaekitError, match="are of another model"):
        vaekit.load(broken)
    (broken / "config.json").write_text("{")
    with pytest.raises(vaekit.VaekitError, match="holds no JSON"):
        vaekit.load(broken)


def test_help_answers_without_torch() -> None:
    """In seconds it is well under half of one: `benchmarks/bench.py w6` measures that."""
    commands = ("--help", "train --help", "recipes", "train vae --help", "sweep vae --help",
                "parts", "parts net", "parts objective iwae", "parts recipe --json")  # fmt: skip
    for arguments in map(str.split, commands):
        code = (
            "import sys\nfrom vaekit.cli import main\n"
            f"try: main({arguments!r})\nexcept SystemExit: pass\n"
            "print('TORCH' if 'torch' in sys.modules else 'LIGHT')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip().endswith("LIGHT"), done.stderr


def test_the_installed_command_runs(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("vaekit")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    versions = f"vaekit {vaekit.__version__}, torch {torch.__version__}, device "
    assert done.stdout.strip() == versions + find_device("auto").type
    done = subprocess.run([command, "evaluate", "x"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
def test_the_demo_trains_a_model_whose_samples_look_like_faces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sample is about as far from the nearest training face as a test face is."""
    call("demo", "--out", tmp_path / "demo", "--quiet")
    assert "report.html" in capsys.readouterr().out
    run = vaekit.load(tmp_path / "demo")
    data = run.dataset()
    x, test = data.train.x().flatten(1), data.test.x().flatten(1)
    center = x - x.mean(0)
    gaussian = (x.mean(0) + torch.randn(500, len(x)) @ center / len(x) ** 0.5).clamp(0, 1)

    def distance(images: torch.Tensor) -> float:
        return torch.cdist(images.flatten(1).clamp(0, 1), x).amin(1).median().item()

    assert distance(run.sample(500)) < 1.35 * distance(test)
    assert distance(run.sample(500)) < 0.8 * distance(gaussian)
    _, _, axes = torch.pca_lowrank(center, 20)

    def frechet(images: torch.Tensor) -> float:
        found = vaekit.metrics.frechet(images.flatten(1) @ axes, test @ axes)
        return float(found["distance"])

    assert frechet(run.sample(500, prior="model")) > 5 * frechet(run.sample(500))
    page = vaekit.report.explore(run)
    assert page.bits == 8
    assert page.path.stat().st_size <= 3_000_000
    assert page.seconds is None or page.seconds < 0.05
    error = (run.reconstruct(data.test.x()).flatten(1) - test).square().mean()
    assert error < 0.13 * (test - x.mean(0)).square().mean()


def test_a_training_says_what_it_is_of_and_ctrl_c_how_to_go_on(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("vaekit"), "train", "vae", "--out", tmp_path / "r"]
    options = ["--epochs", "100000", "--latent", "2", "--net", "mlp:hidden=16"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(4)]
        assert lines[0] == (
            "data     digits: 1,347 rows to train on, 150 for validation, 300 to test; 1 x 8 x 8\n"
        )
        assert lines[1].startswith("model    vae: mlp, gaussian, latent 2, ")
        assert lines[2] == f"run      {tmp_path / 'r'}: 100,000 epochs\n"
        assert "epoch 1/100000" in lines[3]
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"vaekit train --resume {tmp_path / 'r'}" in out
    assert (tmp_path / "r" / "checkpoints" / "last.safetensors").is_file()


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = Path(sys.executable).with_name("vaekit")
    with subprocess.Popen(
        [command, "recipes", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_recipe_goes_by_hyphens_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "beta-vae", "--help"])
    assert "vaekit train beta_vae" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ending", "code", "out", "err"),
    [
        ("", 0, "a ? b", ""),
        ("> /dev/full", 2, "", "standard output is full"),
        (">&-", 0, "", ""),
        ("2>&-", 0, "a ? b", ""),
        ("2>/dev/full", 0, "a ? b", ""),
        ("| true", 0, "", ""),
    ],
)
def test_output_that_finds_no_place_is_no_traceback(
    ending: str, code: int, out: str, err: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell of ASCII letters, in which ± has no place; a full disk; streams that are closed."""
    say = "import importlib; m = importlib.import_module('vaekit.cli.main'); "
    say += "import sys; say = lambda to: print('a \\xb1 b', file=to, flush=True); "
    say += "m._run = lambda a: [say(sys.stderr), say(sys.stdout)]; m.main([])"
    for name, value in {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    words = f'{sys.executable} -c "{say}" {ending}'
    done = subprocess.run(words, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (code, out)
    assert err in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_steer_a_terminal_are_shown_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    title = "\x1b]0;owned\x07\u202e"
    (tmp_path / f"{title}.csv").write_text(f"a,b,{title}\n" + "1,2,x\n3,4,y\n" * 30)
    main(["data", str(tmp_path / f"{title}.csv"), "--label", title])
    assert "\x1b" not in (shown := capsys.readouterr().out)
    assert r"\x1b]0;owned\x07\u202e" in shown
    with pytest.raises(SystemExit):
        main(["data", str(tmp_path / f"{title}\n.no")])
    assert "\x1b" not in (shown := capsys.readouterr().err)
    assert r"\x1b]0;owned\x07\u202e\n.no" in shown
    assert shown.count("\n") == 1, "an error is a line"
    with pytest.raises(SystemExit):
        main(["data", "digits", f"--{title}"])
    assert "\x1b" not in (shown := capsys.readouterr().err), "of an option that is none"
    assert "--\\x1b]0;owned" in shown


LATE = """
import os, signal, sys, types
import vaekit.__main__ as command
late = types.ModuleType("vaekit.cli.main")
def main():
    from vaekit.cli._show import start
    if sys.argv[1] == "computing":
        start()
    os.kill(os.getpid(), signal.SIGINT)
late.main, late.app = main, None
sys.modules["vaekit.cli.main"] = late
signal.signal(signal.SIGINT, signal.default_int_handler)
command.main()
"""


@pytest.mark.parametrize("when", ["importing", "computing"])
def test_ctrl_c_in_the_middle_of_an_import_ends_without_a_word(when: str) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, when], capture_output=True, text=True)
    if when == "importing":
        assert (done.returncode, done.stderr) == (130, "")
    else:
        assert done.stderr.endswith("KeyboardInterrupt\n"), "what computes may save and say it"


def test_the_end_of_a_training_says_its_best_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "r"
    call("train", "vae", "--no-report", "--out", run, *QUICK)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(records, key=lambda record: record["validation"]["objective"])
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"result   best epoch {best['epoch']} of 2: validation objective ")
    assert f"objective {best['validation']['objective']:.2f}, " in line
    assert line.endswith(f"; {best['latent']['active_units']} latent dimensions in use")
    call("train", "ae", "--no-report", "--validation", "0", "--out", tmp_path / "a", *QUICK)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("result   best epoch 2 of 2: objective ")
