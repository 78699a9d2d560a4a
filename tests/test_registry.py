"""Parts by name: the grammar, what is refused, and that index and page are those of the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vaekit.distributions import Offer, offering
from vaekit.errors import VaekitError
from vaekit.models import LatentModel, Model
from vaekit.objectives import Objective
from vaekit.parts import Family, Prior, StandardNormal
from vaekit.recipes import build, find_recipe, recipe, resolve
from vaekit.registry import (
    KINDS,
    checked,
    completed,
    describe,
    entries,
    find,
    make,
    nested,
    parse,
    register,
    spec_of,
    text,
)

ROOT = Path(__file__).resolve().parent.parent


class Wide(StandardNormal):
    """A prior that is wide.

    Args:
        width: how wide.
        sizes: of what is inside.
        net: the network inside.
        inner: whether it is.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        width: float = 1.0,
        sizes: tuple[int, ...] = (4, 2),
        net: net = "mlp",  # type: ignore[name-defined]  # noqa: F821
        inner: bool | None = None,
    ) -> None:
        super().__init__(event_shape)
        self.width, self.sizes, self.inner = width, sizes, inner


@pytest.mark.parametrize(
    "written",
    ["mlp", "mlp:hidden=64,32", "flow:net={mlp:hidden=64}:steps=4", "elbo:beta=0.5:kl=sampled"],
)
def test_what_is_written_is_read_and_written_again(written: str) -> None:
    assert text(parse(written)) == written


def test_a_path_and_braces_say_the_same() -> None:
    assert parse("flow:net=mlp:net.hidden=64") == parse("flow:net={mlp:hidden=64}")


def test_options_become_values_by_their_types() -> None:
    register("prior", "wide")(Wide)
    spec = checked("prior", "wide:width=2:sizes=8:inner=yes:net=mlp:net.hidden=16")
    assert spec == {
        "name": "wide",
        "width": 2.0,
        "sizes": [8],
        "inner": True,
        "net": {"name": "mlp", "hidden": [16]},
    }
    made = make("prior", spec, {"event_shape": lambda: (3,)})
    assert (made.width, made.sizes, made.inner) == (2.0, (8,), True)
    assert spec_of("prior", made)["width"] == 2.0


