"""Make an environment in .venv and run a command in it; needs nothing but a Python >= 3.11.

    python3 scripts/bootstrap.py run  [flags of scripts/run.py]   the main job
    python3 scripts/bootstrap.py test [--slow]                    linter, types and tests

`train`, `attack`, `report`, `tradeoff`, `dynamics`, `compare`, `rnn_vs_ffnn` and `account` run the other
scripts. Versions are those
of constraints.txt. The environment is made once and renewed when pyproject.toml, constraints.txt or the Python
changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 11)
SCRIPTS = ("run", "train", "attack", "report", "tradeoff", "dynamics", "compare", "account", "rnn_vs_ffnn")


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is its own."""
    if sys.version_info < OLDEST:
        return in_newer_python(arguments)
    if not arguments or arguments[0] not in (*SCRIPTS, "test"):
        asked = set(arguments) & {"-h", "--help"}
        print(__doc__)
        if arguments and not asked:
            print(
                f"error: {arguments[0]!r} is no command: it must be one of {', '.join((*SCRIPTS, 'test'))}."
            )
        return 0 if asked else 2
    command, flags = arguments[0], arguments[1:]
    if command in SCRIPTS:
        install(extra="")
        # The script takes this process's place, so that Ctrl-C reaches it and nothing else.
        os.execv(python(), [python(), str(ROOT / "scripts" / f"{command}.py"), *flags])
    install(extra="test")
    return test(slow="--slow" in flags)


def test(*, slow: bool) -> int:
    """Linter, type checker and fast tests; or the slow tests alone."""
    # The tests of one file share what they compile.
    pytest = [python(), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
    fast = [
        [python(), "-m", "ruff", "check", "."],
        [python(), "-m", "ruff", "format", "--check", "."],
        [python(), "-m", "pyrefly", "check", "--python-interpreter-path", python()],
        [*pytest, "-m", "not slow"],
    ]
    commands = [[*pytest, "-m", "slow"]] if slow else fast
    return next((code for code in map(call, commands) if code), 0)


def install(extra: str) -> None:
    """Make .venv what pyproject.toml and constraints.txt ask for, unless it is already."""
    stamp = VENV / f"installed{'-' if extra else ''}{extra}"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not all(marker.read_text() == wanted for marker in VENV.glob("installed*")):
        shutil.rmtree(VENV)
    print(f"Installing into {VENV.name}, once; this takes a minute or two …", flush=True)
    if not Path(python()).exists():
        make_venv()
    target = f".[{extra}]" if extra else "."
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        "constraints.txt",
        "--editable",
        target,
    ]
    if call([*pip(), "install", *options]):
        sys.exit(
            "error: the installation failed; what pip said stands above. Run the same command to try again."
        )
    stamp.write_text(wanted)


def make_venv() -> None:
    """An environment in .venv, with pip where the system's Python can give it one."""
    if call([sys.executable, "-m", "venv", str(VENV)], quiet=True) == 0:
        return
    # Some systems part ensurepip from Python; their own pip can then install into the environment.
    if call([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)], quiet=True):
        sys.exit(
            "error: this Python cannot make environments: install its venv module (python3-venv on Debian)."
        )


def pip() -> list[str]:
    """The command that installs into .venv."""
    if call([python(), "-m", "pip", "--version"], quiet=True) == 0:
        return [python(), "-m", "pip"]
    if call([sys.executable, "-m", "pip", "--python", python(), "--version"], quiet=True) == 0:
        return [sys.executable, "-m", "pip", "--python", python()]
    sys.exit(
        "error: no pip was found for this Python: install it (python3-venv on Debian) and run this again."
    )


def in_newer_python(arguments: list[str]) -> int:
    """Hand over to a Python that is new enough, if there is one."""
    for minor in (13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        if found and call([found, "--version"], quiet=True) == 0:
            return subprocess.call([found, __file__, *arguments])
    sys.exit(f"error: Python {sys.version.split()[0]} is too old: 3.11 or newer is needed.")


def fingerprint() -> str:
    """What the environment is made from."""
    sources = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    parts = [sys.version, str(ROOT), *(source.read_text(encoding="utf-8") for source in sources)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def python() -> str:
    """The environment's Python."""
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def call(command: list[str], *, quiet: bool = False) -> int:
    """The exit code of a command run from the repository's root."""
    sink = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.call(command, cwd=ROOT, stdout=sink, stderr=sink)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
