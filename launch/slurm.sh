#!/usr/bin/env bash
# Train on GPU nodes of a Slurm cluster: one task a node, which takes all its GPUs.
#
#   launch/slurm.sh --name NAME [options] -- toolrm train output=runs/a …
#
# The processes find one another through Slurm. Before the time limit and on preemption the run is told to stop; it
# saves, exits with 75, and the job puts itself back into the queue, where it goes on from its checkpoint.
#
# Needs: sbatch and friends; `toolrm` on the nodes' PATH (activate its environment before the call, or --setup FILE);
#        a working directory and output folder on a file system that all nodes see.
# Costs: what the cluster charges for NODES x GPUS until the command ends.
#
#   --nodes N        default 1                 --gpus N          of each node, default 8 (0: none)
#   --time LIMIT     default 24:00:00          --partition P, --account A, --qos Q: as for sbatch
#   --setup FILE     sourced once, by the batch script on the first node, before the command (modules, environments);
#                    the tasks get the environment that it leaves
#   --after JOB      start only when that job has ended well
#   --grace SECONDS  how long before the limit the run is told to stop (default 300: more than one save takes)
#   --logs FOLDER    default runs/slurm
#   --wait           wait for the job and exit with the command's code; a job of this name that is queued is joined
#   --dry-run        print the commands, run none
# Without --wait it prints the job's number. TOOLRM_POLL: seconds between two looks at the queue (default 20).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

name='' nodes=1 gpus=8 time=24:00:00 grace=300 logs=runs/slurm setup='' wait=0 more=() command=()
while (($#)); do
    case $1 in
        -h | --help) help && exit ;;
        --name) name=$(value "$1" "$@") || exit; shift ;;
        --nodes) nodes=$(value "$1" "$@") || exit; shift ;;
        --gpus) gpus=$(value "$1" "$@") || exit; shift ;;
        --time) time=$(value "$1" "$@") || exit; shift ;;
        --grace) grace=$(value "$1" "$@") || exit; shift ;;
        --logs) logs=$(value "$1" "$@") || exit; shift ;;
        --setup) setup=$(value "$1" "$@") || exit; shift ;;
        --partition | --account | --qos) given=$(value "$1" "$@") || exit; more+=("$1=$given"); shift ;;
        --after)
            given=$(value "$1" "$@") || exit
            more+=("--dependency=afterok:$given" --kill-on-invalid-dep=yes)
            shift
            ;;
        --wait) wait=1 ;;
        --dry-run) DRY_RUN=1 ;;
        --) shift && command=("$@") && break ;;
        *) fail "$1: unknown option; see --help" ;;
    esac
    shift
done
[[ $name =~ ^[A-Za-z0-9._=-]+$ ]] || fail "--name ${name:-(none)}: letters, digits and . _ = - are meant"
[[ $nodes =~ ^[1-9][0-9]*$ ]] || fail "--nodes $nodes: expected a positive whole number"
[[ $gpus =~ ^[0-9]+$ ]] || fail "--gpus $gpus: expected a whole number"
((${#command[@]})) || fail "no command after --; such as -- toolrm train output=runs/a"
[[ -z $setup || -f $setup ]] || fail "--setup $setup: no such file"
[[ $logs$setup != *,* ]] || fail "--logs and --setup may hold no comma: sbatch would take what follows it for another setting"
need sbatch "call this on a login node of the cluster"
((gpus == 0)) || more+=("--gpus-per-node=$gpus")
step mkdir -p "$logs" || fail "--logs $logs: cannot be written"

queued() {
    squeue --noheader --user="${USER:-$(id -un)}" --format=%i "$@"
}

# The job's number while it is in the queue, else nothing. That Slurm has forgotten a number is an answer, too.
# shellcheck disable=SC2329
in_queue() {
    local errors code=0
    errors=$(mktemp)
    queued --job="$job" 2>"$errors" || code=$?
    if ((code)); then
        if grep -q 'Invalid job id' "$errors"; then code=0; else cat "$errors" >&2; fi
    fi
    rm "$errors"
    return "$code"
}

job=''
((DRY_RUN)) || job=$(queued --name="$name") || fail "the queue does not answer, so nothing is submitted; see above"
job=${job%%$'\n'*}
if [[ -n $job ]]; then
    ((wait)) || fail "a job named $name is queued already ($job); name another, or say --wait to join it"
    echo "slurm.sh: joining job $job ($name)" >&2
else
    job=$(step sbatch --parsable --job-name="$name" --nodes="$nodes" --ntasks-per-node=1 --time="$time" --requeue \
        --open-mode=append --output="$logs/%x-%j.log" --signal="TERM@$grace" ${more[@]+"${more[@]}"} \
        "--export=ALL,TOOLRM_LOGS=$logs,TOOLRM_SETUP=$setup" "$here/slurm_job.sh" "${command[@]}") ||
        fail "sbatch took no job; see above"
    job=${job%%;*} # with a cluster's name behind it where there are several
fi
((DRY_RUN)) && exit
((wait)) || { echo "$job" && exit; }
while
    left=$(patiently in_queue) ||
        fail "the queue does not answer; job $job ($name) may be under way: make the same call again"
    [[ -n $left ]]
do sleep "${TOOLRM_POLL:-20}"; done
# A network file system may show it a moment later.
[[ -f $logs/$job.exit ]] || sleep "${TOOLRM_POLL:-20}"
[[ -f $logs/$job.exit ]] || fail "job $job ($name) is gone without having ended: cancelled, or its node lost; see $logs"
exit "$(cat "$logs/$job.exit")"
