#!/usr/bin/env bash
# Train on Cloud TPU VMs: one slice, or several joined by the data-centre network.
#
#   launch/tpu_vm.sh run NAME --zone ZONE --type v6e-16 --bucket gs://BUCKET [options] -- toolrm train output=runs/a …
#   launch/tpu_vm.sh delete NAME --zone ZONE
#
# `run` asks for a queued resource NAME or takes the one that is there, installs the wheel on every host, starts the
# command on each, in the bucket's folder, and shows worker 0's log. When the slice is taken away it asks for another
# and starts the command again, which goes on from its last checkpoint. Stop it with Ctrl-C and call it again as you
# like: the command runs on. Exit code: that of the command.
#
# Needs: gcloud, logged in, with a project; a bucket with a hierarchical namespace (a folder's rename is one step there,
#        on which whole-or-absent checkpoints rest) in the slice's region, which you and the slice's service account may
#        write (tried with your right before anything is paid for, with its right before the command starts); the wheel
#        (`python -m build --wheel`).
# Costs: every chip, from the moment the slice is ACTIVE until `delete`: `run` leaves it standing unless --delete is
#        given. Prices change: cloud.google.com/tpu/pricing.
#
#   --slices N         so many slices (default 1)
#   --runtime VERSION  the TPU VM's software (default v2-alpha-tpuv6e)
#   --spot             cheaper, and may be taken away
#   --wheel FILE       default: the newest of dist/*.whl
#   --attempts N       starts of the command before giving up (default 50)
#   --delete           delete the slices when the command has ended
#   --dry-run          print the commands, run none
# TOOLRM_POLL: seconds between two looks at a state (default 20).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

zone='' type='' slices=1 runtime=v2-alpha-tpuv6e spot=() bucket='' wheel='' attempts=50 delete=0 command=()
poll=${TOOLRM_POLL:-20}

read_options() {
    while (($#)); do
        case $1 in
            --zone) zone=$(value "$1" "$@") || exit; shift ;;
            --type) type=$(value "$1" "$@") || exit; shift ;;
            --slices) slices=$(value "$1" "$@") || exit; shift ;;
            --runtime) runtime=$(value "$1" "$@") || exit; shift ;;
            --bucket) bucket=$(value "$1" "$@") || exit; shift ;;
            --wheel) wheel=$(value "$1" "$@") || exit; shift ;;
            --attempts) attempts=$(value "$1" "$@") || exit; shift ;;
            --spot) spot=(--spot) ;;
            --delete) delete=1 ;;
            --dry-run) DRY_RUN=1 ;;
            --) shift && command=("$@") && break ;;
            *) fail "$1: unknown option; see --help" ;;
        esac
        shift
    done
    [[ -n $zone ]] || fail "--zone is not given"
    [[ $slices =~ ^[1-9][0-9]*$ ]] || fail "--slices $slices: expected a positive whole number"
    [[ $attempts =~ ^[1-9][0-9]*$ ]] || fail "--attempts $attempts: expected a positive whole number"
}

