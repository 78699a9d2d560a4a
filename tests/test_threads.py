"""Threads: each gets what it would get alone, and the caller's random state stays as it was."""

import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from illnesses import Notes

import vaekit
from vaekit._torchutil import cores, give_way, rng, waited_for

OPTIONS = {"data": "digits", "latent": 2, "net": "mlp:hidden=32", "limit": 400, "report": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return vaekit.train("vae", **OPTIONS, epochs=1, out=tmp_path_factory.mktemp("t") / "run")


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_trainings_in_threads_end_as_the_one_that_is_alone(tmp_path):
    how = {**OPTIONS, "seed": 7, "epochs": 3, "threads": 1, "net": "mlp:hidden=32:dropout=0.2"}
    alone = weights(vaekit.train("vae", **how, out=tmp_path / "alone"))
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda n: vaekit.train("vae", **how, out=tmp_path / n), "abc"))
    assert all(torch.equal(weights(each), alone) for each in runs)


def test_a_training_lets_others_sample_between_its_steps(tmp_path, run):
    sampled_at, training = [], threading.Event()

    class Watch(vaekit.Callback):
        def step(self, progress):
            training.set()
            self.now = progress.step

    watch = Watch()
    alone = run.sample(8, seed=3, mean=False)
    how = {**OPTIONS, "epochs": 40, "threads": 1, "callbacks": [watch]}
    thread = threading.Thread(target=lambda: vaekit.train("vae", **how, out=tmp_path / "t"))
    thread.start()
    training.wait()
    for _ in range(5):
        assert torch.equal(run.sample(8, seed=3, mean=False), alone)
        sampled_at.append(watch.now)
    thread.join()
    assert sampled_at[-1] < watch.now  # before the training's end
    records = vaekit.load(tmp_path / "t").folder.records()
    again = vaekit.train("vae", **{**how, "callbacks": []}, out=tmp_path / "again").folder.records()
    assert [r["train"] for r in records] == [r["train"] for r in again]


def test_what_threads_measure_is_what_one_measures(run):
    def measure(_):
        results = run.evaluate("nll:samples=20", limit=40)
        return results["elbo"], results["nll"]

    alone = measure(0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(measure, range(6))) == [alone] * 6


def test_the_state_of_the_caller_stays_as_it_was(run):
    torch.manual_seed(11)
    expected = torch.rand(5)
    torch.manual_seed(11)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: run.sample(4, seed=seed), range(20)))
    assert torch.equal(torch.rand(5), expected)


def test_who_gives_way_goes_on_with_its_own_state_and_threads():
    order, inside = [], threading.Event()
    before = torch.get_rng_state(), torch.get_num_threads()

    def other():
        inside.wait()
        with rng(9, threads=2):
            order.append("other")
            assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(9).get_state())

    thread = threading.Thread(target=other)
    thread.start()
    with rng(5, threads=3), rng(6, threads=1):
        first = torch.rand(3)
        inside.set()
        while not waited_for():
            pass
        order.append("one")
        give_way()
        order.append("one")
        assert torch.get_num_threads() == 1
        rest = torch.rand(3)
    thread.join()
    assert order == ["one", "other", "one"]
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(6))
    assert torch.equal(torch.cat([first, rest]), drawn)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_who_is_interrupted_while_it_waits_leaves_the_queue():
    from vaekit import _torchutil

    def other():
        _torchutil._turns.changed.wait_for = interrupted
        with pytest.raises(KeyboardInterrupt), rng(0):
            pass

    def interrupted(_):
        raise KeyboardInterrupt

    wait_for = _torchutil._turns.changed.wait_for
    try:
        with rng(1):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            assert not waited_for()
    finally:
        _torchutil._turns.changed.wait_for = wait_for
    with rng(2):
        pass


@pytest.mark.skipif(cores() < 2, reason="one core")
@pytest.mark.parametrize(("slow", "threads", "said"), [(0.5, 2, 1), (0.25, 2, 0), (0.5, 1, 0)])
def test_a_busy_neighbor_is_spoken_of_once(tmp_path, monkeypatch, slow, threads, said):
    """By a clock that is read before and after each step: the first ones take 0.1 s."""
    readings = itertools.accumulate([0.1] * 60 + [slow] * 1000)
    monkeypatch.setattr("vaekit.training._pace.perf_counter", lambda: next(readings))
    notes = Notes()
    how = {"limit": 50, "batch_size": 5, "epochs": 20, "threads": threads, "report": False}
    vaekit.train(data="digits", out=tmp_path / "run", latent=2, callbacks=[notes], **how)
    found = [text for text in notes.notes if "another process" in text]
    assert len(found) == said
    expected = f"steps take 5 times as long .* --resume {tmp_path / 'run'} --threads 1"
    assert all(re.search(expected, text) for text in found)
