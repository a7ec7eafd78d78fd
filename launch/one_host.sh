#!/usr/bin/env bash
# Train on this machine: a CPU, one or several GPUs, or a TPU VM of one host.
#
#   launch/one_host.sh [--accelerator cpu|gpu|tpu] [--env FOLDER] [--dry-run] -- toolrm train output=runs/a …
#
# Makes an environment (default .venv) with this project and the accelerator's JAX, unless it is there, and runs the
# command in it; an environment of this project that lacks the accelerator's JAX gets it. Where JAX does not find the
# accelerator nothing is started. A run that something else stopped with SIGTERM (a spot machine's notice, a
# maintenance) is started again from its checkpoint; Ctrl-C, or a SIGTERM to this script, stops it for good. Exit code:
# that of the command.
#
# Needs: Python 3.11 to 3.13 (PYTHON names it). Costs: nothing beyond the machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

accelerator=cpu env=.venv command=()
while (($#)); do
    case $1 in
        -h | --help) help && exit ;;
        --accelerator) accelerator=$(value "$1" "$@") || exit; shift ;;
        --env) env=$(value "$1" "$@") || exit; shift ;;
        --dry-run) DRY_RUN=1 ;;
        --) shift && command=("$@") && break ;;
        *) fail "$1: unknown option; see --help" ;;
    esac
    shift
done
((${#command[@]})) || fail "no command after --; such as -- toolrm train output=runs/a"
case $accelerator in
    cpu) extra='' platforms='' ;;
    gpu) extra='[gpu]' platforms=cuda,cpu ;;
    tpu) extra='[tpu]' platforms=tpu,cpu ;;
    *) fail "--accelerator $accelerator: expected cpu, gpu or tpu" ;;
esac
if [[ ! -x $env/bin/python ]]; then
    need "${PYTHON:-python3}" "get Python 3.11 to 3.13, or name one as PYTHON"
    step "${PYTHON:-python3}" -m venv "$env"
fi
# That toolrm is there says nothing of an accelerator's JAX: whoever made the environment may have wanted a CPU.
if [[ ! -x $env/bin/toolrm || (-n $extra && ! -e $env/toolrm-$accelerator) ]]; then
    step "$env/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$here/..$extra"
    step touch "$env/toolrm-$accelerator"
fi
if [[ -n $platforms ]]; then
    # JAX would go on with the CPU and at best warn, with JAX_PLATFORMS too where it has no plugin of that name.
    export JAX_PLATFORMS=$platforms
    said=$(step "$env/bin/python" -c "import jax; jax.devices('$accelerator')" 2>&1) ||
        fail "$env finds no $accelerator: $(tail -1 <<<"$said")"
    ((!DRY_RUN)) || printf '%s\n' "$said" >&2
fi
[[ $env == /* ]] || env=$PWD/$env
export PATH=$env/bin:$PATH

while :; do
    code=0
    DRY_RUN=1 step "${command[@]}"
    ((!DRY_RUN)) || break
    stoppable "${command[@]}" || code=$?
    ((code == 75 && !stopped)) || break
    echo "one_host.sh: stopped by a signal; going on from the last checkpoint" >&2
done
exit "$code"
