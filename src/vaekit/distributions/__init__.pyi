from vaekit.distributions.base import Distribution as Distribution
from vaekit.distributions.base import Offer as Offer
from vaekit.distributions.base import Space as Space
from vaekit.distributions.base import codes as codes
from vaekit.distributions.base import counts as counts
from vaekit.distributions.base import offering as offering
from vaekit.distributions.base import pixels as pixels
from vaekit.distributions.base import reals as reals
from vaekit.distributions.base import sum_event as sum_event
from vaekit.distributions.continuous import Delta as Delta
from vaekit.distributions.continuous import FullGaussian as FullGaussian
from vaekit.distributions.continuous import Gaussian as Gaussian
from vaekit.distributions.continuous import Laplace as Laplace
from vaekit.distributions.continuous import StandardGaussian as StandardGaussian
from vaekit.distributions.counting import NegativeBinomial as NegativeBinomial
from vaekit.distributions.counting import Poisson as Poisson
from vaekit.distributions.counting import (
    ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial,
)
from vaekit.distributions.discrete import Bernoulli as Bernoulli
from vaekit.distributions.discrete import Categorical as Categorical
from vaekit.distributions.discrete import ContinuousBernoulli as ContinuousBernoulli
from vaekit.distributions.discrete import bernoulli_sum as bernoulli_sum
from vaekit.distributions.divergences import closed_form as closed_form
from vaekit.distributions.divergences import kl as kl
from vaekit.distributions.divergences import kl_terms as kl_terms
from vaekit.distributions.levels import DiscretizedLogistic as DiscretizedLogistic
from vaekit.distributions.levels import DiscretizedLogisticMixture as DiscretizedLogisticMixture
from vaekit.distributions.mixtures import COMPONENTS as COMPONENTS
from vaekit.distributions.mixtures import GaussianMixture as GaussianMixture
from vaekit.distributions.mixtures import Mixture as Mixture
from vaekit.distributions.mixtures import choose_mixture as choose_mixture
from vaekit.distributions.mixtures import fit_mixture as fit_mixture
from vaekit.distributions.robust import LogCosh as LogCosh
from vaekit.distributions.robust import Logistic as Logistic
from vaekit.distributions.robust import StudentT as StudentT
from vaekit.distributions.wrapped import TorchDistribution as TorchDistribution
