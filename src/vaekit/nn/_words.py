"""Layers in words: `convolution 3 x 3, stride 2, padding 1`.

What is said of a layer are phrases, each a form and what fills it in, so that a page says it in its
own language: `("stride {}", "2")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from vaekit.nn._network import LogCounts, Planes
from vaekit.nn.blocks import LatentDropout, Scaled
from vaekit.nn.patch import Patches, SubPixel
from vaekit.nn.residual import Residual

Phrase = tuple[str, ...]
SIDES = ("left {}", "right {}", "top {}", "bottom {}")  # in the order of nn.ZeroPad2d


def in_words(phrases: Iterable[Phrase], say: Callable[[str], str] = str) -> str:
    """Return phrases as a text, in a language.

    Example:
        >>> in_words([("convolution {}", "3 x 3"), ("stride {}", "2")])
        'convolution 3 x 3, stride 2'
    """
    return say(", ").join(say(form).format(*values) for form, *values in phrases)


def times(sizes: Iterable[Any]) -> str:
    """Return a shape in words.

    Example:
        >>> times((32, 14, 14))
        '32 x 14 x 14'
    """
    return " x ".join(map(str, sizes))


def layer_phrases(module: nn.Module) -> list[Phrase]:
    """Return what a layer is: in words where it is known, else its class and what it prints.

    Example:
        >>> in_words(layer_phrases(nn.Conv2d(1, 8, (3, 5), 2, padding=1, bias=False)))
        'convolution 3 x 5, stride 2, padding 1, no bias'
        >>> in_words(layer_phrases(nn.ConvTranspose2d(8, 1, 4)))
        'transposed convolution 4 x 4'
        >>> in_words(layer_phrases(nn.LeakyReLU(0.2)))
        'leaky ReLU, slope 0.2'
        >>> in_words(layer_phrases(nn.Bilinear(2, 3, 4)))
        'Bilinear (in1_features=2, in2_features=3, out_features=4, bias=True)'
    """
    known = _KNOWN.get(type(module))
    if known is not None:
        return list(known(module))
    more = module.extra_repr()
    return [("{}", f"{type(module).__name__} {f'({more})' if more else ''}".rstrip())]


def is_whole(module: nn.Module) -> bool:
    """Return whether a module is one layer to a reader, whatever it is made of.

    Example:
        >>> is_whole(LatentDropout(2, 0.5)), is_whole(nn.Sequential(nn.ReLU()))
        (True, False)
    """
    return type(module) in _KNOWN and not isinstance(module, LogCounts)


def _said(*phrases: Phrase) -> Callable[[Any], Sequence[Phrase]]:
    """Return what says the same of every layer of a class."""
    return lambda _: phrases


def _one(value: Any) -> str:
    """Return a size once where it is the same along all axes.

    Example:
        >>> _one((2, 2)), _one((2, 1)), _one("same")
        ('2', '2 x 1', 'same')
    """
    if not isinstance(value, tuple):
        return str(value)
    return str(value[0]) if len(set(value)) == 1 else times(value)


def _options(module: nn.Module, usual: dict[str, tuple[str, Any]]) -> Iterator[Phrase]:
    """Yield a phrase for each option, by its attribute, that is not as usual."""
    for name, (form, default) in usual.items():
        if (value := _one(getattr(module, name))) != str(default):
            yield form, value


def _dense(layer: Any) -> Iterator[Phrase]:
    yield ("dense",)
    if layer.bias is None:
        yield ("no bias",)


def _convolution(layer: Any) -> Iterator[Phrase]:
    form = "transposed convolution {}" if layer.transposed else "convolution {}"
    yield form, times(layer.kernel_size)
    yield from _options(
        layer,
        {
            "stride": ("stride {}", 1),
            "padding": ("padding {}", 0),
            "output_padding": ("output padding {}", 0),
            "padding_mode": ("padding of {}", "zeros"),
            "dilation": ("dilation {}", 1),
            "groups": ("{} groups", 1),
        },
    )
    if layer.bias is None:
        yield ("no bias",)


def _sub_pixel(layer: SubPixel) -> Iterator[Phrase]:
    yield "sub-pixel convolution {}", times(layer.kernel_size)
    yield from _options(layer, {"padding": ("padding {}", 0)})
    yield "to {} pixels", times((layer.side, layer.side))


def _pooling(form: str) -> Callable[[Any], Iterator[Phrase]]:
    def phrases(layer: Any) -> Iterator[Phrase]:
        sides = layer.kernel_size
        yield form, times(sides if isinstance(sides, tuple) else (sides, sides))
        default = {"stride": ("stride {}", _one(sides)), "padding": ("padding {}", 0)}
        yield from _options(layer, default)
        if layer.ceil_mode:
            yield ("rounded up",)

    return phrases


def _zeros(layer: nn.ZeroPad2d) -> Iterator[Phrase]:
    sides: Any = layer.padding
    if len(set(sides)) == 1:
        yield "zero padding {}", str(sides[0])
        return
    yield ("zero padding",) if min(sides) >= 0 else ("crop",)
    yield from ((form, str(abs(n))) for form, n in zip(SIDES, sides, strict=True) if n)


def _upsampling(layer: nn.Upsample) -> Iterator[Phrase]:
    grown = layer.scale_factor
    by = f"{grown:g}" if isinstance(grown, float) else _one(grown)
    yield ("upsampling to {}", _one(layer.size)) if grown is None else ("upsampling by {}", by)
    yield "{}", layer.mode


_KNOWN: dict[type[nn.Module], Callable[[Any], Iterable[Phrase]]] = {
    nn.Linear: _dense,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _said(("batch norm",))),
    nn.LayerNorm: _said(("layer norm",)),
    nn.GroupNorm: lambda layer: [("group norm",), ("{} groups", str(layer.num_groups))],
    nn.GLU: _said(("gate",)),
    Residual: _said(("residual block",)),
    Patches: lambda layer: [("patches {}", times((layer.side, layer.side)))],
    SubPixel: _sub_pixel,
    nn.LeakyReLU: lambda layer: [("leaky ReLU",), ("slope {}", f"{layer.negative_slope:g}")],
    **{each: _said(("{}", each.__name__)) for each in (nn.ReLU, nn.GELU, nn.SiLU, nn.ELU)},
    **{each: _said(("{}", each.__name__.lower())) for each in (nn.Tanh, nn.Sigmoid, nn.Softplus)},
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d), lambda layer: [("dropout {}", f"{layer.p:g}")]
    ),
    LatentDropout: lambda layer: [("dropout {} of z", f"{layer.drop.p:g}")],
    Scaled: lambda layer: [("times {}", f"{layer.by:.3g}")],
    LogCounts: _said(("log(1 + x)",)),
    nn.Flatten: _said(("flatten",)),
    **dict.fromkeys((nn.Unflatten, Planes), _said(("unflatten",))),
    nn.MaxPool2d: _pooling("max-pooling {}"),
    nn.AvgPool2d: _pooling("average pooling {}"),
    nn.ZeroPad2d: _zeros,
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d), _upsampling),
}
