#!/usr/bin/env bash
# Train on this machine: a CPU, one or several GPUs, or a TPU VM of one host.
#
#   launch/one_host.sh [--accelerator cpu|gpu|tpu] [--env FOLDER] [--dry-run] -- toolrm train output=runs/a …
#
# Makes an environment (default .venv) with this project and the accelerator's JAX, unless it is there, and runs the
# command in it. A run that something else stopped with SIGTERM (a spot machine's notice, a maintenance) is started
# again from its checkpoint; Ctrl-C, or a SIGTERM to this script, stops it for good. Exit code: that of the command.
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
    cpu) project=$here/.. ;;
    gpu | tpu) project="$here/..[$accelerator]" ;;
    *) fail "--accelerator $accelerator: expected cpu, gpu or tpu" ;;
esac
if [[ ! -x $env/bin/toolrm ]]; then
    need "${PYTHON:-python3}" "get Python 3.11 to 3.13, or name one as PYTHON"
    step "${PYTHON:-python3}" -m venv "$env"
    step "$env/bin/python" -m pip install --quiet --disable-pip-version-check "$project"
fi
[[ $env == /* ]] || env=$PWD/$env
export PATH=$env/bin:$PATH

stop=0 child=''
trap 'stop=1; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' INT TERM
while :; do
    code=0
    DRY_RUN=1 step "${command[@]}"
    ((!DRY_RUN)) || break
    # In a group of its own: Ctrl-C reaches it once, through the trap, and not a second time, which would end it at once.
    set -m
    "${command[@]}" &
    set +m
    child=$!
    while code=0; wait "$child" || code=$?; kill -0 "$child" 2>/dev/null; do :; done
    ((code == 75 && !stop)) || break
    echo "one_host.sh: stopped by a signal; going on from the last checkpoint" >&2
done
exit "$code"
