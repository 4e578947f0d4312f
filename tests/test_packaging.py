"""The wheel: what is in it, and that a study runs from it where the repository is not."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]

STUDY = """
import sys, mia_jax
from mia_jax import cli
sys.argv = ["mia-run", "--workdir=run", "--config.data.source=synthetic:gaussian,classes=3,features=6",
    "--config.data.pool_size=40", "--config.data.population_size=30", "--config.membership.train_size=20",
    "--config.membership.num_models=8", "--config.membership.design=paired", "--config.training.epochs=2",
    "--config.training.batch_size=10", "--config.recording.num_checkpoints=1", "--config.families={}",
    "--config.families={'mlp': {'kind': 'mlp', 'hidden': 4}}", "--config.attacks.names=('loss',)"]
print(mia_jax.__file__)
cli.run()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built with the backend that is installed, so that nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_what_the_package_reads_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    package = ROOT / "mia_jax"
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    ours = {path.relative_to(ROOT).as_posix() for path in files}
    assert {name for name in ours if name.endswith((".py", ".jinja", ".js", ".css", ".typed"))} <= names
    configs = {f"mia_jax/configs/{name}.py" for name in ("digits", "tradeoff_digits", "dynamics_digits")}
    assert names - ours == configs


@pytest.mark.slow
def test_a_study_runs_from_the_wheel_outside_of_the_repository(wheel, tmp_path):
    """From an empty folder; the libraries are those of this environment."""
    target, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", STUDY],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(target))
    assert (empty / "run" / "report.html").stat().st_size > 10_000
