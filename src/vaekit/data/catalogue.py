"""The data sets known by name."""

from __future__ import annotations

from functools import partial

from vaekit.data import binarized, files, omniglot, small, sprites
from vaekit.data.digits import load_digits
from vaekit.data.entry import Entry, Form
from vaekit.data.mnist import read_idx_set
from vaekit.data.shapes import load_shapes

DIGITS = tuple("0123456789")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
NOT_STATED = "not stated"

ENTRIES = (
    Entry(
        "digits", "grey", (1, 8, 8), (1497, 300), 10,
        "Optical recognition of handwritten digits, UCI; the copy inside scikit-learn",
        "CC BY 4.0",
        make=load_digits,
    ),
    Entry(
        "shapes", "binary", (1, 32, 32), (3456, 384), 3,
        "Generated squares, ellipses and triangles with known factors",
        "none needed",
        make=load_shapes,
    ),
    Entry(
        "mnist", "grey", (1, 28, 28), (60000, 10000), 10,
        "MNIST, LeCun, Bottou, Bengio, Haffner 1998",
        NOT_STATED,
        (Form(files.MNIST, partial(read_idx_set, class_names=DIGITS)),),
    ),
    Entry(
        "fashion-mnist", "grey", (1, 28, 28), (60000, 10000), 10,
        "Fashion-MNIST, Xiao, Rasul, Vollgraf, arXiv 1708.07747",
        "MIT",
        (Form(files.FASHION_MNIST, partial(read_idx_set, class_names=CLOTHES)),),
    ),
    Entry(
        "binarized-mnist", "binary", (1, 28, 28), (50000, 10000), 0,
        "MNIST in the fixed binarization of Larochelle and Murray 2011, "
        "after Salakhutdinov and Murray 2008",
        NOT_STATED,
        (
            Form((files.PACKED_MNIST,), binarized.read_packed),
            Form(files.AMAT_FILES, binarized.read_amat),
        ),
        validation=10000,
    ),
    Entry(
        "omniglot-28", "grey", (1, 28, 28), (19280, 13180), 50,
        "Omniglot, Lake, Salakhutdinov, Tenenbaum 2015, area-averaged from 105 x 105; "
        "not the 28 x 28 file of Burda et al. 2015",
        "MIT",
        (
            Form((files.OMNIGLOT_28,), omniglot.read_npz),
            Form(files.OMNIGLOT_ZIPS, omniglot.read_small_archives),
        ),
    ),
    Entry(
        "omniglot", "binary", (1, 105, 105), (19280, 13180), 50,
        "Omniglot, Lake, Salakhutdinov, Tenenbaum 2015, in its own size",
        "MIT",
        (
            Form((files.OMNIGLOT_105,), omniglot.read_npz),
            Form(files.OMNIGLOT_ZIPS, omniglot.read_archives),
        ),
    ),
    Entry(
        "frey-faces", "grey", (1, 28, 20), (1765, 200), 0,
        "Frey faces, video frames of one face, B. Frey and S. Roweis; "
        "from GitHub jmtomczak/vae_vampprior, datasets/Freyfaces",
        NOT_STATED,
        (Form((files.FREY_FACES,), small.read_faces),),
    ),
    Entry(
        "dsprites-66k", "binary", (1, 64, 64), (58351, 6483), 3,
        "64,834 of the dSprites, Matthey, Higgins, Hassabis, Lerchner 2017; "
        "from GitHub colleenjg/neuromatch_ssl_tutorial, dsprites",
        "Apache-2.0",
        (Form((files.DSPRITES_66K,), sprites.read_sample),),
    ),
    Entry(
        "dsprites", "binary", (1, 64, 64), (663552, 73728), 3,
        "dSprites, Matthey, Higgins, Hassabis, Lerchner 2017",
        "Apache-2.0",
        (Form((files.DSPRITES,), sprites.read_sprites),),
    ),
    Entry(
        "cifar10-5k", "colour", (3, 32, 32), (4000, 1000), 10,
        "The first 4,000 training and 1,000 test images of CIFAR-10, Krizhevsky 2009; "
        "from GitHub karpathy/convnetjs and larrabeew/covnetJS, demo/cifar10",
        NOT_STATED,
        (Form((files.CIFAR10_5K,), small.read_cifar10_part),),
    ),
    Entry(
        "cifar10", "colour", (3, 32, 32), (50000, 10000), 10,
        "CIFAR-10, Krizhevsky 2009",
        NOT_STATED,
        (Form((files.CIFAR10,), small.read_cifar10),),
    ),
    Entry(
        "emoji-64", "colour", (3, 64, 64), (1301, 144), 0,
        "Noto color emoji over white, reduced from 128 x 128; from GitHub googlefonts/noto-emoji",
        "Apache-2.0",
        (Form((files.NOTO_EMOJI,), small.read_emoji),),
    ),
    Entry(
        "mouse-bladder", "counts", (20670,), (1890, 210), 16,
        "RNA counts of 2,100 mouse bladder cells, Han et al., Cell 172, 2018; "
        "from GitHub ttgump/scDeepCluster, scRNA-seq data",
        "Apache-2.0",
        (Form((files.MOUSE_BLADDER,), small.read_counts),),
    ),
)  # fmt: skip

# A new set is one entry: what it is, its files, and a function that reads them.
SETS: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}
