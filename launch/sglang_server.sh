#!/usr/bin/env bash
# Serve a model with SGLang on this host's GPUs, several servers behind one router, until Ctrl-C or SIGTERM.
#
#   launch/sglang_server.sh MODEL [--servers N] [--tp N] [--port 30000] [--parser qwen] [--router-only URL,URL]
#                           [--deterministic] [--dry-run] [-- more options of sglang.launch_server]
#
# MODEL: a hub id or folder. Each server takes the next --tp GPUs and the ports after --port; sglang-router in front of
# them listens on --port itself and sends a context to the server that has its prefix. One server needs no router and
# listens on --port. When all answer, the address for `toolrm synth` is printed on stdout; a server that ends ends all.
# Several hosts: run this with --host 0.0.0.0 on each, then once with --router-only and the addresses of all.
# --parser: how calls are written, for the chat way in (qwen, llama3, mistral, deepseekv3, pythonic, …; none: text).
# --deterministic: a sample follows from its seed, whatever else the server is doing (--enable-deterministic-inference,
# slower); without it seeds change nothing, and samples differ all the same.
#
# Needs: the extra sglang (pip install 'toolrm_jax[sglang]') in the Python that PYTHON names, and curl.
# Costs: nothing beyond the machine; all its GPUs while it runs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/steps.sh
source "$here/steps.sh"

python=${PYTHON:-python3}
model='' servers=1 tp=1 port=30000 host=127.0.0.1 parser='' router_only='' ready_s=1800 deterministic=0 more=()
while (($#)); do
    case $1 in
        -h | --help) help && exit ;;
        --servers) servers=$(value "$1" "$@") || exit; shift ;;
        --tp) tp=$(value "$1" "$@") || exit; shift ;;
        --port) port=$(value "$1" "$@") || exit; shift ;;
        --host) host=$(value "$1" "$@") || exit; shift ;;
        --parser) parser=$(value "$1" "$@") || exit; shift ;;
        --router-only) router_only=$(value "$1" "$@") || exit; shift ;;
        --ready-s) ready_s=$(value "$1" "$@") || exit; shift ;;
        --deterministic) deterministic=1 ;;
        --dry-run) DRY_RUN=1 ;;
        --) shift && more=("$@") && break ;;
        -*) fail "$1: unknown option; see --help" ;;
        *) [[ -z $model ]] || fail "$1: one model a call; $model is named already"; model=$1 ;;
    esac
    shift
done
for number in "$servers" "$tp" "$port" "$ready_s"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "$number: expected a number, 1 or more"
done
[[ -n $model || -n $router_only ]] || fail "no model; give a hub id or a folder"
need "$python" "name a Python with the extra sglang as PYTHON"
need curl "it asks the servers whether they are ready"

children=()
# shellcheck disable=SC2329  # by the traps
stop() {
    trap - INT TERM EXIT
    ((!${#children[@]})) || kill -TERM "${children[@]}" 2>/dev/null || true
    wait
}
trap stop EXIT
trap 'exit 75' INT TERM

begin() {
    printf '+ %s &\n' "$(shown "$@")" >&2
    ((DRY_RUN)) && return
    "$@" &
    children+=($!)
}

# A server is ready once it has written a token.
await() {
    local address=$1 path=$2 end=$((SECONDS + ready_s)) child
    ((DRY_RUN)) && return
    until curl --silent --fail --max-time 60 --output /dev/null "$address$path"; do
        for child in "${children[@]}"; do
            kill -0 "$child" 2>/dev/null || fail "a server ended before it was ready; see what it printed"
        done
        ((SECONDS < end)) || fail "$address does not answer after $ready_s s; say --ready-s for more"
        sleep 1
    done
}

addresses=()
if [[ -n $router_only ]]; then
    IFS=, read -r -a addresses <<<"$router_only"
else
    for ((i = 0; i < servers; i++)); do
        at=$((servers > 1 ? port + 1 + i : port))
        options=(--model-path "$model" --host "$host" --port "$at" --tp-size "$tp" --base-gpu-id $((i * tp)))
        [[ -z $parser ]] || options+=(--tool-call-parser "$parser")
        ((!deterministic)) || options+=(--enable-deterministic-inference)
        begin "$python" -m sglang.launch_server "${options[@]}" ${more[@]+"${more[@]}"}
        addresses+=("http://127.0.0.1:$at")
    done
    for address in "${addresses[@]}"; do
        await "$address" /health_generate
    done
fi
if ((${#addresses[@]} > 1)) || [[ -n $router_only ]]; then
    begin "$python" -m sglang_router.launch_router --host "$host" --port "$port" --policy cache_aware \
        --worker-urls "${addresses[@]}"
    await "http://127.0.0.1:$port" /health
fi
echo "http://127.0.0.1:$port"
((!DRY_RUN)) || exit 0
# Whichever ends first: behind a router a lost server would halve the speed in silence.
wait -n || true
fail "a server or the router ended; see what it printed"
