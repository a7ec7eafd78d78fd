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

# The comment at the head of a script is its help.
help() {
    sed -n '2,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//;p}' "$0"
}
