"""Laws that no other test tells from a small mistake: see docs/mutants.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse

import vaekit as vk
from vaekit import VaekitError
from vaekit._train_options import Data
from vaekit.data import from_value, load, prepare
from vaekit.registry import make


def test_log_counts_gives_its_net_the_logarithm_of_one_more() -> None:
    net = vk.MLP(3, 2, hidden=(4,)).double()
    counts = torch.tensor([[0.0, 1.0, 1e6], [5.0, 0.0, 2.0]], dtype=torch.float64)
    expected = net(torch.from_numpy(np.log(counts.numpy() + 1)))
    assert torch.allclose(vk.nn.LogCounts(net)(counts), expected, rtol=1e-12)


@pytest.mark.parametrize("grid", [(7, 4), (4, 7), (4, 4)])
def test_a_stage_needs_both_sides_of_an_image(grid: tuple[int, int]) -> None:
    with pytest.raises(VaekitError, match=f"{grid[0]} x {grid[1]} is too small"):
        vk.nn.UnpoolEncoder((1, *grid), 2, (2,), (8,), kernel=5, padding="valid")


@pytest.mark.parametrize("grid", [(6, 28), (28, 6)])
def test_the_net_of_a_tutorial_needs_seven_pixels_each_way(grid: tuple[int, int]) -> None:
    with pytest.raises(VaekitError, match="takes images from 7 x 7"):
        make("net", {"name": "tf-tutorial"}).encoder((1, *grid), (4,))


@pytest.mark.parametrize("shapes", [((3, 8, 8), (3, 8, 8)), ((1, 8, 8), (1, 8, 8))])
def test_a_net_of_colors_takes_gray_and_gives_color(shapes: tuple[Any, Any]) -> None:
    net = make("net", {"name": "color"})
    with pytest.raises(VaekitError, match="maps gray images to color"):
        net.decoder(*shapes, 4)


def test_gray_of_float_images_is_pillows(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", colors.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    found = load(str(tmp_path / "x.npy"), gray=True)
    gray = {np.asarray(Image.fromarray(each).convert("L")).tobytes() for each in colors}
    rows = torch.cat([found.train.x(), found.test.x()])
    rounded = (rows * 255).round().to(torch.uint8)
    near = [np.frombuffer(each, np.uint8).reshape(8, 8).astype(int) for each in gray]
    for row in rounded[:, 0].numpy().astype(int):
        assert min(np.abs(row - other).max() for other in near) <= 1


def test_counts_of_one_column_are_read(tmp_path: Path) -> None:
    counts = np.arange(30).reshape(30, 1)
    sparse.save_npz(tmp_path / "counts.npz", sparse.csr_matrix(counts))
    found = load(str(tmp_path / "counts.npz"))
    assert found.spec().shape == (1,)
    assert sorted(torch.cat([found.train.x(), found.test.x()]).flatten().tolist()) == [*range(30)]


def test_sums_over_an_epoch_keep_no_graph_alive() -> None:
    weight = torch.ones(3, requires_grad=True)
    mean = vk.training.Mean()
    mean.add(2 * weight)
    assert not mean.total.requires_grad  # type: ignore[union-attr]
    loss = vk.training.differentiate(vk.objectives.Bound(2 * weight), 3)
    assert not loss.requires_grad


def test_a_rate_that_falls_below_0_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VaekitError, match="expected rates of 0 and above"):
        vk.train("vae", schedule=("lr=linear:1e-3:-1:50",), out=tmp_path / "r")


def test_a_running_mean_of_weights_is_of_buffers_too() -> None:
    norm = torch.nn.BatchNorm1d(2)
    average = vk.training.make_average(norm, 0.5)
    assert average is not None
    average.update_parameters(norm)
    norm(torch.full((4, 2), 10.0))  # the running mean becomes 1
    average.update_parameters(norm)
    torch.testing.assert_close(average.module.running_mean, torch.full((2,), 0.5))


def test_seconds_are_recorded_to_a_tenth_of_a_millisecond(tmp_path: Path) -> None:
    small: dict[str, Any] = {"limit": 100, "latent": 1, "net": "mlp:hidden=4", "report": False}
    run = vk.train("vae", epochs=3, out=tmp_path / "r", **small)
    seconds = [record["seconds"] for record in run.folder.records()]
    assert seconds == [round(each, 4) for each in seconds]


def test_images_made_smaller_stay_in_their_range(tmp_path: Path) -> None:
    """The filter of a smaller size overshoots at edges."""
    images = np.zeros((20, 1, 24, 24), np.float32)
    images[:, :, :, 12:] = 1
    images[:, :, 5:7] = 1
    np.save(tmp_path / "edges.npy", images)
    found = load(str(tmp_path / "edges.npy"), size=11)
    assert (found.train.x().min(), found.train.x().max()) == (0, 1)


def test_rows_of_two_labels_are_not_one_hot() -> None:
    labels = np.eye(3, dtype=np.uint8)[np.arange(20) % 3]
    rows = np.random.default_rng(0).random((20, 5), dtype=np.float32)
    assert from_value((rows, labels.copy())).classes == 3
    labels[7] = 1
    assert from_value((rows, labels)).classes == 0


class Few(torch.utils.data.Dataset[torch.Tensor]):
    """Items that count how often each is read."""

    def __init__(self, count: int) -> None:
        self.reads = [0] * count

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.reads[index] += 1
        return torch.full((2,), float(index))


def test_items_that_do_not_fit_are_surveyed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.data._values.available", lambda: 5000)
    items = Few(600)
    from_value(items)
    assert max(items.reads) <= 3  # two of them to see whether they change
    assert sorted(items.reads)[300] == 1


def test_a_survey_of_few_random_rows_counts_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Noisy(Few):
        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(2)

    given = from_value(Noisy(30))
    some = given.train.take(torch.arange(3))
    assert some.survey.filled == 6


def test_classes_of_test_rows_alone_count() -> None:
    rows, few = torch.rand(40, 3), torch.arange(40) % 3
    given = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, few), 8)
    more = rows[:20].numpy(), np.arange(20) % 5
    assert from_value({"train": given, "test": more}).classes == 5


def test_labels_that_some_items_lack_are_refused() -> None:
    images = torch.rand(20, 1, 4, 4)
    items = [(x, n % 2) if n > 9 else x for n, x in enumerate(images)]
    with pytest.raises(VaekitError, match="y of data holds Python objects"):
        vk.train("vae", data=Listed(items), epochs=1, report=False)


class Listed(torch.utils.data.Dataset[Any]):
    """Items as they are."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, n: int) -> Any:
        return self.items[n]


