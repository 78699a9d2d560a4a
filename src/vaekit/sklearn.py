"""VAEs as scikit-learn has its estimators: a transformer with a density, and an outlier detector.

They are for tables of numbers; all else of a run is in `run_`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

import vaekit
from vaekit._torchutil import rng
from vaekit.errors import VaekitError
from vaekit.evaluate import log_likelihood
from vaekit.runs import Run

FLOATS = (np.float64, np.float32)
LEAST = 5  # rows that a training takes
SEEDS = 2**31


class _Fitted(BaseEstimator):
    """What both have: a run that is trained in a folder of its own, which does not stay."""

    def __init__(
        self,
        latent: int = 8,
        *,
        recipe: str = "vae",
        net: str | None = None,
        likelihood: str | None = None,
        epochs: int | None = None,
        batch_size: int = 128,
        lr: float = 2e-3,
        standardize: bool = True,
        validation: float = 0.0,
        samples: int = 50,
        options: dict[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.latent = latent
        self.recipe = recipe
        self.net = net
        self.likelihood = likelihood
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.standardize = standardize
        self.validation = validation
        self.samples = samples
        self.options = options
        self.random_state = random_state

    def _train(self, X: Any) -> None:
        mixed = _is_mixed(X) or "kinds" in (self.options or {})
        checks: dict[str, Any] = {"dtype": FLOATS, "ensure_min_samples": LEAST}
        X = validate_data(self, X, **{"skip_check_array": True} if mixed else checks)
        seed = int(check_random_state(self.random_state).randint(SEEDS))
        how: dict[str, Any] = {"latent": self.latent}
        how |= {"batch_size": min(self.batch_size, len(X)), "lr": self.lr, "seed": seed}
        how |= {"validation": self.validation}
        how |= {} if mixed else {"standardize": self.standardize, "kind": "table"}
        asked = {"net": self.net, "epochs": self.epochs, "likelihood": self.likelihood}
        how |= {name: value for name, value in asked.items() if value is not None}
        rows = X if mixed else np.array(X, np.float32)
        with tempfile.TemporaryDirectory() as place:
            run = vaekit.train(
                self.recipe,
                data=rows,
                test=0,
                report=False,
                snapshots=0,
                callbacks=[vaekit.Callback()],
                out=Path(place, "run"),
                **how | dict(self.options or {}),
            )
            path = run.save(Path(place, "model.vaekit"))
            self.saved_ = path.read_bytes()
        self.seed_ = seed
        self.run_ = self._opened()

    def _opened(self) -> Run:
        """Return the run of `saved_`, in float64: a row's numbers do not depend on its batch."""
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, "model.vaekit")
            path.write_bytes(self.saved_)
            run = vaekit.load(path, device="cpu")
        run.model.double()
        return run

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "run_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "saved_" in state:
            self.run_ = self._opened()

    def _seen(self, X: Any) -> tuple[Any, torch.Tensor]:
        """Return checked rows, and these as the model sees them, float64."""
        check_is_fitted(self)
        if self.run_.spec.columns:
            X = validate_data(self, X, skip_check_array=True, reset=False)
            return X, self.run_.read(X).x().double()
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return X, self.run_.spec.values(torch.tensor(np.array(X, np.float64)))

    def _log_prob(self, X: Any) -> np.ndarray:
        _, x = self._seen(X)
        model = self.run_.require(vaekit.Offer.DENSITY)
        found = []
        for row in x.split(1):  # each with the same draws, whatever stands beside it
            with rng(self.seed_, "cpu"):
                found.append(log_likelihood(model, row, samples=self.samples))
        return torch.cat(found).numpy() - self._volume()

    def _volume(self) -> float:
        """Return the logarithm of how much wider the columns are than what densities are of."""
        values = self.run_.spec.values
        if values.scale is None:
            return 0.0
        scale = values.scale.double().clone()
        for warp in values.warps:  # see `vaekit.Blocks`
            scale[warp.place] = warp.spread
        return float(scale.log().sum())

    def _units(self, x: torch.Tensor, drawn: bool) -> Any:
        """Return rows in the units of the data; of a mixed table as a DataFrame."""
        if not self.run_.spec.columns:
            return self.run_.spec.values.inverse(x).numpy()
        import pandas

        return pandas.DataFrame(self.run_.spec.columns_of(x, drawn=drawn))


