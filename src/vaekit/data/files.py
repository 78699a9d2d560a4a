"""The files of the named data sets: their checksums, and where they can be downloaded.

An address is here only where a public source states it, with a checksum; that source is named.
"""

from __future__ import annotations

from vaekit.data.entry import File
from vaekit.data.mnist import IDX_FILES

# In the order of IDX_FILES: the sha256 of the file, and of what is in it.
MNIST_SUMS = (
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION_SUMS = (
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

# tensorflow/datasets, url_checksums/mnist.txt; pytorch/vision, datasets/mnist.py (the second).
MNIST_AT = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# README of zalandoresearch/fashion-mnist; tensorflow/datasets, url_checksums/fashion_mnist.txt.
FASHION_AT = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
# tensorflow/datasets, url_checksums/binarized_mnist.txt.
AMAT_AT = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
AMAT_SUMS = {
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}
# tensorflow/datasets, url_checksums/omniglot.txt; pytorch/vision, datasets/omniglot.py.
OMNIGLOT_AT = "https://github.com/brendenlake/omniglot/raw/master/python/"
OMNIGLOT_SUMS = {
    "background": "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    "evaluation": "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
}


def _idx(folder: str, at: tuple[str, ...], sums: tuple[tuple[str, str], ...]) -> tuple[File, ...]:
    return tuple(
        File(f"{folder}/{name}", zipped, tuple(f"{start}{name}" for start in at), plain)
        for name, (zipped, plain) in zip(IDX_FILES, sums, strict=True)
    )


MNIST = _idx("mnist", MNIST_AT, MNIST_SUMS)
FASHION_MNIST = _idx("fashion_mnist", FASHION_AT, FASHION_SUMS)
AMAT_FILES = tuple(
    File(f"binarized_mnist/{name}", total, (f"{AMAT_AT}{name}",))
    for name, total in ((f"binarized_mnist_{part}.amat", s) for part, s in AMAT_SUMS.items())
)
OMNIGLOT_ZIPS = tuple(
    File(f"omniglot/{name}", total, (f"{OMNIGLOT_AT}{name}",))
    for name, total in ((f"images_{part}.zip", s) for part, s in OMNIGLOT_SUMS.items())
)
PACKED_MNIST = File(
    "binarized_mnist/binarized_mnist.npz",
    "e84abb35b1ed053c1a0b4c09438ee1d1dca9cfc70ce2069a166236c10ffcecc4",
)
OMNIGLOT_28 = File(
    "omniglot/omniglot_28.npz",
    "f6c4079f6825176c7811aedcf68f66e98662559e795aea8ab3b7e455e2cdc3d5",
)
OMNIGLOT_105 = File(
    "omniglot/omniglot_105_bits.npz",
    "99de1876202a25fd1a8d7eac2f5bb9e90edc7af82afb0ef133cd03470ca097e8",
)
FREY_FACES = File(
    "frey_faces/freyfaces.npz",
    "3c70375e0a9c4751ad49ad5f1f692bd094c46f133cf4aa8ea77d1cb14e1efcd1",
)
DSPRITES_66K = File(
    "dsprites/dsprites_66k.npz",
    "464937040dcdc298e0a6b9a24721226bbf327174df2ffebb9f49324d35153fd6",
)
# Address and md5 together: BoevaLab/latte, latte/dataset/dsprites.py, and several more.
DSPRITES_NPZ = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
DSPRITES = File(
    f"dsprites/{DSPRITES_NPZ}",
    "md5:7da33b31b13a06f4b04a70402ce90c2e",
    (f"https://github.com/deepmind/dsprites-dataset/raw/master/{DSPRITES_NPZ}",),
)
CIFAR10_5K = File(
    "cifar10_subset/cifar10_5000.npz",
    "09fb0e89aea0b4f6666acd1608545952484d08bd5c47b6ccd60d21754cb4756a",
)
# tensorflow/datasets, url_checksums/cifar10.txt.
CIFAR10 = File(
    "cifar10/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
NOTO_EMOJI = File(
    "noto_emoji/noto_emoji_64.npz",
    "eee982286614d8ceafaec05f41030d68ada36d2c4bdd5687c366ae1778a347a5",
)
MOUSE_BLADDER = File(
    "mouse_bladder/mouse_bladder_counts.npz",
    "a38c9cd757e646a88d4ff8934b28c2c9da3b9871a96404e04fffe2b57c06ca25",
)
