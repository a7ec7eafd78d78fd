#!/usr/bin/env bash
# A whole recipe: ask models, prepare, train, judge, export; each stage resumes, or does nothing where it is done.
#
#   launch/paper.sh --recipe balanced|outcome --model MODEL --data FOLDER --output FOLDER [options] [-- SETTING…]
#   launch/paper.sh … --on slurm -- data.rows=16
#   launch/paper.sh … --on gke --with "--image I --bucket b --tpu tpu-v6e-slice --topology 2x2" -- …
#
# SETTINGs are those of `toolrm train`. On one host the stages run one after the other, a stopped training is gone on with
# by the same call. With Slurm all stages are submitted at once, each after the one before; on Kubernetes each is a
# job set that is waited for. `balanced` follows arXiv 2510.26167, `outcome` arXiv 2509.11963.
#
# Needs: `toolrm` on PATH (launch/one_host.sh -- launch/paper.sh … brings it); the folder of public data sets that
#        docs/preference_data.md names; MODEL: a folder, GGUF file or hub id.
# Costs: docs/recipes.md has estimates of both recipes.
#
#   --pairs FILE     real wrong calls to judge on, as for `toolrm eval`
#   --synth SETTINGS first let models answer: words for `toolrm synth` (docs/synth.md), such as config=synth_servers
#   --config NAME    the training's base config, such as toolrm_b_disc_4b (default: that of `toolrm train`)
#   --on WHERE       local (default), slurm or gke        --with OPTIONS   for slurm.sh or gke.sh, in one word
#   --dry-run        print the commands, run none
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

recipe='' model='' data='' output='' pairs='' config='' synth='' where=local with='' settings=()
while (($#)); do
    case $1 in
        -h | --help) help && exit ;;
        --recipe) recipe=$(value "$1" "$@") || exit; shift ;;
        --model) model=$(value "$1" "$@") || exit; shift ;;
        --data) data=$(value "$1" "$@") || exit; shift ;;
        --output) output=$(value "$1" "$@") || exit; shift ;;
        --pairs) pairs=$(value "$1" "$@") || exit; shift ;;
        --synth) synth=$(value "$1" "$@") || exit; shift ;;
        --config) config=$(value "$1" "$@") || exit; shift ;;
        --on) where=$(value "$1" "$@") || exit; shift ;;
        --with) with=$2 && shift ;;
        --dry-run) DRY_RUN=1 ;;
        --) shift && settings=("$@") && break ;;
        *) fail "$1: unknown option; see --help" ;;
    esac
    shift
done
[[ $recipe == balanced || $recipe == outcome ]] || fail "--recipe ${recipe:-(none)}: expected balanced or outcome"
for needed in model data output; do [[ -n ${!needed} ]] || fail "--$needed is not given"; done
[[ $where == local || $where == slurm || $where == gke ]] || fail "--on $where: expected local, slurm or gke"
read -ra with <<<"$with"
dry=()
((!DRY_RUN)) || dry=(--dry-run)

before='' number=0
# One stage: `stage NAME COMMAND…`.
stage() {
    local name=$1 code=0
    shift
    case $where in
        local)
            step "$@" || code=$?
            ((code != 75)) || { echo "paper.sh: stopped by a signal; the same call goes on" >&2 && exit 75; }
            ((code == 0)) || fail "$name failed (code $code); mend it and make the same call again"
            ;;
        slurm)
            before=$("$here/slurm.sh" --name "$recipe-$name" ${before:+--after "$before"} ${with[@]+"${with[@]}"} \
                ${dry[@]+"${dry[@]}"} -- "$@") || exit
            ((DRY_RUN)) || echo "$name: job $before"
            ((!DRY_RUN)) || before=$((++number))
            ;;
        gke)
            "$here/gke.sh" run "$recipe-$name" ${with[@]+"${with[@]}"} --wait \
                ${dry[@]+"${dry[@]}"} -- "$@"
            ;;
    esac
}

answers=()
if [[ -n $synth ]]; then
    read -ra words <<<"$synth"
    stage synth toolrm synth "${words[@]}" "output=$output/answers"
    folder=$output/answers/groups
    [[ $folder == /* ]] || folder=$PWD/$folder
    answers=("data.answers=$folder")
fi
stage prepare toolrm prepare "config=data/$recipe" "output=$output/data" "data.folder=$data" ${answers[@]+"${answers[@]}"}
stage train toolrm train ${config:+"config=$config"} "output=$output/run" "model.path=$model" \
    "data.train=$output/data/train" "data.held_out=$output/data/held_out" ${settings[@]+"${settings[@]}"}
stage eval toolrm eval "model=$output/run" "output=$output/eval" "held_out=$output/data/held_out" "backbone=$model" \
    ${pairs:+"pairs=$pairs"}
# shellcheck disable=SC2016
# A folder that is there is left as it is: it came from the same run.
stage export bash -c 'test -f "$2/toolrm.json" || exec toolrm export "checkpoint=$1" "output=$2"' export \
    "$output/run" "$output/model"
