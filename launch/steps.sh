# Sourced by the other scripts: a step is one command, printed before it is run. With DRY_RUN=1 it is printed alone.
# shellcheck shell=bash

DRY_RUN=${DRY_RUN:-0}

# What cannot go on, in one line; 2 as `toolrm` has it for what the user can mend.
fail() {
    echo "${0##*/}: $*" >&2
    exit 2
}

# The value of an option that must have one: `value --zone "$@"`.
value() {
    [[ $# -ge 3 && -n $3 && $3 != --* ]] || fail "$1 wants a value"
    printf '%s' "$3"
}

# A program that must be there before anything is started or paid for.
need() {
    ((DRY_RUN)) || command -v "$1" >/dev/null || fail "$1 is not installed; $2"
}

# A command as it could be typed; plain words are left plain.
shown() {
    local word text=''
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+~-]+$ ]] || word=$(printf '%q' "$word")
        text+=" $word"
    done
    printf '%s' "${text# }"
}

step() {
    printf '+ %s\n' "$(shown "$@")" >&2
    ((DRY_RUN)) || "$@"
}

# A command that INT and TERM stop: `stoppable COMMAND…`. It runs in a process group of its own, and each signal to this
# script reaches the whole group as one SIGTERM: a script among them may wait for what it started, and Ctrl-C does not
# arrive twice, which would end a training at once. Returns the command's code, once nothing of the group is left where a
# signal came; `stopped` is 1 then.
# shellcheck disable=SC2034
stopped=0 owed=0 heard=0 child=''
stoppable() {
    local code
    child='' owed=0
    trap 'stopped=1 heard=1 owed=1; pass_on' INT TERM
    set -m
    "$@" &
    child=$!
    set +m
    ((!owed)) || pass_on
    # A signal ends `wait` before the command has ended; asked again, it knows the code.
    while
        heard=0 code=0
        wait "$child" || code=$?
        ((heard))
    do :; done
    # A shell without a trap of its own is gone before what it started has saved.
    while ((stopped)) && kill -0 -- "-$child" 2>/dev/null; do sleep 0.2; done
    trap - INT TERM
    return "$code"
}

pass_on() {
    [[ -z $child ]] || { owed=0 && kill -TERM -- "-$child" 2>/dev/null; } || true
}

# A look at a queue, where no answer must not pass for an empty one: `patiently COMMAND…` asks again, some thirty times.
patiently() {
    local tries
    for ((tries = 1; tries < 30; tries++)); do
        "$@" && return
        sleep "${TOOLRM_POLL:-20}"
    done
    "$@"
}

# That a bucket is there, may be written, and renames a folder in one step: `check_bucket NAME`.
check_bucket() {
    local flat
    flat=$(step gcloud storage buckets describe "gs://$1" '--format=value(hierarchical_namespace.enabled)') ||
        fail "gs://$1: there is no such bucket, or it may not be read"
    ((DRY_RUN)) || [[ $flat == True ]] ||
        fail "gs://$1: has no hierarchical namespace, so a checkpoint could be seen half renamed; make another bucket"
    step gcloud storage cp "${BASH_SOURCE[0]}" "gs://$1/.toolrm_may_write" ||
        fail "gs://$1: cannot be written; grant this account storage.objects.create on it"
}

# The comment at the head of a script is its help.
help() {
    sed -n '2,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//;p}' "$0"
}