def _is_mixed(X: Any) -> bool:
    """Return whether X is a DataFrame with columns that are no numbers."""
    kinds: list[Any] = getattr(getattr(X, "dtypes", None), "tolist", list)()
    return hasattr(X, "columns") and any(getattr(kind, "kind", "O") not in "iufb" for kind in kinds)


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Fitted):
    """A variational autoencoder of rows of numbers: codes, densities, samples.

    A DataFrame of texts, dates and numbers is a mixed table: see docs/howto/mixed.md.

    Args:
        latent: dimensions of z.
        recipe: a recipe's name: see `vaekit recipes`.
        net: the networks, as "mlp:hidden=64,64"; by default what suits the data.
        likelihood: p(x|z); by default the recipe's.
        epochs, batch_size, lr: how it is trained; by default the epochs of `vaekit.train`.
        standardize: whether columns are standardized first; densities are of X all the same.
        validation: the share of the rows by which the best epoch is chosen; 0: the last one is.
        samples: draws of z for a log-likelihood.
        options: more of `vaekit.train`, by their names.
        random_state: of weights, order and noise.

    Attributes:
        run_: the run, as `vaekit.load` opens it.
        n_features_in_, feature_names_in_: of the training.

    Example:
        >>> rows = np.random.RandomState(0).normal(size=(60, 4))
        >>> model = VAE(latent=2, epochs=2, random_state=0).fit(rows)
        >>> model.transform(rows).shape, model.sample(3).shape, model.score_samples(rows[:5]).shape
        ((60, 2), (3, 4), (5,))
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows `(N, D)`, 5 at least; y is not used."""
        self._train(X)
        self._n_features_out = self.run_.latent_size
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return E[z|x] of rows, `(N, latent)`."""
        X, x = self._seen(X)
        return self.run_.encode(x).flatten(1).numpy().astype(getattr(X, "dtype", np.float64))

    def inverse_transform(self, Z: Any) -> Any:
        """Return E[x|z] at codes `(N, latent)`, in the units of the data."""
        check_is_fitted(self)
        z = torch.tensor(np.array(Z, np.float64))
        return self._units(self.run_.decode(z), drawn=False)

    def sample(self, n_samples: int = 1) -> Any:
        """Return draws of rows from the model, `(n_samples, D)`, in the units of the data."""
        check_is_fitted(self)
        drawn = self.run_.sample(n_samples, seed=self.seed_, mean=False, prior="model")
        return self._units(drawn, drawn=True)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x) of rows, nats, by importance sampling with `samples` draws of each."""
        return self._log_prob(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log p(x) of rows: what a grid search makes as large as it can."""
        return float(self.score_samples(X).mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.non_deterministic = False
        return tags


class VAEOutlier(OutlierMixin, _Fitted):
    """A detector of outliers: rows that a variational autoencoder finds unlikely.

    The least likely share `contamination` of the training rows are outliers, and what is less
    likely than they are.

    Args:
        latent: dimensions of z.
        contamination: the share of outliers among the training rows.
        how: further arguments of `VAE`.

    Attributes:
        offset_: the log p(x) below which a row is an outlier.

    Example:
        >>> rows = np.random.RandomState(0).normal(size=(60, 4))
        >>> found = VAEOutlier(latent=2, epochs=2, random_state=0).fit(rows)
        >>> found.predict(rows + 100).tolist() == [-1] * 60
        True
    """

    def __init__(
        self,
        latent: int = 8,
        *,
        contamination: float = 0.1,
        recipe: str = "vae",
        net: str | None = None,
        likelihood: str | None = None,
        epochs: int | None = None,
        batch_size: int = 128,
        lr: float = 2e-3,
        standardize: bool = True,
        validation: float = 0.0,
        samples: int = 50,
        options: dict[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            latent,
            recipe=recipe,
            net=net,
            likelihood=likelihood,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            standardize=standardize,
            validation=validation,
            samples=samples,
            options=options,
            random_state=random_state,
        )
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows `(N, D)`, 5 at least; y is not used."""
        if not 0 < self.contamination <= 0.5:
            raise VaekitError(
                f"got `contamination={self.contamination}`; expected a share above 0, and 0.5 at "
                "most."
            )
        self._train(X)
        self.offset_ = float(np.quantile(self._log_prob(X), self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x) of rows, nats: the lower, the stranger."""
        return self._log_prob(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return log p(x) less `offset_`: below 0 of outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 of rows as those of the training, -1 of outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)