def test_labels_of_which_some_are_none_are_refused() -> None:
    y = ["a", None] * 10
    with pytest.raises(VaekitError, match="y of data holds Python objects"):
        from_value((np.random.default_rng(0).random((20, 4)), y), Data())


def test_a_binary_table_has_no_size(tmp_path: Path) -> None:
    np.save(tmp_path / "bits.npy", np.random.default_rng(0).random((40, 16)) > 0.5)
    with pytest.raises(VaekitError, match=r"`size` is for images; bits holds rows of shape \(16,"):
        load(str(tmp_path / "bits.npy"), size=8)


def test_a_pixel_that_no_image_has_starts_at_the_mean_of_all(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((40, 1, 4, 4)).astype(np.float32)
    images[:, 0, 1, 2] = np.nan
    np.save(tmp_path / "holes.npy", images)
    how = Data(missing="allow")
    data = prepare(load(str(tmp_path / "holes.npy"), missing="allow"), how)
    x = data.train.x().double()
    mean = data.spec().mean.double()
    expected = x.nanmean(0)
    expected[0, 1, 2] = x[~x.isnan()].mean()
    assert torch.allclose(mean, expected, atol=1e-6)


def test_a_larger_sparse_file_may_have_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse.save_npz(tmp_path / "counts.npz", sparse.csr_matrix(np.eye(30, dtype=np.int64)))
    monkeypatch.setattr("vaekit.data._arrays.LEAST", 10)
    assert len(load(str(tmp_path / "counts.npz")).train) == 27
    monkeypatch.setattr("vaekit.data._arrays.LOOKED_AT", 1e-3)
    with pytest.raises(VaekitError, match="30 rows of 30 values, all of which are looked at"):
        load(str(tmp_path / "counts.npz"))


def test_a_number_that_does_not_vary_may_have_gaps(tmp_path: Path) -> None:
    lines = [f"{'' if n % 5 == 0 else 7},{n},{'ab'[n % 2]}" for n in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["same,n,letter", *lines]))
    data = prepare(load(str(tmp_path / "t.csv"), missing="allow"), Data(missing="allow"))
    x = data.train.x()[:, 0]
    assert 0 < x.isnan().sum() < len(x) / 2
    assert (x == 0).sum() + x.isnan().sum() == len(x)


def test_each_column_of_a_table_with_gaps_is_scaled_by_its_own_rows(tmp_path: Path) -> None:
    draws = np.random.default_rng(0).normal(3e9, 2e9, 60)
    lines = [
        f"{'' if n % 5 == 0 else 7},{'' if n % 7 == 0 else v},{n}" for n, v in enumerate(draws)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["same,large,n", *lines]))
    how = Data(missing="allow", validation=0)
    data = prepare(load(str(tmp_path / "t.csv"), missing="allow"), how)
    x = data.train.x().double()
    assert (x[:, 0] == 0).sum() + x[:, 0].isnan().sum() == len(x)
    assert torch.allclose(x[:, 1:].nanmean(0), torch.zeros(2).double(), atol=1e-6)
    assert torch.allclose(x[:, 1:].square().nanmean(0), torch.ones(2).double(), atol=1e-5)
