"""Environments, made by the real uv from tiny wheels that a real server on loopback serves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from package_index import IndexServer, PackageIndex, wheel
from packaging.specifiers import SpecifierSet

from tframex_nb.errors import FrameworkError, InstallFailed, SettingsError
from tframex_nb.frameworks._lock import Lock
from tframex_nb.frameworks._places import default_roots
from tframex_nb.frameworks._uv import masked, uv_environment
from tframex_nb.frameworks._uv_output import UvOutput, failure
from tframex_nb.frameworks.environments import Environments, Progress, shipped_locks
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0  # seconds that uv gets to come to a point

INSTALL = """
import asyncio, sys
from pathlib import Path
from tframex_nb.frameworks.environments import Environments
environments = Environments(Path(sys.argv[1]))
tell = lambda progress: print(progress.line, flush=True)
print(asyncio.run(environments.install("tiny", Path(sys.argv[2]), progress=tell)).path)
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """An index of two packages; uv knows no other one, and has an empty cache of its own."""
    served = PackageIndex(
        {
            "alpha-1.0-py3-none-any.whl": wheel("alpha", requires="beta"),
            "beta-2.5-py3-none-any.whl": wheel("beta", "2.5", modules=20),
        }
    )
    server = IndexServer(served)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", served.url)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    yield served
    served.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


@pytest.fixture
def environments(root: Path) -> Environments:
    return Environments(root)


def install(environments: Environments, lock: Path, **options: object):
    return asyncio.run(environments.install("tiny", lock, **options))


def left_in(root: Path) -> list[str]:
    """What lies in a root beside the files that locks lie on; a thread may still delete."""
    end = time.monotonic() + PATIENCE
    while (left := _names(root)) and any("removed" in name for name in left):
        assert time.monotonic() < end
        time.sleep(0.01)
    return left


def _names(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*") if path.suffix != ".lock")


def start_install(root: Path, lock: Path) -> subprocess.Popen[str]:
    """Begin an installation in a process of its own, as another kernel would."""
    return subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(root), str(lock)], stdout=subprocess.PIPE, text=True
    )


def uv_of(process: subprocess.Popen[str]) -> psutil.Process:
    return psutil.Process(process.pid).children()[0]


