#!/usr/bin/env bash
# What tpu_vm.sh runs on every host of a slice; it is copied there beside the wheel.
#
#   tpu_host.sh install WHEEL BUCKET   an environment with the wheel, and the bucket as ~/toolrm/bucket; where a command
#                                      is under way both are left alone
#   tpu_host.sh start COMMAND…         start it in the bucket, detached; one that is under way is left alone
#   tpu_host.sh follow                 its log from the beginning until it ends; exits with its code
#   tpu_host.sh settle                 wait until it has ended
set -euo pipefail
home=$HOME/toolrm
mkdir -p "$home/bucket"

under_way() {
    [[ -f $home/pid && ! -f $home/exit ]] && kill -0 "$(cat "$home/pid")" 2>/dev/null
}

case $1 in
    install)
        sum=$(sha256sum "$2")
        if under_way; then
            [[ $(cat "$home/installed") == "$sum" ]] || echo "tpu_host.sh: what is under way runs on with its own wheel" >&2
            exit 0
        fi
        if [[ $(cat "$home/installed" 2>/dev/null) != "$sum" ]]; then
            # The TPU VM's own Python is older than this project reads; uv brings one.
            python3 -m pip install --quiet --user uv
            python3 -m uv venv --quiet --clear --python 3.12 "$home/env"
            python3 -m uv pip install --quiet --python "$home/env/bin/python" "$2[tpu]"
            echo "$sum" >"$home/installed"
        fi
        if ! command -v gcsfuse >/dev/null; then
            echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] https://packages.cloud.google.com/apt" \
                "gcsfuse-$(lsb_release -cs) main" | sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
            curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg |
                sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
            sudo apt-get update -qq && sudo apt-get install -qq -y gcsfuse >/dev/null
        fi
        mountpoint -q "$home/bucket" || gcsfuse --implicit-dirs "$3" "$home/bucket"
        touch "$home/bucket/.toolrm_may_write" || {
            echo "tpu_host.sh: gs://$3 cannot be written with the right of the slice's service account; grant it" >&2
            exit 2
        }
        ;;
    start)
        shift
        if under_way; then exit 0; fi
        rm -f "$home/exit" "$home/log"
        cd "$home/bucket"
        # The code is there only when the command has ended, and then whole.
        # shellcheck disable=SC2016
        PATH=$home/env/bin:$PATH nohup setsid bash -c \
            '"$@"; echo $? >"$HOME/toolrm/exit.new"; mv "$HOME/toolrm/exit.new" "$HOME/toolrm/exit"' \
            toolrm-run "$@" >"$home/log" 2>&1 </dev/null &
        echo $! >"$home/pid"
        ;;
    follow)
        tail -n +1 -F "$home/log" 2>/dev/null &
        shown=$!
        while under_way; do sleep 0.5; done
        sleep 0.5
        kill "$shown"
        # Without a code it was killed outright, by its kernel or with the machine.
        exit "$(cat "$home/exit" 2>/dev/null || echo 137)"
        ;;
    settle)
        while under_way; do sleep 0.5; done
        ;;
    *)
        echo "tpu_host.sh: $1: expected install, start, follow or settle" >&2
        exit 2
        ;;
esac
