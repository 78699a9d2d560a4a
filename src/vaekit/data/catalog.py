"""The data sets known by name, and their files: checksums, and where they can be downloaded.

An address is here only where a public source states it, with a checksum; that source is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vaekit.data import mnist, omniglot, small
from vaekit.data.entry import Entry, File, Form, Parts
from vaekit.data.shapes import load_shapes

# In the order of IDX_FILES: the sha256 of a file, then of what is in it.
MNIST_SUMS = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
FASHION_SUMS = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
# As sha256sum writes them.
_SUMS = """\
ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d  binarized_mnist_train.amat
1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2  binarized_mnist_valid.amat
e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c  binarized_mnist_test.amat
ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640  images_background.zip
1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee  images_evaluation.zip
e84abb35b1ed053c1a0b4c09438ee1d1dca9cfc70ce2069a166236c10ffcecc4  binarized_mnist.npz
f6c4079f6825176c7811aedcf68f66e98662559e795aea8ab3b7e455e2cdc3d5  omniglot_28.npz
99de1876202a25fd1a8d7eac2f5bb9e90edc7af82afb0ef133cd03470ca097e8  omniglot_105_bits.npz
3c70375e0a9c4751ad49ad5f1f692bd094c46f133cf4aa8ea77d1cb14e1efcd1  freyfaces.npz
464937040dcdc298e0a6b9a24721226bbf327174df2ffebb9f49324d35153fd6  dsprites_66k.npz
09fb0e89aea0b4f6666acd1608545952484d08bd5c47b6ccd60d21754cb4756a  cifar10_5000.npz
c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd  cifar-10-binary.tar.gz
eee982286614d8ceafaec05f41030d68ada36d2c4bdd5687c366ae1778a347a5  noto_emoji_64.npz
a38c9cd757e646a88d4ff8934b28c2c9da3b9871a96404e04fffe2b57c06ca25  mouse_bladder_counts.npz
md5:7da33b31b13a06f4b04a70402ce90c2e  dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz
"""
SUMS = {name: total for total, name in map(str.split, _SUMS.splitlines())}
# tensorflow/datasets, url_checksums/mnist.txt; pytorch/vision, datasets/mnist.py (the second).
MNIST_AT = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# README of zalandoresearch/fashion-mnist; tensorflow/datasets, url_checksums/fashion_mnist.txt.
FASHION_AT = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
# tensorflow/datasets, url_checksums/binarized_mnist.txt.
AMAT_AT = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
# tensorflow/datasets, url_checksums/omniglot.txt; pytorch/vision, datasets/omniglot.py.
OMNIGLOT_AT = "https://github.com/brendenlake/omniglot/raw/master/python/"
# Address and md5 together: BoevaLab/latte, latte/dataset/dsprites.py, and several more.
DSPRITES_AT = "https://github.com/deepmind/dsprites-dataset/raw/master/"
# tensorflow/datasets, url_checksums/cifar10.txt.
CIFAR10_AT = "https://www.cs.toronto.edu/~kriz/"
AMAT = tuple(f"binarized_mnist_{part}.amat" for part in ("train", "valid", "test"))
OMNIGLOT_ZIPS = ("images_background.zip", "images_evaluation.zip")
DSPRITES = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
DIGITS = tuple("0123456789")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
NOT_STATED = "not stated"


def _idx(folder: str, at: Sequence[str], sums: Sequence[str], names: tuple[str, ...]) -> Form:
    files = (
        File(f"{folder}/{name}", zipped, tuple(start + name for start in at), plain)
        for name, zipped, plain in zip(mnist.IDX_FILES, sums[::2], sums[1::2], strict=True)
    )
    return Form(tuple(files), partial(mnist.read_idx_set, class_names=names))


def _form(
    read: Callable[[Sequence[Path]], Parts], folder: str, *names: str, at: str | None = None
) -> Form:
    files = (File(f"{folder}/{name}", SUMS[name], (at + name,) if at else ()) for name in names)
    return Form(tuple(files), read)


ENTRIES = (
    Entry(
        "digits", "gray", (1, 8, 8), (1497, 300), 10,
        "Optical recognition of handwritten digits, UCI; the copy inside scikit-learn",
        "CC BY 4.0",
        make=small.load_digits,
    ),
    Entry(
        "shapes", "binary", (1, 32, 32), (3456, 384), 3,
        "Generated squares, ellipses and triangles with known factors",
        "none needed",
        make=load_shapes,
    ),
    Entry(
        "mnist", "gray", (1, 28, 28), (60000, 10000), 10,
        "MNIST, LeCun, Bottou, Bengio, Haffner 1998",
        NOT_STATED,
        (_idx("mnist", MNIST_AT, MNIST_SUMS, DIGITS),),
    ),
    Entry(
        "fashion-mnist", "gray", (1, 28, 28), (60000, 10000), 10,
        "Fashion-MNIST, Xiao, Rasul, Vollgraf, arXiv 1708.07747",
        "MIT",
        (_idx("fashion_mnist", FASHION_AT, FASHION_SUMS, CLOTHES),),
    ),
    Entry(
        "binarized-mnist", "binary", (1, 28, 28), (50000, 10000), 0,
        "MNIST in the fixed binarization of Larochelle and Murray 2011, "
        "after Salakhutdinov and Murray 2008",
        NOT_STATED,
        (
            _form(mnist.read_packed, "binarized_mnist", "binarized_mnist.npz"),
            _form(mnist.read_amat, "binarized_mnist", *AMAT, at=AMAT_AT),
        ),
        validation=10000,
    ),
    Entry(
        "omniglot-28", "gray", (1, 28, 28), (19280, 13180), 50,
        "Omniglot, Lake, Salakhutdinov, Tenenbaum 2015, area-averaged from 105 x 105; "
        "not the 28 x 28 file of Burda et al. 2015",
        "MIT",
        (
            _form(omniglot.read_npz, "omniglot", "omniglot_28.npz"),
            _form(omniglot.read_small_archives, "omniglot", *OMNIGLOT_ZIPS, at=OMNIGLOT_AT),
        ),
    ),
    Entry(
        "omniglot", "binary", (1, 105, 105), (19280, 13180), 50,
        "Omniglot, Lake, Salakhutdinov, Tenenbaum 2015, in its own size",
        "MIT",
        (
            _form(omniglot.read_npz, "omniglot", "omniglot_105_bits.npz"),
            _form(omniglot.read_archives, "omniglot", *OMNIGLOT_ZIPS, at=OMNIGLOT_AT),
        ),
    ),
    Entry(
        "frey-faces", "gray", (1, 28, 20), (1765, 200), 0,
        "Frey faces, video frames of one face, B. Frey and S. Roweis; "
        "from GitHub jmtomczak/vae_vampprior, datasets/Freyfaces",
        NOT_STATED,
        (_form(small.read_faces, "frey_faces", "freyfaces.npz"),),
    ),
    Entry(
        "dsprites-66k", "binary", (1, 64, 64), (58351, 6483), 3,
        "64,834 of the dSprites, Matthey, Higgins, Hassabis, Lerchner 2017; "
        "from GitHub colleenjg/neuromatch_ssl_tutorial, dsprites",
        "Apache-2.0",
        (_form(small.read_sample, "dsprites", "dsprites_66k.npz"),),
    ),
    Entry(
        "dsprites", "binary", (1, 64, 64), (663552, 73728), 3,
        "dSprites, Matthey, Higgins, Hassabis, Lerchner 2017",
        "Apache-2.0",
        (_form(small.read_sprites, "dsprites", DSPRITES, at=DSPRITES_AT),),
    ),
    Entry(
        "cifar10-5k", "color", (3, 32, 32), (4000, 1000), 10,
        "The first 4,000 training and 1,000 test images of CIFAR-10, Krizhevsky 2009; "
        "from GitHub karpathy/convnetjs and larrabeew/covnetJS, demo/cifar10",
        NOT_STATED,
        (_form(small.read_cifar10_part, "cifar10_subset", "cifar10_5000.npz"),),
    ),
    Entry(
        "cifar10", "color", (3, 32, 32), (50000, 10000), 10,
        "CIFAR-10, Krizhevsky 2009",
        NOT_STATED,
        (_form(small.read_cifar10, "cifar10", "cifar-10-binary.tar.gz", at=CIFAR10_AT),),
    ),
    Entry(
        "emoji-64", "color", (3, 64, 64), (1301, 144), 0,
        "Noto color emoji over white, reduced from 128 x 128; from GitHub googlefonts/noto-emoji",
        "Apache-2.0",
        (_form(small.read_emoji, "noto_emoji", "noto_emoji_64.npz"),),
    ),
    Entry(
        "mouse-bladder", "counts", (20670,), (1890, 210), 16,
        "RNA counts of 2,100 mouse bladder cells, Han et al., Cell 172, 2018; "
        "from GitHub ttgump/scDeepCluster, scRNA-seq data",
        "Apache-2.0",
        (_form(small.read_counts, "mouse_bladder", "mouse_bladder_counts.npz"),),
    ),
)  # fmt: skip

# A new set is one entry: what it is, its files, and a function that reads them.
SETS: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}
