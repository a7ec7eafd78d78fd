#!/usr/bin/env bash
# The batch script of slurm.sh: the command once on each node, and back into the queue where it exits with 75.
# Slurm tells the tasks themselves to stop. A second signal makes them leave without saving, so none is passed on.
trap : TERM
# shellcheck disable=SC1090
[[ -z ${TOOLRM_SETUP:-} ]] || source "$TOOLRM_SETUP"
set -uo pipefail # only now: environments' own scripts read variables that are not set
# A task that is done early, since all stop at one step, must not have the others killed while they save.
srun --kill-on-bad-exit=0 --wait=600 "$@"
code=$?
if ((code == 75)); then
    echo "stopped by a signal; back into the queue (start $((${SLURM_RESTART_COUNT:-0} + 1)))"
    scontrol requeue "$SLURM_JOB_ID"
    exit 75
fi
echo "$code" >"$TOOLRM_LOGS/.$SLURM_JOB_ID.exit"
mv "$TOOLRM_LOGS/.$SLURM_JOB_ID.exit" "$TOOLRM_LOGS/$SLURM_JOB_ID.exit"
exit "$code"
