#!/usr/bin/env bash
# Train on Google Kubernetes Engine with JobSet: TPU slices, or nodes with GPUs.
#
#   launch/gke.sh run NAME --image IMAGE --bucket BUCKET --tpu tpu-v6e-slice --topology 4x4 --hosts 4 [options] -- COMMAND…
#   launch/gke.sh run NAME --image IMAGE --bucket BUCKET --gpu nvidia-h100-80gb --gpus 8 --hosts 2 [options] -- COMMAND…
#   launch/gke.sh delete NAME
#
# One pod a host; the command starts in the bucket's folder. A pod that is taken away, or a run that exits with 75, starts
# all pods again, as often as it happens; any other failure ends the job.
#
# Needs: kubectl, logged in to a cluster with JobSet 0.7 or later and a node pool of that kind; gcloud, which looks at the
#        bucket; an image (launch/Dockerfile); a bucket with a hierarchical namespace, and a Kubernetes service account
#        that may write it (--account; its right shows only in the pods).
# Costs: the node pool's machines while the job runs; a pool that scales to zero costs nothing after.
#
#   --chips N          TPU chips of a host (default 4)      --slices N    TPU slices (default 1)
#   --account NAME     default: default                     --grace N     seconds from SIGTERM to SIGKILL (default 600)
#   --restarts N       after other failures (default 0)     --namespace N default: default
#   --wait             show worker 0's log until the job ends; exit code 0, or 1 where it failed
#   --again            start one anew that has completed, too
#   --dry-run          print the manifest and the commands, run none
# A job of this name, command and options that is under way is joined, and one that has completed is done (`delete`
# forgets it); one that ended otherwise is started anew. TOOLRM_POLL: seconds between two looks (default 20).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

# Values of the templates, read by name.
# shellcheck disable=SC2034
image='' bucket='' kind='' accelerator='' topology='' hosts=1 slices=1 chips=4 gpus=8 account=default grace=600 restarts=0
namespace=default mark='' wait=0 again=0 command=()

# shellcheck disable=SC2034
read_options() {
    while (($#)); do
        case $1 in
            --image) image=$(value "$1" "$@") || exit; shift ;;
            --bucket) bucket=$(value "$1" "$@") || exit; shift ;;
            --tpu | --gpu) kind=${1#--} accelerator=$(value "$1" "$@") || exit; shift ;;
            --topology) topology=$(value "$1" "$@") || exit; shift ;;
            --hosts) hosts=$(value "$1" "$@") || exit; shift ;;
            --slices) slices=$(value "$1" "$@") || exit; shift ;;
            --chips) chips=$(value "$1" "$@") || exit; shift ;;
            --gpus) gpus=$(value "$1" "$@") || exit; shift ;;
            --account) account=$(value "$1" "$@") || exit; shift ;;
            --grace) grace=$(value "$1" "$@") || exit; shift ;;
            --restarts) restarts=$(value "$1" "$@") || exit; shift ;;
            --namespace) namespace=$(value "$1" "$@") || exit; shift ;;
            --wait) wait=1 ;;
            --again) again=1 ;;
            --dry-run) DRY_RUN=1 ;;
            --) shift && command=("$@") && break ;;
            *) fail "$1: unknown option; see --help" ;;
        esac
        shift
    done
}

