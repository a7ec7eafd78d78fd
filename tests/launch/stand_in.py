"""Stands in for gcloud, kubectl and Slurm's programs: records each call and runs the payload here, one process a host.

Called as `stand_in.py PROGRAM ARGUMENTS…` by wrappers on PATH. All state lies below $STAND_IN: `calls.jsonl`,
`faults.json` (what is to go wrong), `bucket/`, and a folder for each slice, job or job set.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ["STAND_IN"])
BUCKET = HERE / "bucket"
HOSTS = 2


def fault(name: str) -> bool:
    return name in json.loads((HERE / "faults.json").read_text())


def silent(program: str) -> bool:
    """Whether a program gives no answer this time: file `silent.PROGRAM` says how many times yet."""
    file = HERE / f"silent.{program}"
    with file.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.seek(0)
        left = int(held.read() or 0)
        held.truncate(0)
        held.write(str(max(0, left - 1)))
    return left > 0


def option(arguments: list[str], name: str, default: str = "") -> str:
    return next((word.partition("=")[2] for word in arguments if word.startswith(f"--{name}=")), default)


def refuse(line: str, code: int = 1) -> int:
    print(line, file=sys.stderr)
    return code


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def read(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text()
    return None


def detached(*words: str) -> None:
    """A process of this program that outlives its caller, as the cluster's own do."""
    quiet = subprocess.DEVNULL
    command = [sys.executable, __file__, *words]
    subprocess.Popen(command, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)


def told(port: int, count: int, number: int) -> dict[str, str]:
    """What a TPU pod's metadata says to its hosts, in the words for any machine."""
    address = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(count)}
    return os.environ | address | {"JAX_PROCESS_ID": str(number)}


# gcloud: a slice is a folder with its state, its nodes and their hosts' home folders


def gcloud(arguments: list[str]) -> int:
    words = [word for word in arguments if not word.startswith("--")]
    match words:
        case ["storage", "buckets", "describe", _]:
            if fault("no bucket"):
                return refuse("ERROR: (gcloud.storage.buckets.describe) not found: 404")
            print("False" if fault("flat bucket") else "True")
            return 0
        case ["storage", "cp", *_]:
            return refuse("ERROR: 403 does not have storage.objects.create access") if fault("read only") else 0
        case ["compute", "tpus", "queued-resources", verb, name]:
            return queued_resource(verb, HERE / "slices" / name, arguments)
        case ["compute", "tpus", "tpu-vm", "scp", *files, node]:
            for host in hosts(node.rstrip(":"), "all"):
                for file in files:
                    shutil.copy(file, host)
            return 0
        case ["compute", "tpus", "tpu-vm", "ssh", node]:
            return ssh(node, option(arguments, "worker"), option(arguments, "command"))
    return refuse(f"gcloud stand-in: {arguments}", 64)