# Everything that can be wrong and is free to find out.
check() {
    [[ -n $type ]] || fail "--type is not given; such as v6e-16"
    [[ $bucket == gs://* ]] || fail "--bucket ${bucket:-(none)}: expected gs://NAME; checkpoints must outlive the slice"
    ((${#command[@]})) || fail "no command after --; such as -- toolrm train output=runs/a"
    need gcloud "get the Google Cloud SDK"
    if [[ -z $wheel ]]; then
        wheel=$({ find "$here/../dist" -name '*.whl' -printf '%T@ %p\n' 2>/dev/null || true; } |
            sort -n | tail -1 | cut -d' ' -f2-)
        [[ -n $wheel ]] || ((DRY_RUN)) || fail "no wheel in dist/; run \`python -m build --wheel\`, or give --wheel FILE"
        wheel=${wheel:-dist/toolrm_jax.whl}
    fi
    ((DRY_RUN)) || [[ -f $wheel ]] || fail "--wheel $wheel: no such file"
    # With the right of who calls this; that of the slice's own account shows on its hosts, before the command starts.
    check_bucket "${bucket#gs://}"
}

tpus() {
    local group=$1 verb=$2
    shift 2
    step gcloud compute tpus "$group" "$verb" "$@" "--zone=$zone"
}

describe() {
    gcloud compute tpus queued-resources describe "$name" "--zone=$zone" "--format=value($1)"
}

# The request's state; ABSENT only where gcloud says that there is none. Anything else it says is no answer.
state() {
    local errors code=0
    errors=$(mktemp)
    describe state.state 2>"$errors" || code=$?
    if ((code)); then
        if grep -q NOT_FOUND "$errors"; then echo ABSENT && code=0; else cat "$errors" >&2; fi
    fi
    rm "$errors"
    return "$code"
}

nodes() {
    if ((slices == 1)); then echo "$name"; else for ((i = 0; i < slices; i++)); do echo "$name-$i"; done; fi
}

create() {
    local shape=("--node-id=$name") said refused=0
    ((slices == 1)) || shape=("--node-count=$slices" "--node-prefix=$name")
    said=$(mktemp)
    tpus queued-resources create "$name" "${shape[@]}" "--accelerator-type=$type" "--runtime-version=$runtime" \
        ${spot[@]+"${spot[@]}"} 2>"$said" || refused=1
    cat "$said" >&2
    ((!refused)) || fail "$type was not granted in $zone: $(grep -v '^$' "$said" | tail -1)"
    rm "$said"
}

remove() {
    tpus queued-resources delete "$name" --force --quiet
}

# Until the slices are ours. A suspended request has to be deleted before it can be made again; a failed one is looked
# at by a person: made again it would fail again, and each one may cost.
have_slices() {
    if ((DRY_RUN)); then
        create
        return
    fi
    local now why before=''
    while
        now=$(patiently state) || fail "$name: gcloud does not answer; the slice may stand, and cost: $delete_it"
        [[ $now != ACTIVE ]]
    do
        [[ $now == "$before" ]] || echo "tpu_vm.sh: $name is $now" >&2
        before=$now
        case $now in
            ABSENT) create ;;
            SUSPENDED) remove ;;
            FAILED)
                why=$(describe 'state.stateInitiator,state.failedData.error.message' || true)
                fail "$name is FAILED: ${why:-no reason is given}; mend it, then $delete_it"
                ;;
            *) sleep "$poll" ;;
        esac
    done
}

# A command on hosts of a node: `on NODE WORKERS COMMAND`.
on() {
    tpus tpu-vm ssh "$1" "--worker=$2" --quiet "--command=$3"
}

install_and_start() {
    local node
    for node in $(nodes); do
        tpus tpu-vm scp "$wheel" "$here/tpu_host.sh" "$node:" --worker=all --quiet || return
        on "$node" all "bash tpu_host.sh install ${wheel##*/} ${bucket#gs://}" || return
    done
    for node in $(nodes); do
        on "$node" all "bash tpu_host.sh start $(shown "${command[@]}")" || return
    done
}

# The hosts stop at one step, but not in one moment: none is started again before the last has ended.
settle() {
    local node
    for node in $(nodes); do on "$node" all "bash tpu_host.sh settle" || true; done
}

run() {
    local first now code=0 refused=0
    check
    first=$(nodes | head -1)
    for ((attempt = 1; attempt <= attempts; attempt++)); do
        have_slices
        code=0
        install_and_start || code=$?
        if ((code == 0)); then
            refused=0
            on "$first" 0 "bash tpu_host.sh follow" || code=$?
        elif ((++refused == 3)); then
            fail "the hosts of $name could not be made ready; see above. The slices stand, and cost: $delete_it"
        else
            # A slice that was just taken away is still said to be ACTIVE for a while.
            sleep "$poll"
            continue
        fi
        ((code != 0)) || break
        # 75: stopped by a signal. Any code of a slice that is gone: taken away. 255: the connection broke.
        now=$(patiently state) || fail "$name: gcloud does not answer; the slice may stand, and cost: $delete_it"
        if ((code != 75 && code != 255)) && [[ $now == ACTIVE ]]; then break; fi
        if ((code == 75)); then settle; fi
        echo "tpu_vm.sh: start $attempt of $name ended early (code $code); going on from its last checkpoint" >&2
    done
    if ((delete)); then remove; elif ((!DRY_RUN)); then
        echo "tpu_vm.sh: $name stands, and costs; $delete_it" >&2
    fi
    exit "$code"
}

case ${1:---help} in
    -h | --help) help ;;
    run | delete)
        verb=$1 name=${2:-}
        [[ $name =~ ^[a-z][a-z0-9-]{0,60}$ ]] || fail "${name:-(none)}: a name is small letters, digits and -"
        read_options "${@:3}"
        delete_it="launch/tpu_vm.sh delete $name --zone $zone"
        if [[ $verb == run ]]; then run; else need gcloud "get the Google Cloud SDK" && remove; fi
        ;;
    *) fail "$1: expected run or delete; see --help" ;;
esac
