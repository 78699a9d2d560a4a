"""Networks by name: how the encoder of a model is made, and the decoder that mirrors it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

from torch import nn

from vaekit.errors import VaekitError, at_least, choose, within
from vaekit.nn._network import MLP, Network, Planes, Shape, flatten, image_shape, joined_shape
from vaekit.nn.blocks import Block, LatentDropout, Scaled, initialize
from vaekit.nn.conv import ColorNet, ConvDecoder, ConvEncoder, map_shape
from vaekit.nn.patch import PatchDecoder, PatchEncoder, by_size
from vaekit.nn.pool import PoolEncoder, UnpoolDecoder, UnpoolEncoder, places_of
from vaekit.nn.residual import ResidualDecoder, ResidualEncoder
from vaekit.registry import register


@dataclass(frozen=True, kw_only=True)
class Nets(ABC):
    """How the networks of a model are made: an encoder, and a decoder that mirrors it.

    Args:
        activation: relu, leaky-relu, gelu, silu, tanh; of dense nets glu.
        slope: of leaky-relu, below 0.
        norm: before each activation: none or batch.
        norm_bias: whether affine maps keep their bias under a norm, which has one of its own.
        dropout: the share of hidden activations that is dropped, after each activation.
        dropout_first: whether it is dropped before each activation.
        latent_dropout: the share of z that is dropped in front of the decoder, while training.
        init: how weights start: torch, glorot, he or orthogonal; all but torch's set biases to 0.
        start: where the output's bias starts: mean, at that of the data, or init, as init says.

    Raises:
        VaekitError: for an unknown name or a share outside [0, 1).
    """

    planes: ClassVar[bool] = True  # whether it takes images, and no flat rows
    point: ClassVar[bool] = False  # whether it gives a z, and no spread of it

    activation: str = "gelu"
    slope: float = 0.01
    norm: str = "none"
    norm_bias: bool = False
    dropout: float = 0.0
    dropout_first: bool = False
    latent_dropout: float = 0.0
    init: str = "torch"
    start: str = "mean"

    def __post_init__(self) -> None:
        choose("start", self.start, {"mean": True, "init": False})
        initialize(nn.Identity(), self.init)
        Block(**self.options)
        LatentDropout(1, self.latent_dropout)

    @property
    def options(self) -> dict[str, Any]:
        """Return what every network takes."""
        leaky = self.activation.replace("-", "_") == "leaky_relu"
        activation = f"leaky_relu:{self.slope}" if leaky else self.activation
        names = ("norm", "norm_bias", "dropout", "dropout_first")
        return {"activation": activation, **{name: getattr(self, name) for name in names}}

    def latent_shape(self, latent: int, x_shape: Shape) -> Shape:
        """Return the shape of z for a latent of this size."""
        return (latent,)

    def encoder(self, in_shape: Shape, out_shape: Shape, context: Shape = ()) -> nn.Module:
        """Return an initialized network `(N, *in_shape) -> (N, *out_shape)` of x.

        With a context `(N, *context)` it takes what `vaekit.parts.join` makes of both: of planes,
        or of vectors, to which images are flattened.
        """
        shape = in_shape if self.planes or not context else (prod(in_shape),)
        return initialize(self._encoder(joined_shape(shape, context), out_shape), self.init)

    def decoder(self, in_shape: Shape, out_shape: Shape, latent: int) -> nn.Module:
        """Return one `(N, *in_shape) -> (N, *out_shape)`, whose first `latent` inputs are z."""
        net = self._decoder(in_shape, out_shape)
        if self.latent_dropout:
            drop = LatentDropout(latent, self.latent_dropout)
            body, at = [drop, *net.body], net.at + 1
            net = Network(net.in_shape, net.out_shape, body, net.output, net.direct, at)
        return initialize(net, self.init)

    @abstractmethod
    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module: ...

    @abstractmethod
    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network: ...


@register("net", "mlp")
@dataclass(frozen=True, kw_only=True)
class DenseNets(Nets):
    """Dense layers; the decoder's widths are the encoder's reversed.

    Args:
        hidden: the widths of the encoder's dense layers.
        end: block, the encoder's last hidden layer has norm and activation; or affine.
        direct: whether a linear map of the inputs is added to the outputs, in both networks.
        scale: what the encoder's inputs are multiplied by: a step of Adam moves a sum of them by
            the learning rate times their number, so that many columns want less than 1.

    Example:
        >>> DenseNets(hidden=(64, 32)).encoder((1, 8, 8), (4,)).in_shape
        (1, 8, 8)
    """

    planes: ClassVar[bool] = False
    hidden: tuple[int, ...] = (512, 256)
    end: str = "block"
    direct: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("scale", self.scale, 1e-6, 1e6)

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        how = {**self.options, "direct": self.direct}
        net = MLP(in_shape, out_shape, self.hidden, end=self.end, **how)
        if self.scale == 1:
            return net
        body = [Scaled(self.scale), *net.body]
        return Network(net.in_shape, net.out_shape, body, net.output, net.direct, net.at + 1)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        return MLP(in_shape, out_shape, self.hidden[::-1], direct=self.direct, **self.options)


@register("net", "gated", activation="glu", hidden=(300, 300), init="he")
@dataclass(frozen=True, kw_only=True)
class GatedNets(DenseNets):
    """Dense layers, each times a gate of its own: (W h + b) * sigmoid(V h + c).

    Dauphin et al., "Language modeling with gated convolutional networks", arXiv 1612.08083; as in
    Tomczak & Welling, arXiv 1705.07120.
    """


@dataclass(frozen=True, kw_only=True)
class _Convolutions(Nets):
    """What all kinds of convolutions share.

    Args:
        channels: of the convolutions; reversed in the decoder.
        hidden: the widths of dense layers after them.
        kernel: side of the kernels: one for all, or one each; reversed in the decoder.
        stride: of the convolutions: one for all, or one each; reversed in the decoder.
        pads: zeros on each side: one for all, or one each; by default as few as divide the lengths
            by the stride, rounded up.
        decoder_channels: channels before each transposed convolution; by default channels reversed.
        decoder_kernel: their kernels; by default kernel reversed.
        decoder_stride: their strides; by default what the encoder divides by, reversed.
        decoder_pads: what is cut from each side; by default as few as multiply by the stride.
        projection: block, the decoder's dense map to planes has norm and activation; or affine.
        refine: side of a last convolution after the transposed ones; 0 for none.
    """

    pooled: ClassVar[int] = 1  # what a stage divides by besides its stride
    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = ()
    kernel: tuple[int, ...] = (3,)
    stride: tuple[int, ...] = (2,)
    pads: tuple[int, ...] | None = None
    decoder_channels: tuple[int, ...] | None = None
    decoder_kernel: tuple[int, ...] | None = None
    decoder_stride: tuple[int, ...] | None = None
    decoder_pads: tuple[int, ...] | None = None
    projection: str = "block"
    refine: int = 0

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        mirrored = tuple(self.pooled * step for step in self.stride[::-1])
        return ConvDecoder(
            in_shape,
            out_shape,
            self.decoder_channels or self.channels[::-1],
            self.hidden[::-1],
            kernel=self.decoder_kernel or self.kernel[::-1],
            stride=self.decoder_stride or mirrored,
            pads=self.decoder_pads,
            projection=self.projection,
            refine=self.refine,
            map=getattr(self, "map", False),
            **self.options,
        )


@register("net", "conv")
@dataclass(frozen=True, kw_only=True)
class ConvNets(_Convolutions):
    """Convolutions with strides, and transposed ones in the decoder.

    Args:
        map: whether z is a map `(latent, H, W)` of the last grid: nothing is dense.

    Example:
        >>> ConvNets(channels=(8, 16)).decoder((4,), (1, 30, 21), 4).out_shape
        (1, 30, 21)
        >>> ConvNets(map=True).latent_shape(8, (1, 30, 21))
        (8, 8, 6)
    """

    map: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.map and (self.hidden or self.latent_dropout):
            raise VaekitError(
                "with `map=true` a conv net has no dense layers, and drops nothing of z: leave "
                "`hidden` and `latent_dropout`."
            )

    def latent_shape(self, latent: int, x_shape: Shape) -> Shape:
        """Return the shape of z: with `map` planes of the last grid."""
        if not self.map:
            return (latent,)
        how = (self.kernel, self.stride, self.pads)
        return map_shape(latent, x_shape, len(self.channels), *how)

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        how = {"kernel": self.kernel, "stride": self.stride, "pads": self.pads, **self.options}
        return ConvEncoder(in_shape, out_shape, self.channels, self.hidden, map=self.map, **how)


@register("net", "conv-study", activation="relu", channels=(32, 32, 64, 64), kernel=(4,),
          hidden=(256,), init="glorot", start="init")  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class StudyNets(ConvNets):
    """The nets of the large study of disentanglement, for 64 x 64 images, and any others.

    Locatello et al., "Challenging common assumptions in the unsupervised learning of disentangled
    representations", arXiv 1811.12359, table 2 of the appendix: 4 x 4 kernels throughout (the
    code beside it has 2 x 2 in the last two of the encoder: `kernel=4,4,2,2:decoder-kernel=4`).

    Example:
        >>> from vaekit.registry import make
        >>> make("net", {"name": "conv-study"}).encoder((1, 64, 64), (20,)).body[-2]
        Linear(in_features=1024, out_features=256, bias=True)
    """


@register("net", "pool")
@dataclass(frozen=True, kw_only=True)
class PoolNets(_Convolutions):
    """Convolutions with 2 x 2 max-pooling, and a decoder as of conv.

    Args:
        padding: same, convolutions keep the size and poolings round up; or valid, no zeros are
            added and what does not fit is dropped.
    """

    pooled: ClassVar[int] = 2
    stride: tuple[int, ...] = (1,)
    padding: str = "same"

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        how = {"kernel": self.kernel, "stride": self.stride, "pads": self.pads, **self.options}
        how["padding"] = self.padding
        return PoolEncoder(in_shape, out_shape, self.channels, self.hidden, **how)


@register("net", "residual")
@dataclass(frozen=True, kw_only=True)
class ResidualNets(Nets):
    """Stages of residual blocks with group norm, each of which halves the image.

    He et al., "Identity mappings in deep residual networks", arXiv 1603.05027.

    Args:
        channels: within each stage; reversed in the decoder.
        hidden: the widths of dense layers after them.
        blocks: residual blocks of each stage.
        groups: of the norms.
    """

    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = ()
    blocks: int = 1
    groups: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("blocks", self.blocks, 1)
        at_least("groups", self.groups, 1)
        if self.norm != "none" or self.dropout_first:
            raise VaekitError("the net residual has its group norm: leave norm and dropout_first.")

    @property
    def _how(self) -> dict[str, Any]:
        names = ("activation", "dropout")
        how = {name: value for name, value in self.options.items() if name in names}
        return {**how, "blocks": self.blocks, "groups": self.groups}

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        return ResidualEncoder(in_shape, out_shape, self.channels, self.hidden, **self._how)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        channels, hidden = self.channels[::-1], self.hidden[::-1]
        return ResidualDecoder(in_shape, out_shape, channels, hidden, **self._how)


@register("net", "patch")
@dataclass(frozen=True, kw_only=True)
class PatchNets(Nets):
    """Residual convolutions on a small grid of patches, dense layers, and sub-pixel convolutions.

    Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", arXiv 1609.05158.

    Args:
        channels: of each stage, each of which but the first halves the grid; reversed in the
            decoder; by default 16, and twice as many in each further stage, until the grid has a
            side of 8 or less.
        hidden: the widths of dense layers after them; reversed in the decoder.
        patch: side of the patches; by default 4 from 28 x 28 up, else 2.
        blocks: residual blocks of each stage.
        depth: convolutions of each block.
        groups: of group norms before the activations of the blocks; 0 for none.
        direct: dense maps of all pixels beside the convolutions; of sides above 64 they see means
            over squares.
        scale: what the encoder's dense map of all pixels multiplies them by; 784 by their number
            where the channels are by default, at most 1: see `mlp`.
    """

    activation: str = "silu"
    channels: tuple[int, ...] | None = None
    hidden: tuple[int, ...] = (256,)
    patch: int | None = None
    blocks: int = 1
    depth: int = 1
    groups: int = 0
    direct: bool = True
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm != "none" or self.dropout_first:
            raise VaekitError("the net patch has its group norm: leave norm and dropout_first.")

    def _how(self, image: Shape) -> dict[str, Any]:
        patch, channels = by_size(image[1:], self.patch)
        how = {"activation": self.options["activation"], "dropout": self.dropout}
        own = ("hidden", "blocks", "depth", "groups", "direct")
        how |= {name: getattr(self, name) for name in own}
        return {**how, "patch": patch, "channels": self.channels or channels}

    def encoder(self, in_shape: Shape, out_shape: Shape, context: Shape = ()) -> nn.Module:
        """Return one, where a context that is a vector joins the dense layers."""
        if len(context) != 1:
            return super().encoder(in_shape, out_shape, context)
        return initialize(self._encoder(in_shape, out_shape, context[0]), self.init)

    def _encoder(self, in_shape: Shape, out_shape: Shape, context: int = 0) -> nn.Module:
        how = {"scale": self.scale, "context": context, **self._how(in_shape)}
        return PatchEncoder(in_shape, out_shape, **how)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        how = self._how(image_shape("out_shape", out_shape))
        how |= {name: how[name][::-1] for name in ("channels", "hidden")}
        return PatchDecoder(in_shape, out_shape, **how)


@register("net", "unpool")
@dataclass(frozen=True, kw_only=True)
class UnpoolNets(Nets):
    """Max-pooling whose decoder is told where each maximum stood: the places are a part of z.

    Zhao et al., "Stacked what-where auto-encoders", arXiv 1506.02351.

    Args:
        channels: of the convolutions, each of which halves the image; reversed in the decoder.
        hidden: the widths of dense layers after them.
        kernel: side of the kernels: one for all, or one each; reversed in the decoder.
        padding: same, convolutions keep the size and poolings round up; or valid, no zeros are
            added and what does not fit is dropped.
    """

    point: ClassVar[bool] = True
    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = ()
    kernel: tuple[int, ...] = (3,)
    padding: str = "same"

    def latent_shape(self, latent: int, x_shape: Shape) -> Shape:
        """Return z, and all places."""
        shapes = places_of(x_shape, self.channels, self.kernel, self.padding)
        return (latent + sum(map(prod, shapes)),)

    @property
    def _how(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "padding": self.padding, **self.options}

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        latent = out_shape[0] - self.latent_shape(0, in_shape)[0]
        return UnpoolEncoder(in_shape, latent, self.channels, self.hidden, **self._how)

    def decoder(self, in_shape: Shape, out_shape: Shape, latent: int) -> nn.Module:
        """Return the mirror of the encoder; `latent` counts z and the places."""
        z = latent - self.latent_shape(0, out_shape)[0]
        net = UnpoolDecoder(in_shape, out_shape, z, self.channels, self.hidden, **self._how)
        return initialize(net, self.init)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        raise AssertionError("decoder needs to know the latent")


@register("net", "color")
@dataclass(frozen=True, kw_only=True)
class ColorNets(Nets):
    """From a gray image to color: a small U-net, or a dense map at its end.

    Args:
        channels: of the convolutions, from the finest grid to the coarsest; by default 16, 32, 64,
            128, of a dense net 10, 5.
        dense: in place of the U-net a transposed convolution, a convolution and a dense map to all
            values, whose weights grow with the fourth power of the side: 47 million at 30 x 30.
        hidden: widths of dense maps before it, with no activation between them.
        residual: whether the gray image is added to the output.
        gain: what the gray image is multiplied by where it enters, as 255 for gray levels.
    """

    channels: tuple[int, ...] | None = None
    dense: bool = False
    hidden: tuple[int, ...] = ()
    residual: bool = True
    gain: float = 1.0

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        return self._decoder(in_shape, out_shape)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        if in_shape[0] != 1 or out_shape != (3, *in_shape[1:]):
            raise VaekitError(
                f"the net color maps gray images to color, and not {in_shape} to {out_shape}: take "
                "the recipe colorizer, or another net."
            )
        how = {"dense": self.dense, "residual": self.residual, "gain": self.gain, **self.options}
        return ColorNet(in_shape[1:], self.channels, self.hidden, **how)


@register("net", "tf-tutorial", activation="relu", init="glorot", start="init")
@dataclass(frozen=True, kw_only=True)
class TutorialNets(Nets):
    """The nets of TensorFlow's tutorial on VAEs: no padding down, zeros at the end on the way up.

    Two convolutions make 28 to 13 and 6; a dense layer, two transposed convolutions that are
    cropped at the end, and one of stride 1 make 7 to 14 and 28.
    """

    def _encoder(self, in_shape: Shape, out_shape: Shape) -> nn.Module:
        grid = [(length - 3) // 4 for length in in_shape[1:]]
        if min(grid) < 1:
            raise VaekitError(f"the net tf-tutorial takes images from 7 x 7; got {in_shape}.")
        block, body = Block(**self.options), list[nn.Module]()
        for before, after in pairwise((in_shape[0], 32, 64)):
            body += block.after(nn.Conv2d(before, after, 3, 2, bias=block.bias), after)
        output = nn.Linear(64 * prod(grid), prod(out_shape))
        return Network(in_shape, out_shape, [*body, nn.Flatten()], output)

    def _decoder(self, in_shape: Shape, out_shape: Shape) -> Network:
        block, image = Block(**self.options), out_shape[1:]
        small, half = ([-(-length // share) for length in image] for share in (4, 2))
        body = [*flatten(in_shape), *block.dense((prod(in_shape), 32 * prod(small)))]
        body.append(Planes(1, (32, *small)))
        for before, after, now, then in ((32, 64, small, half), (64, 32, half, image)):
            up = nn.ConvTranspose2d(before, after, 3, 2, bias=block.bias)
            height, width = (n - 2 * m - 1 for m, n in zip(now, then, strict=True))
            body += [*block.after(up, after), nn.ZeroPad2d((0, width, 0, height))]
        output = nn.ConvTranspose2d(32, out_shape[0], 3, padding=1)
        return Network(in_shape, out_shape, body, output)
