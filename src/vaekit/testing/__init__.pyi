from vaekit.testing.families import check_family as check_family
from vaekit.testing.families import check_gradient as check_gradient
from vaekit.testing.families import seeded as seeded
from vaekit.testing.linear_gaussian import LinearGaussian as LinearGaussian
from vaekit.testing.models import check_model as check_model
from vaekit.testing.models import check_objective as check_objective
