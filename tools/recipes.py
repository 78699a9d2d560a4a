"""Writes the table of recipes of README.md and README.zh-CN.md from the registry.

And how many there are, in their tables of projects and in docs/compared.md.

python tools/recipes.py
"""

from __future__ import annotations

import re
from pathlib import Path

from vaekit.recipes import find_recipe, names

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- recipes -->\n", "<!-- end recipes -->\n"
HEAD = {
    "README.md": "| recipe | what it is | paper |\n|---|---|---|\n",
    "README.zh-CN.md": "| 配方 | 是什么 | 论文 |\n|---|---|---|\n",
}
COUNTED = {  # what stands before the number of recipes
    "README.md": r"(\| models \| )\d+",
    "README.zh-CN.md": r"(\| 模型数 \| )\d+",
    "docs/compared.md": r"(## Models\n(?:.*\n)*?\| vaekit \| )\d+",
}
# The first sentence of a recipe in Chinese; one that is not here yet stands in English.
CHINESE = {
    "ae": "普通的自编码器：每张图像编码为一个点，没有可供采样的先验，也没有下界",
    "wae_mmd": "Wasserstein 自编码器：每张图像一个点，所有的点合起来服从先验（用 MMD 衡量）",
    "swae": "用切片距离的 Wasserstein 自编码器：比较排序后的投影，不用核函数",
    "rae_l2": "编码小、权重也小的自编码器：由事后拟合的编码密度采样",
    "rae_gp": "解码器保持平滑的自编码器：由事后拟合的编码密度采样",
    "vae": "变分自编码器：高斯后验，用 ELBO 训练",
    "beta_vae": "给 KL 项加权的 VAE：隐变量携带的信息更少，但每一维的含义更清楚",
    "capacity_vae": "KL 被拉向一个逐渐增大的容量的 VAE：各维依次启用",
    "beta_tc_vae": "给各维之间共有的信息加权的 VAE：各维变得独立，损失的信息很少",
    "dip_vae": "编码互不相关的 VAE：编码在数据上的协方差被拉向先验的协方差",
    "info_vae": "再用核函数让所有编码合起来服从先验的 VAE",
    "cvae": "知道标签的 VAE：可以指定要哪一类，编码里留下标签之外的内容",
    "sigma_vae": "高斯似然自动取最优的共享 σ 的 VAE：没有权重要调",
    "iwae": "用重要性加权下界训练的 VAE：每张图像抽样几次，下界更紧",
    "miwae": "用几个重要性加权下界的平均来训练的 VAE：编码器学得更好",
    "ciwae": "用重要性加权下界与一部分 ELBO 训练的 VAE",
    "piwae": "解码器用一个更紧的下界、编码器用几个较松的下界训练的 VAE",
    "dreg_iwae": "用重要性加权下界训练的 VAE，编码器的梯度噪声更小",
    "renyi_vae": "用 Rényi 下界训练的 VAE：介于 ELBO 与重要性加权下界之间",
    "factor_vae": "给总相关加价的 VAE，总相关由一个判别器估计：各维彼此分开",
    "aae": "编码与先验的样本让判别器无法分辨的自编码器：可以采样",
    "vae_gan": "比较判别器的特征而不是像素、并骗过判别器的 VAE",
    "fsq_vae": "离散编码的自编码器：数值取整到少数几级，没有会失效的编码",
    "vq_vae": "离散编码的自编码器：取码本中最近的向量，码本由损失学习",
    "vq_vae_ema": "离散编码的自编码器：码本跟随其向量的滑动平均",
    "residual_vq": "由粗到细的离散编码的自编码器；用 --latent 1 时它们是一行数据的语义 ID",
    "colorizer": "把 VAE 生成的灰度图像变成彩色的网络，由 `vaekit colorize` 使用",
    "unpool_ae": "带最大池化的自编码器，解码器知道每个最大值原来的位置：不是 VAE",
}
# A text names its paper up to the arXiv number or the year: 'Burda et al., "...", arXiv 1509.00519'
PAPER = re.compile(r"(?:^|(?<=\. ))([A-Z][^.]*?(?:et al\.[^.]*?)?(?:arXiv \d{4}\.\d{4,5}|\d{4}\b))")


def paper(text: str) -> str:
    """The paper that a recipe's text names, with a link where it is on arXiv, or nothing.

    Example:
        >>> paper('More. Burda et al., "IWAE", arXiv 1509.00519. A scale.')
        'Burda et al., "IWAE", [arXiv 1509.00519](https://arxiv.org/abs/1509.00519)'
    """
    found = PAPER.search(text)
    link = r"[arXiv \1](https://arxiv.org/abs/\1)"
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", link, found[1]) if found else ""


def table(page: str) -> str:
    """A row for each recipe of vaekit's own, in the order of `vaekit recipes`."""
    lines = []
    for name in names():
        entry = find_recipe(name)
        title = entry.title.rstrip(".")
        if page != "README.md":
            title = CHINESE.get(name, title)
        lines.append(f"| `{name}` | {title} | {paper(entry.text)} |\n")
    return HEAD[page] + "".join(lines)


def written(page: str) -> str:
    """The page with its table and the number of recipes as they should be."""
    text = (ROOT / page).read_text()
    if page in HEAD:
        before, _, rest = text.partition(BEGIN)
        text = before + BEGIN + table(page) + END + rest.partition(END)[2]
    return re.sub(COUNTED[page], rf"\g<1>{len(names())}", text, count=1)


def main() -> None:
    """Writes the pages."""
    for page in COUNTED:
        (ROOT / page).write_text(written(page))


if __name__ == "__main__":
    main()
