#!/bin/sh
# Makes the virtual environment $1 by $PYTHON, unless it is there. What is missing is said in one
# line, before anything is fetched.
set -eu

venv=$1 python=${PYTHON:-python3} least="3.11"

refuse() {
  echo "$*" >&2
  exit 1
}

new_enough() {
  "$1" -c "import sys; sys.exit(sys.version_info[:2] < (${least%.*}, ${least#*.}))"
}

version() {
  "$1" -c 'import sys; print("%d.%d" % tuple(sys.version_info[:2]))'
}

if [ -x "$venv/bin/python" ]; then
  new_enough "$venv/bin/python" || refuse "$venv is of Python $(version "$venv/bin/python"), and" \
    "vaekit needs $least or newer: remove it (rm -r $venv), and name another as PYTHON=python3.12."
  "$venv/bin/python" -m pip --version > /dev/null 2>&1 ||
    refuse "$venv is half-made, it has no pip: remove it (rm -r $venv), and run make again."
  exit 0
fi
"$python" -c "" 2> /dev/null ||
  refuse "there is no $python that runs: install Python $least, or name one as PYTHON=python3.12."
new_enough "$python" || refuse "$python is Python $(version "$python"), and vaekit needs $least or" \
  "newer: name another, as make PYTHON=python3.12."
"$python" -c 'import ensurepip, venv' 2> /dev/null ||
  refuse "$python lacks the modules venv and ensurepip: install them (on Debian and Ubuntu:" \
    "apt install python$(version "$python")-venv), or name another Python, as PYTHON=python3.12."
"$python" -m venv "$venv" || { rm -rf "$venv"; refuse "$python could not make $venv: see above."; }
