#!/usr/bin/env bash
# Serve a Hugging Face folder with SGLang on a CPU, by its JAX backend.
#
#   launch/sglang_cpu.sh FOLDER [more options of the server, such as --dtype float32 or --port 30001]
#   launch/sglang_cpu.sh --install
#
# The first call makes an environment of its own (SGLANG_CPU_ENV, default ~/.cache/toolrm-sglang-cpu) with the
# Python 3.12 named by PYTHON312 (default python3.12): the server's versions are not those of this project.
# It takes causal LMs (Llama, Qwen, Qwen2, Qwen3, Qwen3-MoE), no classifiers; ready in half a minute to two minutes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
env=${SGLANG_CPU_ENV:-$HOME/.cache/toolrm-sglang-cpu}

# sglang-jax declares jax[tpu] and a modelscope that it needs for no local folder, so it comes without its needs.
packages=(
    'jax==0.8.*' 'flax==0.12.0' 'transformers==4.55.*' 'numpy==2.2.*' 'huggingface-hub==0.34.*' 'safetensors==0.6.*'
    'fastapi==0.116.*' 'uvicorn==0.35.*' 'uvloop==0.21.*' 'pydantic==2.11.*' 'orjson==3.11.*' 'pyzmq==27.0.*'
    'requests==2.32.*' 'psutil==7.0.*' 'setproctitle==1.3.*' 'pillow==11.3.*' 'jinja2==3.1.*' 'msgpack'
    'python-multipart' 'tiktoken' 'httpx' 'openai' 'pandas' 'aiohttp' 'pybase64' 'partial_json_parser'
)

install() {
    local python=${PYTHON312:-python3.12}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then
        echo "sglang_cpu.sh: $python is no Python 3.12; install one and name it as PYTHON312" >&2
        exit 2
    fi
    echo "sglang_cpu.sh: making $env" >&2
    "$python" -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps 'sglang-jax==0.0.2'
    touch "$env/done"
}

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
fi
# The stamp is older than this file once the versions here have changed.
[[ $env/done -nt ${BASH_SOURCE[0]} ]] || install
if [[ $1 == --install ]]; then
    exit 0
fi
if [[ ! -f $1/config.json ]]; then
    echo "sglang_cpu.sh: $1: no config.json there; give a folder that \`toolrm export task=policy\` wrote" >&2
    exit 2
fi
folder=$(cd "$1" && pwd)
shift
# What is compiled is kept, so that a server started again is ready sooner. Sizes are of a small machine, and a sample
# depends on its own seed alone; of an option given twice the last holds.
export JAX_PLATFORMS=cpu
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$env/compiled} JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
exec "$env/bin/python" "$here/sglang_cpu.py" --model-path "$folder" --device cpu \
    --host 127.0.0.1 --port 30000 --mem-fraction-static 0.5 --context-length 1024 --max-total-tokens 8192 \
    --max-prefill-tokens 1024 --max-running-requests 4 --precompile-bs-paddings 4 \
    --precompile-token-paddings 64 512 1024 --enable-deterministic-sampling --tool-call-parser qwen3_coder "$@"