@pytest.mark.parametrize(
    ("kind", "written", "words"),
    [
        ("prior", "vampp", "unknown prior 'vampp'"),
        ("objective", "elbow", "unknown objective 'elbow'; did you mean 'elbo'?"),
        ("objective", "elbo:bta=2", "unknown option of the objective elbo 'bta'; did you mean"),
        ("objective", "elbo:beta", "got 'beta' in 'elbo:beta'; expected option=value."),
        ("objective", "elbo:beta=two", "got elbo:beta=two; expected a number."),
        ("objective", "elbo:samples=1.5", "got elbo:samples=1.5; expected a whole number."),
        ("objective", "elbo:beta=1:beta=2", "got 'beta' twice"),
        ("net", "mlp:hidden={64", "expected a closing brace"),
        ("objective", ":beta=2", "expected a name before it"),
        ("net", {"name": ["mlp"]}, "got {'name': ['mlp']} for the net; expected text for a name."),
        ("objective", {"beta": {"a": 1}}, "expected a name before it"),
        ("net", 3, "got int for the net; expected NAME:option=value, a dict with a name"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(kind: str, written: object, words: str) -> None:
    with pytest.raises(VaekitError) as caught:
        checked(kind, written)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_registration_that_cannot_be_explained_is_refused() -> None:
    with pytest.raises(VaekitError, match="unknown kind of part 'priors'"):
        register("priors", "x")(Wide)
    with pytest.raises(VaekitError, match="expected small letters"):
        register("prior", "Wide")(Wide)
    with pytest.raises(VaekitError, match="'standard-normal' is taken"):
        register("prior", "standard-normal")(Wide)

    class Bare(Wide):
        """No line for its option."""

        def __init__(self, *, depth: int = 1) -> None: ...

    register("prior", "bare")(Bare)
    with pytest.raises(VaekitError, match="the option depth of the prior 'bare' needs a type, and"):
        describe("prior", "bare")


def test_a_part_that_asks_for_what_nobody_gives_is_refused() -> None:
    class Asking(Wide):
        """Asks for the moon."""

        def __init__(self, moon: int) -> None: ...

    register("prior", "asking")(Asking)
    with pytest.raises(VaekitError, match="the prior 'asking' asks for moon; a builder gives rows"):
        make("prior", {"name": "asking"}, {"rows": lambda: 3})


def test_a_colon_in_front_changes_the_recipes_own_part() -> None:
    recipe("mild", "A mild one.", objective="elbo:beta=0.5:kl=sampled")
    assert resolve("mild", {"objective": ":beta=2"})["objective"] == {
        "name": "elbo",
        "beta": 2.0,
        "kl": "sampled",
    }
    assert resolve("mild", {"objective": "elbo:beta=2"})["objective"] == {
        "name": "elbo",
        "beta": 2.0,
    }
    assert nested("objective", "", "beta", 3) == {"name": "", "beta": 3}


def test_every_part_of_the_kit_can_be_explained_and_found() -> None:
    bases = {"prior": Prior, "posterior": Family, "likelihood": Family}
    bases |= {"objective": Objective, "model": Model}
    for kind in KINDS:
        for name, known in entries(kind).items():
            part = find(kind, name)
            assert known["title"].endswith(".") or kind == "recipe", (kind, name)
            assert issubclass(part, bases.get(kind, object)) if isinstance(part, type) else True
            assert set(completed(kind, {"name": name})) == {"name", *known["options"]}
    assert find_recipe("beta-vae") is find_recipe("beta_vae")


def test_the_index_and_the_page_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "index.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def given_words() -> set[str]:
    """The words that some part or model of the kit offers."""
    from vaekit.data import DataSpec
    from vaekit.models import VAE, offered

    spec = DataSpec("t", (1, 8, 8), "gray", rows=20)
    color = DataSpec("t", (3, 8, 8), "color", rows=20)
    whole = build("vae", spec, latent=2, likelihood="bernoulli").model
    assert isinstance(whole, VAE)
    gaps = VAE(whole.prior, whole.posterior, whole.likelihood, gaps=True)
    made = [whole, gaps, build("colorizer", color).model, build("gumbel_vae", spec).model]
    return {str(word) for model in made for word in {*model.offers, *offered(model)}}


def test_every_word_of_offers_has_a_giver_and_a_taker() -> None:
    """`codes` is given by models of codes, which the probes bring."""
    source = ROOT / "src" / "vaekit"
    takers = "".join(
        path.read_text()
        for room in ("objectives", "evaluate", "runs", "report", "training", "recipes", "models")
        for path in (source / room).rglob("*.py")
    )
    for word in Offer:
        taken = f"Offer.{word.name}" in takers or f'"{word}"' in takers
        assert taken, f"nobody asks for {word}"
    assert {str(word) for word in Offer} - given_words() <= {"codes"}
    with pytest.raises(ValueError, match="unknown offer 'densty'"):
        offering("densty")


def test_a_model_that_overrides_what_follows_is_refused() -> None:
    with pytest.raises(TypeError, match="overrides sample, which is final"):

        class Own(LatentModel):
            def sample(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
                pass


@pytest.mark.parametrize(
    "words",
    [
        ("train", "vae", "--help"),
        ("parts",),
        ("parts", "prior"),
        ("parts", "objective", "iwae"),
        ("recipes",),
    ],
)
def test_help_and_lists_import_no_torch(words: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from vaekit.cli.main import main\n"
        f"sys.argv = ['vaekit', *{words!r}]\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as left:\n    assert not left.code, left.code\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_a_recipe_with_an_option_or_a_part_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(VaekitError, match="unknown option of the recipe odd 'priro'; did you mean"):
        recipe("odd", "An odd one.", priro="standard-normal")
    recipe("odder", "An odder one.", prior="standardnormal")
    with pytest.raises(VaekitError, match="the recipe odder cannot be made: unknown prior"):
        resolve("odder", {})