check() {
    local number
    [[ $kind == gpu || $kind == tpu ]] || fail "give --tpu KIND or --gpu KIND, as the node pool has it"
    [[ -n $image ]] || fail "--image is not given; launch/Dockerfile makes one"
    bucket=${bucket#gs://}
    [[ $bucket =~ ^[a-z0-9][a-z0-9._-]*$ ]] || fail "--bucket ${bucket:-(none)}: expected a bucket's name"
    [[ $kind == gpu || $topology =~ ^[0-9]+(x[0-9]+)+$ ]] || fail "--topology ${topology:-(none)}: such as 4x4"
    [[ $image$accelerator$account$namespace =~ ^[A-Za-z0-9._/:@-]+$ ]] || fail "an option holds a character no name has"
    for number in hosts slices chips gpus grace; do
        [[ ${!number} =~ ^[1-9][0-9]*$ ]] || fail "--$number ${!number}: expected a positive whole number"
    done
    [[ $restarts =~ ^[0-9]+$ ]] || fail "--restarts $restarts: expected a whole number"
    ((${#command[@]})) || fail "no command after --; such as -- toolrm train output=runs/a"
}

# The words of the command as a YAML list: JSON texts.
# shellcheck disable=SC2016
quoted() {
    local word text=''
    for word in "$@"; do
        [[ $word != *[[:cntrl:]]* ]] || fail "the command holds a control character"
        word=${word//'$'/'$$'} # Kubernetes reads $$ as $, and would put a variable's value for $(NAME)
        word=${word//\\/\\\\}
        text+=", \"${word//\"/\\\"}\""
    done
    printf '[%s]' "${text#, }"
}

# The template with the value of each ${name} in it.
# shellcheck disable=SC2016
manifest() {
    local text field command_list
    command_list=$(quoted "${command[@]}") || exit
    text=$(grep -v '^ *#' "$here/jobset_$kind.yaml")
    for field in name namespace image bucket accelerator topology hosts slices chips gpus account grace restarts mark; do
        text=${text//"\${$field}"/"${!field}"}
    done
    text=${text//'${command}'/"$command_list"}
    [[ $text != *'${'* || $command_list == *'${'* ]] || fail "jobset_$kind.yaml: a field has no value"
    printf '%s\n' "$text"
}

kube() {
    step kubectl "--namespace=$namespace" "$@"
}

# "MARK/STATE" of the job, the state empty while it is under way; nothing where there is none. No answer is a failure.
look() {
    kubectl "--namespace=$namespace" get jobset "$name" --ignore-not-found \
        '--output=jsonpath={.metadata.annotations.toolrm}/{.status.terminalState}'
}

run() {
    local text found there state=''
    check
    text=$(manifest) || exit
    # What is there under this name may have another command or other options: a number of them stands in the manifest.
    mark=$(cksum <<<"$text" | cut -d' ' -f1)
    text=$(manifest)
    if ((DRY_RUN)); then
        printf '%s\n' "$text"
        check_bucket "$bucket"
        kube apply --filename=-
        exit
    fi
    need kubectl "get it with \`gcloud components install kubectl\`"
    found=$(look) || fail "the cluster is not reached, or has no JobSet; see above"
    there=${found%%/*} state=${found#*/}
    if [[ $found == */ ]]; then
        [[ $there == "$mark" ]] || fail "$name is under way with another command or options; name another, or delete it"
        echo "gke.sh: joining $name" >&2
    elif [[ $there == "$mark" && $state == Completed ]] && ((!again)); then
        echo "gke.sh: $name has completed before" >&2
        exit 0
    else
        need gcloud "get the Google Cloud SDK"
        # With the right of who calls this.
        check_bucket "$bucket"
        if [[ -n $found ]]; then
            echo "gke.sh: $name ended before ($state); starting it anew" >&2
            kube delete jobset "$name" --cascade=foreground || fail "$name is not deleted; see above"
        fi
        kube apply --filename=- <<<"$text" || fail "the cluster refused $name; see above"
    fi
    ((wait)) || exit 0
    while
        found=$(patiently look) || fail "the cluster does not answer; $name may be under way: make the same call again"
        state=${found#*/}
        [[ $found == */ ]]
    do
        # Ends with the pod; the next one, after a restart, is followed in the next round.
        kubectl "--namespace=$namespace" logs --follow --ignore-errors "--selector=jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0" \
            --container=toolrm 2>/dev/null || true
        sleep "${TOOLRM_POLL:-20}"
    done
    [[ $state == Completed ]] || { echo "gke.sh: $name: ${state:-is gone}" >&2 && exit 1; }
}

case ${1:---help} in
    -h | --help) help ;;
    run | delete)
        verb=$1 name=${2:-}
        [[ $name =~ ^[a-z][a-z0-9-]{0,40}$ ]] || fail "${name:-(none)}: a name is small letters, digits and -"
        read_options "${@:3}"
        if [[ $verb == run ]]; then run; else need kubectl "log in first" && kube delete jobset "$name"; fi
        ;;
    *) fail "$1: expected run or delete; see --help" ;;
esac
