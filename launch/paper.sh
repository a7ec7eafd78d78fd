#!/usr/bin/env bash
# A whole recipe: ask models, prepare, train, judge, export; each stage resumes, or does nothing where it is done.
#
#   launch/paper.sh --recipe balanced|outcome --model MODEL --data FOLDER --output FOLDER [options] [-- SETTING…]
#   launch/paper.sh … --on slurm --with "--nodes 4 --partition gpu" --with-one "--partition gpu" -- data.rows=16
#   launch/paper.sh … --on gke --with "--image I --bucket b --tpu tpu-v6e-slice --topology 4x4 --hosts 4" \
#       --with-one "--image I --bucket b --tpu tpu-v6e-slice --topology 2x2" -- …
#
# SETTINGs are those of `toolrm train`. On one host the stages run one after the other, a stopped training is gone on with
# by the same call. With Slurm all stages are submitted at once, each after the one before; on Kubernetes each is a job
# set that is waited for, and paths are those in its bucket. Training alone joins several hosts; each other stage runs
# on one. `balanced` follows arXiv 2510.26167, `outcome` arXiv 2509.11963.
#
# Needs: `toolrm` on PATH (launch/one_host.sh -- launch/paper.sh … brings it); the folder of public data sets that
#        docs/preference_data.md names; MODEL: a folder, GGUF file or hub id.
# Costs: docs/recipes.md has estimates of both recipes.
#
#   --pairs FILE     real wrong calls to judge on, as for `toolrm eval`
#   --synth SETTINGS first let models answer: words for `toolrm synth` (docs/synth.md), such as config=synth_servers
#   --config NAME    the training's base config, such as toolrm_b_disc_4b (default: that of `toolrm train`)
#   --on WHERE       local (default), slurm or gke
#   --with OPTIONS   of the training, for slurm.sh or gke.sh, in one word
#   --with-one OPTIONS  of the other stages, each of which is one task or pod, in one word
#   --dry-run        print the commands, run none
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

recipe='' model='' data='' output='' pairs='' config='' synth='' where=local with='' with_one='' settings=()
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
        --with | --with-one)
            [[ -n ${2:-} ]] || fail "$1 wants a value"
            if [[ $1 == --with ]]; then with=$2; else with_one=$2; fi
            shift
            ;;
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
read -ra with_one <<<"$with_one"
dry=()
((!DRY_RUN)) || dry=(--dry-run)
# Another recipe in another folder has other jobs.
mark=$(printf %s "${output%/}" | cksum | cut -d' ' -f1)

# What the options of the later stages lack is said before the first is started.
try() {
    local option=$1 said
    shift
    case $where in
        slurm) said=$("$here/slurm.sh" --name a "$@" --dry-run -- true 2>&1) || fail "$option: ${said##*$'\n'}" ;;
        gke) said=$("$here/gke.sh" run a "$@" --dry-run -- true 2>&1) || fail "$option: ${said##*$'\n'}" ;;
    esac
}
case $where in
    slurm) with_one+=(--nodes 1) ;;
    gke) with_one+=(--hosts 1 --slices 1) ;;
esac
try --with ${with[@]+"${with[@]}"}
try --with-one ${with_one[@]+"${with_one[@]}"}

before='' number=0
# One stage: `stage NAME COMMAND…`.
stage() {
    local name=$1 code=0 job=$recipe-$1-$mark options=(${with_one[@]+"${with_one[@]}"})
    [[ $name != train ]] || options=(${with[@]+"${with[@]}"})
    shift
    case $where in
        local)
            DRY_RUN=1 step "$@"
            ((DRY_RUN)) || stoppable "$@" || code=$?
            # Also a stage that the signal killed, as one that does not save is, and one that ended well meanwhile.
            if ((code == 75 || (stopped && (code == 0 || code > 128)))); then
                echo "paper.sh: stopped by a signal; the same call goes on" >&2
                exit 75
            fi
            ((code == 0)) || fail "$name failed (code $code); mend it and make the same call again"
            ;;
        slurm)
            before=$("$here/slurm.sh" --name "$job" ${before:+--after "$before"} ${options[@]+"${options[@]}"} \
                ${dry[@]+"${dry[@]}"} -- "$@") || exit
            ((DRY_RUN)) || echo "$name: job $before"
            ((!DRY_RUN)) || before=$((++number))
            ;;
        gke)
            "$here/gke.sh" run "$job" ${options[@]+"${options[@]}"} --wait ${dry[@]+"${dry[@]}"} -- "$@" ||
                fail "$name failed; mend it and make the same call again"
            ;;
    esac
}

answers=()
if [[ -n $synth ]]; then
    read -ra words <<<"$synth"
    stage synth toolrm synth "${words[@]}" "output=$output/answers"
    folder=$output/answers/groups
    # Whole, since `prepare` looks below --data; a pod works in the bucket, wherever this is called.
    if [[ $where == gke ]]; then work=/bucket; else work=$PWD; fi
    [[ $folder == /* ]] || folder=$work/$folder
    answers=("data.answers=$folder")
fi
stage prepare toolrm prepare "config=data/$recipe" "output=$output/data" "data.folder=$data" ${answers[@]+"${answers[@]}"}
stage train toolrm train ${config:+"config=$config"} "output=$output/run" "model.path=$model" \
    "data.train=$output/data/train" "data.held_out=$output/data/held_out" ${settings[@]+"${settings[@]}"}
stage eval toolrm eval "model=$output/run" "output=$output/eval" "held_out=$output/data/held_out" "backbone=$model" \
    ${pairs:+"pairs=$pairs"}
# One of the same checkpoint and results is left as it is; another is replaced.
stage export toolrm export "checkpoint=$output/run" "output=$output/model" "eval=$output/eval" overwrite=true
