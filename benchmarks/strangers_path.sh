#!/usr/bin/env bash
# How far a stranger is from a result: minutes and typed commands, from a fresh clone, to
# (a) a first score, (b) the quickstart's trained model, (c) that model's folder loaded elsewhere by transformers alone.
#
#   benchmarks/strangers_path.sh [--dry-run] [FOLDER]
#
# Types what the README and the model card say, in a clone below FOLDER (default: a temporary one, removed at the end).
# (a) is a quickstart of eight steps and `toolrm score`; (b) and (c) are counted as if (a) had been left out. (c) ends
# only if transformers, in an environment without this project, gives the scores that `toolrm score` gave.
#
# Needs: git, make, Python 3.11 to 3.13 (PYTHON names it), a package index, 6 GB of disk, half an hour on two idle
# cores. TORCH: as for the Makefile, which torch (c) takes. PIP_NO_CACHE_DIR=1: download what pip has kept, too.
# REPOSITORY: what is cloned (default: this one).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/../launch/steps.sh"

folder=''
while (($#)); do
    case $1 in
        -h | --help) help && exit ;;
        --dry-run) DRY_RUN=1 ;;
        -*) fail "$1: unknown option; see --help" ;;
        *) folder=$1 ;;
    esac
    shift
done
python=${PYTHON:-python3}
read -ra torch <<<"${TORCH:-torch}"
need git "get it"
need make "get it"
need "$python" "get Python 3.11 to 3.13, or name one as PYTHON"
if ((!DRY_RUN)); then
    if [[ -z $folder ]]; then
        folder=$(mktemp -d)
        trap 'rm -rf "$folder"' EXIT
    fi
    mkdir -p "$folder"
    [[ ! -e $folder/toolrm_jax && ! -e $folder/elsewhere ]] || fail "$folder: was used before; name an empty folder"
    cd "$folder"
fi

declare -A commands=([a]=0 [b]=0 [c]=0) seconds=([a]=0 [b]=0 [c]=0)
last=0

# `typed GOALS COMMAND…`: one command on the way to each of the goals; its time counts for them.
typed() {
    local goals=$1 goal began=$SECONDS
    shift
    step "$@"
    last=$((SECONDS - began))
    for ((goal = 0; goal < ${#goals}; goal++)); do
        commands[${goals:goal:1}]=$((commands[${goals:goal:1}] + 1))
        seconds[${goals:goal:1}]=$((seconds[${goals:goal:1}] + last))
    done
}

enter() {
    ((DRY_RUN)) || cd "$1"
}

typed abc git clone --quiet "${REPOSITORY:-$here/..}" toolrm_jax
enter toolrm_jax
began=$(date +%s)
few='output=runs/first train.steps=8 train.evaluate_every=8 judged_groups=8'
typed a make quickstart "PYTHON=$python" "ARGS=$few"
if ((!DRY_RUN)); then
    # What that call took to install, the next one would have taken.
    installed=$(($(date -r .venv/run +%s) - began))
    for goal in b c; do seconds[$goal]=$((seconds[$goal] + installed)); done
fi
typed a .venv/bin/toolrm score model=runs/first/model input=runs/first/example.jsonl output=runs/first/scores.jsonl

typed bc make quickstart "PYTHON=$python"
step .venv/bin/toolrm score model=runs/quickstart/model input=runs/quickstart/example.jsonl output=scores.jsonl
enter ..
typed c cp -r toolrm_jax/runs/quickstart/model elsewhere
typed c "$python" -m venv environment
typed c environment/bin/python -m pip install --quiet --disable-pip-version-check "${torch[@]}"
typed c environment/bin/python -m pip install --quiet --disable-pip-version-check transformers jinja2

# The lines of the model card, over every candidate of the example. Python gets -I, since the clone beside the script is a
# folder of the name toolrm_jax.
((DRY_RUN)) || cat >score.py <<'END'
import importlib.util
import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

assert importlib.util.find_spec("toolrm_jax") is None, "this environment is to hold nothing of the project"
folder, example, expected = sys.argv[1:]
line, scores = (json.loads(open(path).readline()) for path in (example, expected))
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
for candidate, ours in zip(line["candidates"], scores["scores"], strict=True):
    calls = [{"type": "function", "function": call} for call in candidate.get("tool_calls") or ()]
    answer = {"role": "assistant", "content": candidate.get("content") or "", "tool_calls": calls}
    messages = [*line["messages"], answer]
    text = tokenizer.apply_chat_template(messages, tools=line["tools"], tokenize=False).rstrip("\n")
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    theirs = model(ids).logits[0, 0].item()
    print(f"transformers {theirs:.5f}, toolrm score {ours:.5f}")
    assert abs(theirs - ours) < 1e-3, "the folder does not score elsewhere as it does here"
END
typed c environment/bin/python -I score.py elsewhere toolrm_jax/runs/quickstart/example.jsonl toolrm_jax/scores.jsonl

((!DRY_RUN)) || exit 0
declare -A ways=(
    [a]='a first score (from eight steps of training)'
    [b]="the quickstart's trained model, judged and exported"
    [c]='that folder loaded elsewhere by transformers, with the same scores'
)
printf '\n%s, %s cores\n%8s  %7s  %s\n' "$("$python" --version)" "$(nproc)" commands minutes 'to'
for goal in a b c; do
    minutes=$(awk "BEGIN { print ${seconds[$goal]} / 60 }")
    printf '%8d  %7.1f  (%s) %s\n' "${commands[$goal]}" "$minutes" "$goal" "${ways[$goal]}"
done
