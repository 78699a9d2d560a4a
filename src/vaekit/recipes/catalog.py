"""Recipes: named choices of parts. Each is a record; any option that is given overrides its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vaekit._arguments import shown
from vaekit.errors import VaekitError, unknown
from vaekit.registry import Spec, checked, describe, entries, find, register

# What a model may ask the builder for, and the option that says which it is to be.
OFFERED = ("prior", "posterior", "quantizer", "likelihood", "net", "latent")
PARTS = ("model", "prior", "posterior", "quantizer", "likelihood", "objective", "net")
BASE = {
    "model": "vae",
    "prior": "standard-normal",
    "posterior": "gaussian",
    "objective": "elbo",
    "net": None,
    "latent": None,
}
MOST = 2**24  # of a latent: more is a slip of the hand


@dataclass(frozen=True)
class RecipeEntry:
    """A choice of parts under a name.

    Attributes:
        name: on the command line.
        title: what it is, in a line.
        text: more of it: why, and from whom.
        use: when to take it.
        options: its defaults, by the names of options: parts, and any others.
        requires: what the data must bring: "context", or nothing.
        fixed: the parts that are what the recipe is: another one is another recipe.
        named: parts of which the options may be others, and the name may not.
    """

    name: str
    title: str
    text: str = ""
    use: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    requires: str = ""
    fixed: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def parts(self) -> Spec:
        """Return the specs of its parts; None for what the data decide."""
        specs = {**BASE, "likelihood": None}
        specs |= {name: value for name, value in self.options.items() if name in (*PARTS, "latent")}
        try:
            return {
                name: checked(name, value) if name in PARTS and value is not None else value
                for name, value in specs.items()
            }
        except VaekitError as error:
            raise VaekitError(f"the recipe {self.name} cannot be made: {error}") from None

    @property
    def asks(self) -> tuple[str, ...]:
        """Return the options of parts that this recipe has: those that its model asks for."""
        known = describe("model", self.parts["model"]["name"])
        words = known["given"]
        named = {name for name in words if name in OFFERED}
        if named & {"prior", "posterior", "likelihood"}:
            named |= {"net", "latent"}
        named |= {"likelihood"} if "family" in words else set()
        options = [name for name in (*PARTS, "latent") if name in named or name == "objective"]
        if known["options"]:
            options.append("model")
        return tuple(name for name in options if name not in self.fixed)


def recipe(
    name: str,
    title: str,
    text: str = "",
    *,
    use: str = "",
    requires: str = "",
    fixed: tuple[str, ...] = (),
    named: tuple[str, ...] = (),
    **options: Any,
) -> RecipeEntry:
    """Register a recipe: a name, what it is in words, and its options.

    Raises:
        VaekitError: for an option that no recipe has.

    Example:
        >>> entry = recipe("tiny", "A VAE of two latents.", latent=2, net="mlp:hidden=8")
        >>> resolve("tiny", {"objective": ":beta=4"})["objective"]
        {'name': 'elbo', 'beta': 4.0}
    """
    known = [*PARTS, "latent", "context", "library", "schedule"]
    if not {*options} <= {*known}:  # pydantic takes longer to import than help to show
        from vaekit._train_options import Data, Training

        known += [*Data.model_fields, *Training.model_fields]
    for option in options:
        if option not in known:
            raise unknown(f"option of the recipe {name}", option, known)
    entry = RecipeEntry(name, title, text, use, options, requires, fixed, named)
    register("recipe", name)(entry)
    return entry


def names() -> tuple[str, ...]:
    """Return the names of all recipes, vaekit's in the order of this file.

    Example:
        >>> names()[:3]
        ('ae', 'vae', 'beta_vae')
    """
    return tuple(entries("recipe"))


def find_recipe(name: str) -> RecipeEntry:
    """Return the recipe of this name.

    Raises:
        VaekitError: for an unknown one.

    Example:
        >>> find_recipe("vae").asks
        ('prior', 'posterior', 'likelihood', 'objective', 'net', 'latent', 'model')
    """
    entry: RecipeEntry = find("recipe", name)
    return entry


def resolve(name: str, changes: dict[str, Any]) -> Spec:
    """Return the parts of a recipe, after the changes: specs, and the latent's size.

    `NAME:option=value` replaces a part, `:option=value` changes the recipe's own. The likelihood is
    None, or without a name, where the kind of data decides it; net and latent are None where their
    shape does.

    Raises:
        VaekitError: for an unknown recipe, part or option, or a part that is what the recipe is.
    """
    entry = find_recipe(name)
    parts = entry.parts
    for part, value in changes.items():
        if value is None:
            continue
        if part in entry.fixed:
            raise VaekitError(
                f"{name} is a {part} {parts[part]['name']} with what comes with it; got {part} "
                f"{value}: take the recipe vae for another."
            )
        if part not in entry.asks:
            raise unknown(f"option of {name}", part, entry.asks)
        default, parts[part] = parts[part], _changed(part, value, parts[part])
        if part in entry.named and parts[part]["name"] != default["name"]:
            raise VaekitError(
                f"{name} has the {part} {default['name']}; got {parts[part]['name']}: change "
                f"its options, as {part}=:activation=relu, or take the recipe vae or ae."
            )
    return parts


def _changed(part: str, value: Any, base: Any) -> Any:
    """Return a changed part; of a likelihood perhaps options alone: the data then name it."""
    if part == "latent":
        size = int(value) if isinstance(value, str) and value.isdecimal() else value
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MOST:
            raise VaekitError(f"latent is {shown(size)}; expected a whole number from 1 to {MOST}.")
        return size
    if part == "likelihood" and base is None:
        spec = checked(part, value, {"name": "gaussian"})
        name = value.get("name") if isinstance(value, dict) else str(value).partition(":")[0]
        return spec if name or not isinstance(value, str | dict) else {**spec, "name": ""}
    return checked(part, value, {"name": "mlp"} if part == "net" and base is None else base)


CODES: dict[str, Any] = {
    "prior": "codes",
    "posterior": "delta",
    "latent": 16,
    "fixed": ("posterior", "model"),
}


def flat_options(parts: Spec) -> Iterator[tuple[str, Any]]:
    """Return every option of every part under its path, `objective.beta`, and each part's name.

    Example:
        >>> dict(flat_options({"objective": {"name": "elbo", "beta": 4.0}, "latent": 2}))[
        ...     "objective.beta"
        ... ]
        4.0
    """
    for part, spec in parts.items():
        if not isinstance(spec, dict):
            yield part, spec
            continue
        yield part, spec["name"]
        known = describe(part, spec["name"])["options"] if spec["name"] else {}
        for option, entry in known.items():
            yield f"{part}.{option}", spec.get(option, entry["default"])


recipe(
    "ae",
    "A plain autoencoder: one point per image, no prior to sample from and no bound.",
    "Hinton & Salakhutdinov, Science 313, 2006.",
    use="as the plain case beside all others, and for codes alone.",
    posterior="delta",
    prior="none",
    objective="reconstruction",
)
recipe(
    "vae",
    "The variational autoencoder: a Gaussian posterior, trained by the ELBO.",
    'Kingma & Welling, "Auto-encoding variational Bayes", arXiv 1312.6114.',
    use="first: it has bounds, samples and codes, and all else is measured by it.",
)
recipe(
    "beta_vae",
    "A VAE with a weight on the KL: fewer nats in the latent, each of them more telling.",
    'Higgins et al., "beta-VAE", ICLR 2017, eq. 4.',
    use="for few dimensions that each mean something, where a bound does not matter.",
    objective="elbo:beta=4",
    latent=10,
)
recipe(
    "cvae",
    "A VAE that is told the label: it can be asked for one, and the code holds what is left.",
    'Sohn, Lee & Yan, "Learning structured output representation", NeurIPS 2015, with the prior '
    "N(0, I) whatever the label (Kingma et al., arXiv 1406.5298, eq. 6).",
    use="where labels are known and images of one are wanted, or codes without them.",
    requires="context",
    context="label",
)
recipe(
    "sigma_vae",
    "A VAE whose Gaussian likelihood has the best shared sigma: no weight to tune.",
    'Rybkin, Daniilidis & Levine, "Simple and effective VAE training with calibrated decoders", '
    "arXiv 2006.13202, eq. 5.",
    use="for gray and color images, so that no weight has to be tuned.",
    likelihood="gaussian:scale=fitted",
    fixed=("likelihood",),
)
recipe(
    "iwae",
    "A VAE trained by the importance-weighted bound: several draws per image, a tighter bound.",
    'Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", arXiv 1509.00519. A fitted '
    "scale is the optimum of the ELBO and not of this bound: here it is shared and learned.",
    use="for a better log p(x) at some more time for each step.",
    objective="iwae:samples=5",
)
recipe(
    "miwae",
    "A VAE trained by the mean of several importance-weighted bounds: an encoder that learns more.",
    'Rainforth et al., "Tighter variational bounds are not necessarily better", arXiv 1802.04537, '
    "there with 64 draws in all and here with 16, 4 bounds of 4.",
    use="between vae and iwae: for a bound that is tight and an encoder that is good.",
    objective="miwae:m=4:k=4",
    named=("objective",),
)
recipe(
    "ciwae",
    "A VAE trained by the importance-weighted bound with a share of the ELBO.",
    'Rainforth et al., "Tighter variational bounds are not necessarily better", arXiv 1802.04537, '
    "there with 64 draws.",
    use="as miwae, with one number between vae and iwae.",
    objective="ciwae:weight=0.05:samples=16",
    named=("objective",),
)
recipe(
    "piwae",
    "A VAE whose decoder learns by one tight bound, and whose encoder by several looser ones.",
    'Rainforth et al., "Tighter variational bounds are not necessarily better", arXiv 1802.04537, '
    "there with 64 draws in all and here with 16, 4 bounds of 4.",
    use="for a good log p(x) and a good encoder at once.",
    objective="piwae:m=4:k=4",
    named=("objective",),
)
recipe(
    "dreg_iwae",
    "A VAE trained by the importance-weighted bound, with less noise in the encoder's gradient.",
    'Tucker et al., "Doubly reparameterized gradient estimators for Monte Carlo objectives", arXiv '
    "1810.04152, there with 64 draws.",
    use="in place of iwae where draws are many.",
    objective="dreg:samples=16",
    named=("objective",),
)
recipe(
    "renyi_vae",
    "A VAE trained by a Renyi bound: between the ELBO and the importance-weighted bound.",
    'Li & Turner, "Renyi divergence variational inference", arXiv 1602.02311.',
    use="to move from one bound to the other by an order from 0 to 1.",
    objective="renyi:alpha=0.5:samples=5",
    named=("objective",),
)
recipe(
    "capacity_vae",
    "A VAE whose KL is drawn to a number of nats that grows: dimensions open one by one.",
    'Burgess et al., "Understanding disentangling in beta-VAE", arXiv 1804.03599, whose capacity '
    "grows to 25 nats in 100,000 steps, at a weight of 1,000 and in nats that are summed and "
    "averaged as here. Here it grows in 2,500 steps at 30: at 1,000 the noise of a batch's KL is "
    "most of so short a training (10,000 digits, 30 epochs: a bound of 274 nats, at 30 one of 476, "
    "with the same KL of 21.2). The paper's: --objective :gamma=1000 --schedule "
    "capacity=linear:0:25:100000.",
    use="as beta_vae, where the code is to hold so many nats and no fewer.",
    objective="capacity",
    latent=10,
    schedule=("capacity=linear:0:25:2500",),
    named=("objective",),
)
recipe(
    "beta_tc_vae",
    "A VAE with a weight on what dimensions share: they become independent, and lose few nats.",
    'Chen et al., "Isolating sources of disentanglement in variational autoencoders", arXiv '
    "1802.04942, with weights that have no bias.",
    use="as beta_vae, with sharper images at the same independence.",
    objective="beta-tc:beta=6",
    latent=10,
    named=("objective",),
)
recipe(
    "factor_vae",
    "A VAE with a price on total correlation, which a critic estimates: dimensions part.",
    'Kim & Mnih, "Disentangling by factorising", arXiv 1802.05983, eq. 2 and algorithm 2.',
    use="for dimensions that each mean something, at less cost in reconstruction than beta_vae.",
    objective="factor-vae:gamma=35",
    latent=10,
    named=("objective",),
)
recipe(
    "dip_vae",
    "A VAE whose codes are uncorrelated: their covariance over the rows is drawn to that of p(z).",
    'Kumar, Sattigeri & Balakrishnan, "Variational inference of disentangled latent concepts from '
    'unlabeled observations", arXiv 1711.00848, type I.',
    use="as beta_tc_vae, with a price of second moments alone, which has little noise.",
    objective="dip",
    latent=10,
    named=("objective",),
)
recipe(
    "info_vae",
    "A VAE whose codes, all together, are held to the prior by a kernel besides.",
    'Zhao, Song & Ermon, "InfoVAE", arXiv 1706.02262, with the MMD.',
    use="for samples of p(z); with --objective :alpha=1 the KL of a row costs nothing, and its "
    "code may tell more of it.",
    objective="info-vae",
    latent=10,
    named=("objective",),
)
recipe(
    "wae_mmd",
    "A Wasserstein autoencoder: one point per image, and all points together follow the prior.",
    'Tolstikhin et al., "Wasserstein auto-encoders", arXiv 1711.01558, with the MMD.',
    use="for images sharper than a VAE's and samples of p(z), where no bound is wanted.",
    posterior="delta",
    objective="wae-mmd",
    latent=8,
    named=("objective",),
)
recipe(
    "swae",
    "A Wasserstein autoencoder by sliced distances: sorted projections in place of a kernel.",
    'Kolouri et al., "Sliced-Wasserstein autoencoder", arXiv 1804.01947.',
    use="as wae_mmd, without a kernel to choose.",
    posterior="delta",
    objective="swae",
    latent=8,
    named=("objective",),
)
recipe(
    "aae",
    "An autoencoder whose codes a critic cannot tell from draws of the prior: it has samples.",
    'Makhzani et al., "Adversarial autoencoders", arXiv 1511.05644, with the deterministic '
    "encoder of section 2.",
    use="for samples from an autoencoder whose codes are points, and priors without a density.",
    posterior="delta",
    objective="aae",
    latent=8,
    named=("objective",),
)
recipe(
    "vae_gan",
    "A VAE that compares features of a critic in place of pixels, and fools the critic.",
    'Larsen et al., "Autoencoding beyond pixels using a learned similarity metric", arXiv '
    "1512.09300.",
    use="for sharp images, where no number is to be quoted.",
    objective="vae-gan",
    named=("objective",),
)
recipe(
    "rae_l2",
    "An autoencoder with small codes and small weights: it is sampled by a density of its codes.",
    'Ghosh et al., "From variational to deterministic autoencoders", arXiv 1903.12436, with L2: '
    "`vaekit fit-prior` makes the density, and `vaekit sample --prior fitted` draws.",
    use="for samples without the noise of a posterior, by a prior that is fitted afterwards.",
    posterior="delta",
    prior="none",
    objective="rae-l2",
    latent=16,
    named=("objective",),
)
recipe(
    "rae_gp",
    "An autoencoder whose decoder is kept smooth: it is sampled by a density of its codes.",
    'Ghosh et al., "From variational to deterministic autoencoders", arXiv 1903.12436, with the '
    "gradient penalty: `vaekit fit-prior` makes the density.",
    use="as rae_l2, where what is to be small is how fast images change along z.",
    posterior="delta",
    prior="none",
    objective="rae-gp",
    latent=16,
    named=("objective",),
)
recipe(
    "vamp_vae",
    "A VAE whose prior is the mixture of its own posteriors at learned inputs.",
    'Tomczak & Welling, "VAE with a VampPrior", arXiv 1705.07120.',
    use="where p(z) is too plain: for better samples and bounds of one latent.",
    prior="vamp:components=500",
    latent=40,
    named=("prior",),
)
recipe(
    "mixture_vae",
    "A VAE whose prior is a mixture of Gaussians with learned weights, means and scales.",
    'Dilokthanakul et al., "Deep unsupervised clustering with Gaussian mixture variational '
    'autoencoders", arXiv 1611.02648, with all of the mixture in p(z).',
    use="where rows come in groups that nobody has labeled.",
    prior="mixture:components=10",
    named=("prior",),
)
recipe(
    "flow_prior_vae",
    "A VAE whose prior is a normalizing flow: it goes where the codes are.",
    'Chen et al., "Variational lossy autoencoder", arXiv 1611.02731, section 3.2.',
    use="for samples from p(z) itself, and the best bounds of short trainings.",
    prior="flow",
    named=("prior",),
)
recipe(
    "iaf_vae",
    "A VAE whose posterior is a Gaussian through inverse autoregressive layers.",
    'Kingma et al., "Improved variational inference with inverse autoregressive flow", arXiv '
    "1606.04934.",
    use="where posteriors are no Gaussians, at a small price.",
    posterior="iaf",
    latent=32,
    named=("posterior",),
)
recipe(
    "planar_vae",
    "A VAE whose posterior is a Gaussian through planar layers.",
    'Rezende & Mohamed, "Variational inference with normalizing flows", arXiv 1505.05770.',
    use="to see what the first flows do; iaf_vae and flow_vae do more.",
    posterior="planar:steps=8",
    named=("posterior",),
)
recipe(
    "flow_vae",
    "A VAE whose posterior is a flow of splines in coupling layers.",
    'Durkan et al., "Neural spline flows", arXiv 1906.04032, section 5.3.',
    use="where a posterior of any shape is worth its time.",
    posterior="spline",
    named=("posterior",),
)
recipe(
    "full_covariance_vae",
    "A VAE whose posterior is a Gaussian with all covariances.",
    'Kingma & Welling, "An introduction to variational autoencoders", arXiv 1906.02691, section '
    "2.5.1.",
    use="where the dimensions of a small latent belong together.",
    posterior="full-covariance",
    named=("posterior",),
)
recipe(
    "power_spherical_vae",
    "A VAE whose codes are directions: points of a sphere, spread evenly by the prior.",
    'De Cao & Aziz, "The power spherical distribution", arXiv 2006.04437, after Davidson et al., '
    '"Hyperspherical variational auto-encoders", arXiv 1804.00891.',
    use="where directions are meant: cosines between codes are what counts.",
    posterior="power-spherical",
    prior="sphere",
    latent=11,
    fixed=("posterior", "prior"),
)
recipe(
    "s_vae",
    "A VAE whose codes are directions, by the von Mises-Fisher distribution.",
    'Davidson et al., "Hyperspherical variational auto-encoders", arXiv 1804.00891, with the '
    "gradient of its sampler that has no bias.",
    use="as power_spherical_vae, by the distribution that its paper has; slower.",
    posterior="vmf",
    prior="sphere",
    latent=11,
    fixed=("posterior", "prior"),
)
recipe(
    "poincare_vae",
    "A VAE in hyperbolic space: the farther from the center, the more room for codes to part.",
    'Mathieu et al., "Continuous hierarchical representations with Poincaré variational '
    'auto-encoders", arXiv 1901.06033, and Nagano et al., "A wrapped normal distribution on '
    'hyperbolic space", arXiv 1902.02992.',
    use="for rows that form a tree, in few dimensions: two of them draw as a disk.",
    posterior="poincare",
    prior="poincare",
    latent=10,
    named=("posterior", "prior"),
)
recipe(
    "gumbel_vae",
    "A VAE whose codes are choices: 30 categorical variables of 10 values each.",
    'Jang, Gu & Poole, "Categorical reparameterization with Gumbel-softmax", arXiv 1611.01144: '
    "relaxed while it trains, at a temperature of max(0.5, exp(-0.0001 step)), and measured as it "
    "is.",
    use="where codes are choices, as of groups, and their probabilities are wanted.",
    posterior="gumbel:categories=10",
    prior="categorical",
    latent=30,
    schedule=("temperature=exponential:1:0.5:6931",),
    named=("posterior", "prior"),
)
recipe(
    "joint_vae",
    "A VAE of ten numbers and one category: the category often finds the classes by itself.",
    'Dupont, "Learning disentangled joint continuous and discrete representations", arXiv '
    "1804.00104, whose two capacities grow to 5 nats in 25,000 steps, and here in 2,500.",
    use="to find groups and what varies within them.",
    posterior="joint:categories=10",
    prior="joint",
    objective="capacity",
    latent=10,
    schedule=("capacity=linear:0:5:2500", "discrete=linear:0:5:2500"),
    named=("posterior", "prior", "objective"),
)
recipe(
    "hamiltonian_vae",
    "A VAE whose draws of z follow the gradient of log p(x, z) for a few steps: a better q(z|x).",
    'Caterini, Doucet & Sejdinovic, "Hamiltonian variational auto-encoder", arXiv 1805.11328.',
    use="where the posterior matters more than time.",
    model="hamiltonian",
    named=("model",),
)
recipe(
    "fsq_vae",
    "An autoencoder of codes: numbers rounded to a few levels, of which no code can die.",
    'Mentzer et al., "Finite scalar quantization: VQ-VAE made simple", arXiv 2309.15505. `latent` '
    "is how many codes a row has; with --net conv:map=true --latent 1 each place of a map has one.",
    use="first of the four that have codes: nothing dies, and there is nothing to tune.",
    model="codes",
    quantizer="fsq:levels=8,5,5,5",
    **CODES,
)
recipe(
    "vq_vae",
    "An autoencoder of codes: the nearest vector of a codebook that is learned by a loss.",
    'Van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation learning", arXiv '
    "1711.00937. With --net conv:map=true --latent 1 codes are a map, as there.",
    use="to compare with vq_vae_ema; its codebook is learned by a loss.",
    model="codes",
    quantizer="vq:codes=512",
    **CODES,
)
recipe(
    "vq_vae_ema",
    "An autoencoder of codes: the codebook follows the running mean of its vectors.",
    'Van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation learning", arXiv '
    "1711.00937, appendix A.1. With --net conv:map=true --latent 1 codes are a map, as there.",
    use="for a codebook of vectors, the usual one.",
    model="codes",
    quantizer="vq-ema:codes=512",
    **CODES,
)
recipe(
    "residual_vq",
    "An autoencoder of codes from coarse to fine; with --latent 1 they are a semantic ID of a row.",
    'Lee et al., "Autoregressive image generation using residual quantization", arXiv 2203.01941.',
    use="for semantic IDs, and codes of any fineness.",
    model="codes",
    quantizer="residual-vq:codes=256:depth=4",
    **(CODES | {"latent": 4}),
)
recipe(
    "student_t_vae",
    "A VAE that takes outliers calmly: Student-t tails of learned weight.",
    'Takahashi et al., "Student-t variational autoencoder for robust density estimation", IJCAI '
    "2018, with one scale and one number of degrees of freedom for all elements.",
    use="for rows with outliers.",
    likelihood="student-t",
    named=("likelihood",),
)
recipe(
    "log_cosh_vae",
    "A VAE with squares near and absolute values far: the log-cosh loss, normalized.",
    'Chen et al., "Log hyperbolic cosine loss improves variational auto-encoder", 2019.',
    use="for rows with some outliers, with the usual shapes near 0.",
    likelihood="log-cosh",
    named=("likelihood",),
)
recipe(
    "dmol_vae",
    "A VAE of gray levels: a mixture of discretized logistics for each pixel.",
    'Salimans et al., "PixelCNN++", arXiv 1701.05517, as the likelihood of a VAE.',
    use="for likelihoods of gray levels in bits, and draws of pixels; train it long.",
    likelihood="discretized-logistic-mixture",
    named=("likelihood",),
)
recipe(
    "ms_ssim_vae",
    "A VAE whose images are to look alike: multi-scale structural similarity, which is a loss.",
    'Snell et al., "Learning to generate images with perceptual similarity metrics", arXiv '
    "1511.06409. It is no likelihood, and its bounds compare with nothing else.",
    use="where images are to look right, and no number is to be quoted.",
    likelihood="ms-ssim",
    named=("likelihood",),
)
recipe(
    "count_vae",
    "A VAE of single cells: counts with added zeros, given the total of each cell.",
    'Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 15, '
    "2018, with the observed total as library size; `context` takes a batch or a plate.",
    use="for counts of cells: codes without the effect of how deep each was read.",
    likelihood="zinb",
    library="observed",
    latent=10,
    net="mlp:hidden=128",
    named=("likelihood",),
)
recipe(
    "colorizer",
    "A network from gray images, as a VAE makes them, to color: `vaekit colorize` applies it.",
    "Trained by the Gaussian likelihood of the colors given their luminance 0.30 R + 0.59 G + "
    "0.11 B under noise (which is color MSE), and the error of the luminance of what it makes.",
    use="to color gray images.",
    model="colorizer",
    net="color",
    named=("net",),
    objective="coloring",
    likelihood="gaussian",
)
recipe(
    "unpool_ae",
    "An autoencoder with max-pooling whose decoder is told where each maximum stood: no VAE.",
    "The places reach the decoder beside the latent, so they are a part of the code, which is much "
    "larger than `latent`. Nothing says how places are distributed: there is no bound, and no "
    'samples. Zhao et al., "Stacked what-where auto-encoders", arXiv 1506.02351.',
    use="as the tutorial of pooling autoencoders has it.",
    posterior="delta",
    prior="none",
    objective="reconstruction",
    net="unpool",
    named=("net",),
)