def queued_resource(verb: str, folder: Path, arguments: list[str]) -> int:
    states = folder / "states"
    if verb == "create":
        if fault("no quota"):
            print("Create request issued.", file=sys.stderr)
            return refuse("ERROR: (gcloud.alpha) RESOURCE_EXHAUSTED: Quota limit 'TPUV6EPerProject' exceeded. Limit: 0")
        nodes = option(arguments, "node-count")
        names = [f"{folder.name}-{number}" for number in range(int(nodes))] if nodes else [folder.name]
        write(folder / "nodes", "\n".join(names))
        write(folder / "port", str(free_port()))
        for name in names:
            for number in range(HOSTS // len(names)):
                (folder / name / str(number)).mkdir(parents=True)
        write(states, "WAITING_FOR_RESOURCES FAILED" if fault("fails") else "WAITING_FOR_RESOURCES PROVISIONING ACTIVE")
        return 0
    if verb == "describe" and silent("gcloud"):
        return refuse("ERROR: (gcloud.compute.tpus.queued-resources.describe) UNAVAILABLE: try again later")
    if (now := read(states)) is None:
        return refuse("ERROR: NOT_FOUND: Resource not found")
    if verb == "describe":
        if "stateInitiator" in option(arguments, "format"):
            print("SERVICE\tThe requested topology is not offered in this zone")
            return 0
        first, _, rest = now.partition(" ")
        print(first)
        if rest:
            write(states, rest)
        return 0
    for pid in folder.glob("*/*/toolrm/pid"):
        wait_for_the_end(int(pid.read_text()))
    shutil.rmtree(folder)
    return 0


def wait_for_the_end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        for _ in range(600):
            os.killpg(group, 0)
            time.sleep(0.1)
        os.killpg(group, signal.SIGKILL)


def hosts(node: str, worker: str) -> list[Path]:
    (folder,) = HERE.glob(f"slices/*/{node}")
    every = sorted(folder.iterdir())
    return every if worker == "all" else [every[int(worker)]]


def ssh(node: str, worker: str, command: str) -> int:
    found = list(HERE.glob(f"slices/*/{node}"))
    if not found or read(found[0].parent / "states") != "ACTIVE":
        return refuse("ERROR: [0] ssh: connect to host port 22: Connection refused", 255)
    port = int((found[0].parent / "port").read_text())
    nodes = (found[0].parent / "nodes").read_text().split()
    each = HOSTS // len(nodes)
    started = []
    for host in hosts(node, worker):
        environment = told(port, HOSTS, nodes.index(node) * each + int(host.name)) | {"HOME": str(host)}
        started.append(subprocess.Popen(["bash", "-c", command], cwd=host, env=environment))
    return max(process.wait() for process in started)


def gcsfuse(arguments: list[str]) -> int:
    place = Path(arguments[-1])
    if not place.is_symlink():
        place.rmdir()
        place.symlink_to(BUCKET)
    return 0


def python3(arguments: list[str]) -> int:
    """`uv venv` makes an environment whose toolrm is the one under test; installs are recorded alone."""
    if arguments[:3] == ["-m", "uv", "venv"]:
        program = Path(arguments[-1]) / "bin" / "toolrm"
        write(program, f'#!/bin/sh\nexec {sys.executable} -W ignore -m toolrm_jax "$@"\n')
        program.chmod(0o755)
    return 0


# Slurm: a job is a folder with its script, and a runner that plays the controller


def sbatch(arguments: list[str]) -> int:
    at = next(index for index, word in enumerate(arguments) if word.endswith("slurm_job.sh"))
    options, command = arguments[:at], arguments[at:]
    jobs = HERE / "jobs"
    jobs.mkdir(exist_ok=True)
    number = str(len(list(jobs.iterdir())) + 1001)
    exported = dict(word.split("=", 1) for word in option(options, "export").split(",")[1:])
    log = option(options, "output").replace("%x", option(options, "job-name")).replace("%j", number)
    job = {"command": command, "name": option(options, "job-name"), "nodes": option(options, "nodes")}
    write(jobs / number / "job.json", json.dumps(job | {"environment": exported, "log": log, "cwd": os.getcwd()}))
    write(jobs / number / "alive", "")
    detached("slurm_controller", number)
    print(number)
    return 0


def slurm_controller(arguments: list[str]) -> int:
    folder = HERE / "jobs" / arguments[0]
    job = json.loads((folder / "job.json").read_text())
    write(folder / "controller", str(os.getpid()))
    for start in range(20):
        (folder / "requeue").unlink(missing_ok=True)
        environment = os.environ | job["environment"] | {"SLURM_JOB_ID": arguments[0], "SLURM_NTASKS": job["nodes"]}
        environment |= {"SLURM_RESTART_COUNT": str(start), "SLURM_STEP_NUM_NODES": job["nodes"]}
        with (Path(job["cwd"]) / job["log"]).open("a") as log:
            subprocess.run(["bash", *job["command"]], env=environment, cwd=job["cwd"], stdout=log, stderr=log)
        if not (folder / "requeue").exists():
            break
    (folder / "alive").unlink()
    return 0


def srun(arguments: list[str]) -> int:
    """One task a node; all on this machine, which is what JAX reads in the list of nodes."""
    command = [word for word in arguments if not word.startswith("--")]
    tasks = []
    for number in range(int(os.environ["SLURM_NTASKS"])):
        told = {"SLURM_PROCID": str(number), "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "localhost"}
        tasks.append(subprocess.Popen(command, env=os.environ | told))
    write(HERE / "jobs" / os.environ["SLURM_JOB_ID"] / "tasks", " ".join(str(task.pid) for task in tasks))
    return max(task.wait() for task in tasks)


def squeue(arguments: list[str]) -> int:
    if silent("squeue"):
        return refuse("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    name, job = option(arguments, "name"), option(arguments, "job")
    if job and (HERE / "jobs" / job / "forgotten").exists():
        return refuse("slurm_load_jobs error: Invalid job id specified")
    for folder in sorted((HERE / "jobs").glob("*")):
        named = json.loads((folder / "job.json").read_text())["name"]
        if (folder / "alive").exists() and (named == name or folder.name == job):
            print(folder.name)
    return 0


def scontrol(arguments: list[str]) -> int:
    write(HERE / "jobs" / arguments[1] / "requeue", "")
    return 0


# kubectl: a job set is a folder with its manifest, and a runner that plays the controllers


def kubectl(arguments: list[str]) -> int:
    match [word for word in arguments if not word.startswith("--")]:
        case ["get", "jobset", name]:
            if fault("no jobset"):
                return refuse('error: the server doesn\'t have a resource type "jobset"')
            if silent("kubectl"):
                return refuse("Unable to connect to the server: net/http: TLS handshake timeout")
            if (state := read(HERE / "jobsets" / name / "state")) is not None:
                manifest = json.loads(read(HERE / "jobsets" / name / "manifest.json"))
                print(f"{manifest['metadata']['annotations']['toolrm']}/{state}", end="")
            elif "--ignore-not-found" not in arguments:
                return refuse("Error from server (NotFound)")
            return 0
        case ["apply"]:
            import yaml

            manifest = yaml.safe_load(sys.stdin)
            folder = HERE / "jobsets" / manifest["metadata"]["name"]
            write(folder / "manifest.json", json.dumps(manifest))
            write(folder / "state", "")
            detached("jobset_controller", folder.name)
            return 0
        case ["logs"]:
            name = next(word for word in arguments if word.startswith("--selector=")).split(",")[0].split("=")[-1]
            print(read(HERE / "jobsets" / name / "0.log") or "", end="")
            return 0
        case ["delete", "jobset", name]:
            shutil.rmtree(HERE / "jobsets" / name)
            return 0
    return refuse(f"kubectl stand-in: {arguments}", 64)


def jobset_controller(arguments: list[str]) -> int:
    """Restarts and failures follow from the manifest's own policies."""
    folder = HERE / "jobsets" / arguments[0]
    spec = json.loads((folder / "manifest.json").read_text())["spec"]
    allowed = spec["failurePolicy"]["maxRestarts"]
    for _ in range(20):
        codes = pods(folder, spec["replicatedJobs"][0])
        job = spec["replicatedJobs"][0]["template"]["spec"]
        if not any(codes):
            write(folder / "state", "Completed")
            return 0
        named = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
        worst = next(code for code in codes if code)
        reason = "PodFailurePolicy" if any(worst in values for values in named) else "BackoffLimitExceeded"
        free = [rule for rule in spec["failurePolicy"]["rules"] if reason in rule["onJobFailureReasons"]]
        if not (free and free[0]["action"] == "RestartJobSetAndIgnoreMaxRestarts"):
            if not allowed:
                break
            allowed -= 1
    write(folder / "state", "Failed")
    return 0


def pods(folder: Path, group: dict) -> list[int]:
    """Run all pods of a replicated job to their ends."""
    job, port = group["template"]["spec"], free_port()
    count = group["replicas"] * job["completions"]
    container = job["template"]["spec"]["containers"][0]
    command = [word.replace("$$", "$") for word in container["command"]]
    started = []
    for number in range(count):
        environment = told(port, count, number)
        for entry in container.get("env", ()):
            value = entry.get("value") or str(number)
            environment[entry["name"]] = f"localhost:{port}" if ":" in value else value
        with (folder / f"{number}.log").open("a") as log:
            started.append(subprocess.Popen(command, cwd=BUCKET, env=environment, stdout=log, stderr=log))
    write(folder / "tasks", " ".join(str(pod.pid) for pod in started))
    return [pod.wait() for pod in started]


PROGRAMS = (gcloud, gcsfuse, python3, sbatch, srun, squeue, scontrol, kubectl)
BEHIND = (slurm_controller, jobset_controller)


def main() -> int:
    program, *arguments = sys.argv[1:]
    with (HERE / "calls.jsonl").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps([program, *arguments]) + "\n")
    return {each.__name__: each for each in (*PROGRAMS, *BEHIND)}[program](arguments)


if __name__ == "__main__":
    raise SystemExit(main())