def test_an_installation_brings_what_the_lock_names(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    """Before it there is nothing, after it a Python that imports the packages and no others."""
    lock = index.lock(tmp_path)
    assert environments.find("tiny", lock) is None
    told: list[Progress] = []
    made = install(environments, lock, progress=told.append)
    assert made.versions == {"alpha": "1.0", "beta": "2.5"}
    assert made == environments.find("tiny", lock)
    assert environments.installed() == [made]
    assert made.path.name.startswith(f"tiny-{made.lock_hash}-py")
    assert made.size_mb > 0
    done = subprocess.run(
        [made.python, "-c", "import alpha, beta.m19; print(alpha.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1.0\n", done.stderr
    assert list(made.path.rglob("beta/__pycache__/m19.*.pyc")), "compiled when it was installed"
    steps = [each.done for each in told]
    assert steps == sorted(steps)
    assert (told[-1].done, told[-1].line) == (told[-1].total, "done")


def test_what_is_installed_is_not_made_again(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    made = install(environments, lock)
    index.asked.clear()
    told: list[Progress] = []
    assert install(environments, lock, progress=told.append) == made
    assert (told, index.asked) == ([], [])


def test_progress_is_told_while_nothing_comes(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    """A download that hangs is seen to hang: the report goes on, and says what is awaited."""
    lock = index.lock(tmp_path)
    index.hold("beta")
    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        told.append(progress)
        if index.reached.is_set() and sum("fetched" in each.line for each in told) > 4:
            index.released.set()

    install(environments, lock, progress=tell)
    waiting = [each for each in told if each.line.startswith("fetched")]
    assert waiting[-1].seconds > waiting[0].seconds
    assert {each.line.split(",")[0] for each in waiting} <= {"fetched 0 of 2", "fetched 1 of 2"}


def test_another_lock_is_another_environment_and_the_old_one_is_stale(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    old = install(environments, lock)
    index.lock(tmp_path, "beta")
    assert environments.find("tiny", lock) is None
    assert environments.stale("tiny", lock) == [old]
    new = install(environments, lock)
    assert new.versions == {"beta": "2.5"}
    assert environments.remove("tiny", keep=lock) > 0
    assert environments.installed() == [new]
    assert environments.remove("tiny") > 0
    assert left_in(environments.root) == []
    assert environments.remove("tiny") == 0


def test_a_package_that_is_not_the_one_of_the_lock_is_refused(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    index.files = {**index.files, "beta-2.5-py3-none-any.whl": wheel("beta", "2.5", modules=3)}
    with pytest.raises(InstallFailed, match="not the one that the lock names") as caught:
        install(environments, lock)
    assert "beta==2.5" in caught.value.message
    assert "do not use that index" in caught.value.hint
    assert environments.find("tiny", lock) is None
    assert left_in(environments.root) == []


def test_a_lock_without_hashes_is_refused(environments: Environments, index: PackageIndex) -> None:
    lock = Path("tiny.txt")
    lock.write_text("alpha==1.0\n")
    with pytest.raises(InstallFailed, match="without a version or a hash") as caught:
        install(environments, lock)
    assert "uv pip compile --universal --generate-hashes" in caught.value.hint


def test_a_lock_that_is_not_there_is_told(environments: Environments) -> None:
    with pytest.raises(InstallFailed, match=r"the lock nowhere\.txt cannot be read"):
        environments.plan("tiny", Path("nowhere.txt"))
    assert environments.find("tiny", Path("nowhere.txt")) is None


def test_an_index_that_is_away_is_told_without_its_credentials(
    environments: Environments,
    index: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://someone:s3cret@127.0.0.1:9/simple")
    told: list[Progress] = []
    with pytest.raises(InstallFailed, match="the package index cannot be reached") as caught:
        install(environments, index.lock(tmp_path), progress=told.append)
    assert "127.0.0.1:9/simple" in caught.value.message
    assert "UV_DEFAULT_INDEX" in caught.value.hint
    assert "s3cret" not in f"{caught.value}{told}"
    assert left_in(environments.root) == []


def test_offline_takes_what_the_cache_has(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    with pytest.raises(InstallFailed, match="the network was not to be used") as caught:
        install(environments, lock, offline=True)
    assert "UV_FIND_LINKS" in caught.value.hint
    install(environments, lock)
    index.asked.clear()
    plan = Environments(tmp_path / "other").plan("tiny", lock)
    assert plan.note == "uv's cache has it: nothing to download"
    made = install(Environments(tmp_path / "other"), lock, offline=True)
    assert made.versions == {"alpha": "1.0", "beta": "2.5"}
    assert index.asked == []


def test_offline_takes_what_a_folder_of_wheels_has(
    environments: Environments,
    index: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, data in index.files.items():
        (folder / name).write_bytes(data)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    made = install(environments, index.lock(tmp_path), offline=True)
    assert made.versions == {"alpha": "1.0", "beta": "2.5"}
    assert index.asked == []


def test_the_index_of_pip_counts_where_uv_has_none(
    environments: Environments,
    index: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    assert install(environments, index.lock(tmp_path)).versions["alpha"] == "1.0"


@pytest.mark.parametrize("with_uv", [False, True], ids=["kernel alone", "uv too"])
def test_an_installation_that_was_killed_goes_on(
    environments: Environments, index: PackageIndex, tmp_path: Path, with_uv: bool
) -> None:
    """Kill -9 in the middle: nothing half-made is used, and no wheel is fetched twice.

    Where only the kernel died, uv goes on for a while: the next one waits for it.
    """
    lock = index.lock(tmp_path)
    index.hold("beta")
    with start_install(environments.root, lock) as process:
        assert index.reached.wait(PATIENCE)
        uv = uv_of(process)
        assert process.stdout is not None
        while "fetched 1 of 2" not in process.stdout.readline():
            pass
        process.kill()
        if with_uv:
            uv.kill()
    assert environments.find("tiny", lock) is None
    assert len(left_in(environments.root)) == 1, "the half-made folder"
    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        told.append(progress)
        if with_uv or any("waiting" in each.line for each in told):
            index.released.set()

    made = install(environments, lock, progress=tell)
    assert made.versions == {"alpha": "1.0", "beta": "2.5"}
    assert index.asked.count("alpha-1.0-py3-none-any.whl") == 1
    assert left_in(environments.root) == [made.path.name]
    psutil.wait_procs([uv], timeout=PATIENCE)
    assert not uv.is_running()


def test_two_kernels_at_once_make_one_environment(
    root: Path, index: PackageIndex, tmp_path: Path
) -> None:
    """The second one waits, says for whom, and then uses what the first one made."""
    lock = index.lock(tmp_path)
    index.hold("beta")
    with start_install(root, lock) as first:
        assert index.reached.wait(PATIENCE)
        with start_install(root, lock) as second:
            assert second.stdout is not None
            waits = second.stdout.readline()
            index.released.set()
            ends = [process.communicate(timeout=PATIENCE)[0] for process in (first, second)]
    assert waits == f"waiting: process {first.pid} installs tiny\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert ends[0].splitlines()[-1] == ends[1].splitlines()[-1]
    assert sorted(index.asked) == sorted(index.files)


def test_a_stop_kills_uv_and_leaves_nothing(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    """After it no process runs, nothing half-made lies there, and the next move is told."""
    lock = index.lock(tmp_path)
    index.hold("beta")
    told: list[Progress] = []

    async def stop() -> list[psutil.Process]:
        task = asyncio.create_task(environments.install("tiny", lock, progress=told.append))
        assert await asyncio.to_thread(index.reached.wait, PATIENCE)
        running = psutil.Process().children(recursive=True)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return running

    running = asyncio.run(stop())
    assert running
    assert not any(process.is_running() for process in running)
    assert told[-1].line.startswith("stopped; nothing half-made is left")
    assert left_in(environments.root) == []
    index.released.set()
    assert install(environments, lock).versions["beta"] == "2.5"


def test_a_stop_while_another_installs_leaves_that_one_alone(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    index.hold("beta")

    async def stop() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await environments.install("tiny", lock)

    with start_install(environments.root, lock) as first:
        assert index.reached.wait(PATIENCE)
        asyncio.run(stop())
        index.released.set()
        first.communicate(timeout=PATIENCE)
    assert environments.find("tiny", lock) is not None


def test_a_folder_that_cannot_be_written_is_told(index: PackageIndex, tmp_path: Path) -> None:
    """Also for root, whom no permission stops: /proc takes no folders."""
    with pytest.raises(InstallFailed, match="cannot be written to") as caught:
        install(Environments(Path("/proc/environments")), index.lock(tmp_path))
    assert "TFRAMEX_FRAMEWORKS_DIR=/proc/environments: reads it" in caught.value.hint


def test_a_shared_folder_is_looked_at_first_and_never_written(
    root: Path, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    shared = tmp_path / "shared"
    made = install(Environments(shared), lock)
    mine = Environments(root, shared=[shared])
    assert mine.find("tiny", lock) == made
    assert install(mine, lock) == made
    assert mine.installed() == [made]
    assert mine.remove("tiny") == 0
    assert mine.stale("tiny", lock) == []
    assert not root.exists()


def test_the_folders_come_from_the_environment(tmp_path: Path) -> None:
    """One folder, or several like a PATH: the last is written; an empty one is the default."""
    own = tmp_path / "tframex_nb" / "frameworks"
    data = {"XDG_DATA_HOME": str(tmp_path)}
    assert default_roots(data) == (own,)
    assert default_roots({**data, "TFRAMEX_FRAMEWORKS_DIR": "/a"}) == (Path("/a"),)
    assert default_roots({**data, "TFRAMEX_FRAMEWORKS_DIR": "/a:"}) == (Path("/a"), own)
    set_in_yaml = Path("/team")
    assert default_roots(data, set_in_yaml) == (set_in_yaml,)
    assert default_roots({"TFRAMEX_FRAMEWORKS_DIR": "/a"}, set_in_yaml) == (Path("/a"),)
    assert default_roots({"TFRAMEX_FRAMEWORKS_DIR": "/a:"}, set_in_yaml)[-1] == set_in_yaml
    home = Path.home() / ".local/share/tframex_nb/frameworks"
    assert default_roots({}) == (home,)


def test_what_is_in_use_is_not_removed(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    made = install(environments, lock)
    command = [made.python, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        with pytest.raises(FrameworkError, match=f"in use by process {worker.pid}"):
            environments.remove("tiny")
        assert environments.find("tiny", lock) == made
    assert environments.remove("tiny") > 0


def test_an_environment_whose_python_went_away_is_made_again(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    made = install(environments, lock)
    made.python.unlink()
    made.python.symlink_to(tmp_path / "gone")
    assert environments.find("tiny", lock) is None
    assert environments.installed() == []
    assert install(environments, lock).python.exists()


def test_a_python_that_is_not_here_is_named_with_the_line_that_brings_it(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    """It is not downloaded: nobody asked for it."""
    lock = index.lock(tmp_path, head="# requires-python: ==3.4.*")
    with pytest.raises(InstallFailed, match=r"tiny needs Python ==3\.4\.\*, and none is here") as e:
        install(environments, lock)
    assert e.value.hint.endswith("-m uv python install '==3.4.*'")
    assert not environments.root.exists()


def test_a_plan_counts_what_is_for_this_system(
    environments: Environments, index: PackageIndex, tmp_path: Path
) -> None:
    lock = index.lock(tmp_path)
    text = lock.read_text().replace("alpha==1.0", "alpha==1.0 ; sys_platform == 'emscripten'")
    lock.write_text(text)
    plan = environments.plan("tiny", lock)
    assert (plan.packages, plan.note) == (1, "its size was not measured")
    assert not environments.root.exists()
    assert index.asked == []


@pytest.mark.parametrize("name", ["../up", "", "a b", "-x"])
def test_a_name_that_leads_elsewhere_is_refused(
    environments: Environments, index: PackageIndex, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InstallFailed, match="cannot name an environment"):
        environments.find(name, index.lock(tmp_path))


def test_variables_that_would_mislead_uv_stay_behind() -> None:
    given = {"VIRTUAL_ENV": "/x", "PYTHONPATH": "/y", "UV_INDEX_URL": "u", "PIP_INDEX_URL": "p"}
    kept = uv_environment(given)
    assert kept.keys().isdisjoint({"VIRTUAL_ENV", "PYTHONPATH", "UV_DEFAULT_INDEX"})
    assert kept["UV_INDEX_URL"] == "u"
    assert uv_environment({"PIP_INDEX_URL": "p"})["UV_DEFAULT_INDEX"] == "p"


def test_credentials_are_masked() -> None:
    assert masked("at https://me:pw@host/simple/x, not a@b") == (
        "at https://***@host/simple/x, not a@b"
    )


@pytest.mark.parametrize(
    ("said", "reason", "hint"),
    [
        (
            "Failed to extract archive: No space left on device (os error 28)",
            "the disk is full",
            "TFRAMEX_FRAMEWORKS_DIR",
        ),
        (
            "Failed to fetch: `https://a:b@host/simple/x/` HTTP status client error (401 "
            "Unauthorized)",
            "refused access",
            "credentials",
        ),
        ("failed to create directory: Permission denied (os error 13)", "written to", "own"),
        ("Read-only file system (os error 30)", "written to", "own"),
        (
            "Because x==1 has no wheels with a matching platform tag and you require x==1",
            "no wheel for this system",
            "another Python",
        ),
        (
            "Because there is no version of x==1 and you require x==1",
            "does not have all",
            "mirror may lag behind",
        ),
        ("something quite new", "something quite new", "look at what uv says"),
    ],
    ids=["disk", "credentials", "permission", "read-only", "wheel", "lag", "unknown"],
)
def test_what_uv_says_becomes_a_reason_and_a_next_move(said: str, reason: str, hint: str) -> None:
    error = failure("tiny", ["Resolved 3 packages in 1ms", f"error: {said}"])
    assert reason in error.message
    assert hint in error.hint
    assert "a:b@" not in error.message
    assert error.framework == "tiny"


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_what_uv_draws_is_read_in_pieces_of_any_size(size: int) -> None:
    """Redraws, bars and padding as uv 0.13 writes them; a drawn part is never said."""
    pad = " " * 60
    drawn = (
        f"⠋ Resolving dependencies...{pad}\r\x1b[2K⠙ alpha==1.0{pad}\r\x1b[2K"
        f"Resolved 3 packages in 9ms\r\n⠋ Preparing packages... (0/2){pad}\r\x1b[2K"
        f"⠙ Preparing packages... (1/2){pad}beta      ------------------------------ "
        f"1.51 MiB/2.00 MiB{pad}\x1b[1A\r\x1b[2KPrepared 2 packages in 1s\r\n"
        f"░░░ [0/3] Installing wheels...{pad}\r\x1b[2K██░ [2/3] beta==2.5{pad}\r\x1b[2K"
    )
    output, seen = UvOutput(3), []
    for start in range(0, len(drawn), size):
        output.feed(drawn[start : start + size])
        seen.append((output.done, output.line))
    output.end()
    seen.append((output.done, output.line))
    assert (2, "fetched 1 of 2, beta 1.51 of 2.00 MiB") in seen or size == 4096
    assert seen[-1] == (5, "placed 2 of 3")
    assert (output.said[0][:9], output.total) == ("Resolving", 9)
    assert not any("MiB" in line for line in output.said)
    output.feed("Installed 3 packages in 5ms\r\n")
    assert output.compiling
    output.compiled(0.5)
    assert output.done == 7


@pytest.mark.parametrize("name", sorted(shipped_locks()))
def test_a_lock_that_comes_with_the_package_holds_everywhere(name: str) -> None:
    """Hashed, wheels only, measured as it is, and without an index, a host or a path."""
    path = shipped_locks()[name]
    lock, text = Lock.read(path), path.read_text()
    assert "--only-binary :all:" in text
    assert "://" not in text
    assert "index-url" not in text
    assert str(Path.home()) not in text
    pins = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert len(pins) >= lock.packages("3.12.0") > 10
    assert text.count("==") >= len(pins)
    assert all(line.endswith("\\") for line in pins), "each pin is followed by its hashes"
    pythons = SpecifierSet(lock.requires_python)
    assert "3.11.0" in pythons
    assert "3.13.9" in pythons
    assert ("3.14.0" in pythons) == (name != "crewai")
    sizes = json.loads(path.with_name("sizes.json").read_text())[name]
    assert sizes["lock"] == lock.digest, "the lock changed since it was measured: make locks"
    assert lock.size() == (sizes["download_mb"], sizes["disk_mb"])
    assert sizes["packages"] == lock.packages("3.12.0")
    wanted = path.with_suffix(".in").read_text().splitlines()
    for line in wanted:
        if line and not line.startswith("#"):
            assert f"\n{line.split('[')[0]}" in text


def test_litellm_is_not_in_any_lock() -> None:
    """It is slow, and none of the frameworks needs it to reach an OpenAI-compatible endpoint."""
    assert not any("\nlitellm==" in path.read_text() for path in shipped_locks().values())


def command(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start ``tframex-nb frameworks`` with this folder for the environments."""
    return subprocess.Popen(
        [sys.executable, "-m", "tframex_nb", "frameworks", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TFRAMEX_FRAMEWORKS_DIR": str(root)},
    )


def output_of(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    with process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    return out, err


def test_the_command_lists_all_and_says_how_to_begin(root: Path) -> None:
    out, _ = output_of(command(root))
    rows = [line.split()[0] for line in out.splitlines() if line and line[0] != " "]
    assert rows == ["name", "native", *sorted(shipped_locks()), "next:"]
    assert out.splitlines()[-1] == "next: tframex-nb frameworks install agent_framework"
    states = {
        row["name"]: row["state"] for row in json.loads(output_of(command(root, "--json"))[0])
    }
    assert states == {"native": "built in", **dict.fromkeys(shipped_locks(), "not installed")}


def test_the_command_tells_a_plan(root: Path, index: PackageIndex) -> None:
    """It is told without the network, and nothing is made."""
    row = output_of(command(root, "plan", "smolagents"))[0].splitlines()[-1].split()
    assert row[:4] == ["smolagents", "35", "23", "101"]
    assert not root.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("install", "crewia"), "did you mean 'crewai'?"),
        (("install",), "install wants NAME …, or --all"),
        (("remove", "crewai", "--all"), "remove wants NAME …, or --all"),
        (("instal", "crewai"), "invalid choice"),
    ],
    ids=["unknown", "none", "both", "verb"],
)
def test_the_command_refuses_what_it_cannot_do(
    root: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in output_of(command(root, *arguments), code=2)[1]


def test_the_command_ends_with_the_reason_of_a_failure(root: Path, index: PackageIndex) -> None:
    out, err = output_of(command(root, "install", "smolagents", "--offline"), code=2)
    assert "smolagents: 35 packages, 101 MB on disk; 23 MB to download" in out
    assert "InstallFailed: smolagents was not installed: it is not all in uv's cache" in err
    assert "hint: install it once with the network" in err


def test_a_stop_in_the_terminal_ends_uv_and_says_how_to_go_on(
    root: Path, index: PackageIndex
) -> None:
    """Ctrl-C: exit code 130, no process, no half-made folder."""
    index.hold("*")
    process = command(root, "install", "smolagents")
    assert index.reached.wait(PATIENCE)
    uv = uv_of(process)
    process.send_signal(signal.SIGINT)
    _, err = output_of(process, code=130)
    assert "smolagents: nothing half-made is left" in err
    assert not uv.is_running()
    assert left_in(root) == []


def test_the_command_removes_what_is_there(root: Path, index: PackageIndex, tmp_path: Path) -> None:
    """An environment of an older lock is shown as stale, and freed."""
    made = asyncio.run(Environments(root).install("crewai", index.lock(tmp_path)))
    rows = {row["name"]: row for row in json.loads(output_of(command(root, "--json"))[0])}
    assert rows["crewai"]["state"] == "stale: install it again"
    assert rows["crewai"]["where"] == str(made.path)
    assert output_of(command(root, "remove", "crewai"))[0].startswith("crewai: freed ")
    assert output_of(command(root, "remove", "crewai"))[0] == "crewai: nothing to remove\n"
    assert left_in(root) == []


def test_the_variable_of_the_folder_is_no_unknown_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the environment's alone: a folder's file cannot say which programs are run."""
    monkeypatch.setenv("TFRAMEX_FRAMEWORKS_DIR", str(tmp_path))
    assert load_settings().sources == {}
    Path(".env").write_text("TFRAMEX_FRAMEWORKS_DIR=/elsewhere\n")
    with pytest.raises(SettingsError, match="there is no such setting"):
        load_settings()
