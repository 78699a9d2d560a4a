#!/bin/sh
# Writes constraints.txt: the versions that an empty environment gets today, without any address.
set -eu
python=${PYTHON:-python3}
torch=${TORCH:?the torch version to pin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check"
index=${TORCH_INDEX:+--extra-index-url $TORCH_INDEX}
# shellcheck disable=SC2086
$pip install --quiet $index "torch==$torch+cpu" 2>/dev/null || {
  echo "no CPU build of torch $torch was found; taking the plain one (several GB on Linux)"
  $pip install --quiet $index "torch==$torch"
}
# shellcheck disable=SC2086
$pip install --quiet $index "torch==$torch" -e ".[dev]"
{
  echo "# Versions known to work together; renewed by 'make lock'."
  $pip freeze --exclude-editable --exclude pip --exclude setuptools |
    sed -e 's/^torch==.*/torch=='"$torch"'/' -e 's/ @ .*//' | grep '==' | grep -iv '^nvidia\|^triton\|^cuda' | sort -f
} > constraints.new
mv constraints.new constraints.txt
echo "wrote constraints.txt ($(grep -c '==' constraints.txt) versions)"
