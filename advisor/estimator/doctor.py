"""What is installed, which GPU there is, what is out of date, and what to measure next."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

from pydantic import Field

from advisor import store
from advisor.catalog.prices import offers, prices
from advisor.domain.hardware import Gpu
from advisor.domain.profile import Calibration
from advisor.domain.stored import Value
from advisor.domain.units import plural
from advisor.errors import AdvisorError
from advisor.estimator.measurements import calibration_of, profiles
from advisor.libraries import installed_versions
from advisor.profiler.device import gpu_at_hand
from advisor.tracer.library_releases import ALIKE, LIBRARIES, series

DRIVER_SECONDS: Final = 20.0
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:[>=~!<]=?\s*([0-9][^,;\s]*))?")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
FOR_DEVELOPERS: Final = frozenset({"test", "release"})


class Library(Value):
    """A library that advisor uses. `needed` is the lowest version; `extra` what brings it, "" where it always comes."""

    name: str
    installed: str | None = None
    needed: str = ""
    extra: str = ""
    too_old: bool = False
    traces: str = Field("", description="ready | made anew: whether shipped traces hold for this release; else empty")


class Checkup(Value):
    """What `doctor()` found. `to_do` is what to type, most useful first; nothing in it is needed for an answer."""

    advisor: str
    python: str
    system: str
    libraries: tuple[Library, ...]
    gpu: str | None = Field(None, description="the catalogue's name of this machine's GPU")
    gpu_note: str = Field("", description="what it calls itself, or why there is none")
    driver: str | None = None
    calibrated_on: int = Field(0, description="measured runs behind the fit of this GPU; 0: none")
    own_profiles: int = 0
    prices: int = 0
    prices_old: int = 0
    prices_read: tuple[date, date] | None = Field(None, description="days of the oldest and the newest price")
    data_folder: str = ""
    offline: bool = Field(False, description="HF_HUB_OFFLINE is set: models come from the catalogue and the cache")
    problems: tuple[str, ...] = ()
    to_do: tuple[str, ...] = ()


def doctor() -> Checkup:
    """Look at this machine and this installation; starts torch in a process of its own, which takes seconds.

    Returns:
        Libraries with their versions, GPU and driver, what is out of date, and what to do about it.

    Example:
        advisor.doctor().to_do
    """
    problems: list[str] = []
    libraries = tuple(_libraries())
    gpu, note = _gpu()
    fit = _fit_of(gpu, problems)
    own = _own_profiles(problems)
    found = prices()
    today = date.today()
    days = sorted(price.read_on for price in found if price.read_on is not None)
    old = sum(price.stale(today) for price in found)
    problems.extend(_of_libraries(libraries))
    return Checkup(
        advisor=installed_versions(["advisor"]).get("advisor", "not installed"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        libraries=libraries,
        gpu=gpu.name if gpu else None,
        gpu_note=note,
        driver=_driver(),
        calibrated_on=len(fit.fitted_on) if fit else 0,
        own_profiles=own,
        prices=len(found),
        prices_old=old,
        prices_read=(days[0], days[-1]) if days else None,
        data_folder=str(store.home("data")),
        offline=os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"),
        problems=tuple(problems),
        to_do=tuple(_to_do(libraries, gpu, fit, old=old, today=today)),
    )


def _libraries() -> Iterator[Library]:
    """What the package's own metadata asks for, each once, the needed ones first; developers' tools are left out."""
    try:
        asked = requires("advisor") or []
    except PackageNotFoundError:
        asked = list(LIBRARIES)
    known: dict[str, Library] = {}
    for text in asked:
        requirement, _, marker = text.partition(";")
        found, extra = _REQUIREMENT.match(requirement), _EXTRA.search(marker)
        if found is None or (extra and extra[1] in FOR_DEVELOPERS) or found[1] in known:
            continue
        version = installed_versions([found[1]]).get(found[1])
        needed = found[2] or ""
        known[found[1]] = Library(
            name=found[1],
            installed=version,
            needed=needed,
            extra=extra[1] if extra else "",
            too_old=bool(version and needed and _numbers(version) < _numbers(needed)),
            traces=_traces(found[1], version),
        )
    yield from sorted(known.values(), key=lambda library: (library.extra, library.name not in LIBRARIES, library.name))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _traces(name: str, version: str | None) -> str:
    """Whether the shipped traces hold for a release of a library that steps depend on."""
    if name not in ALIKE or version is None:
        return ""
    return "ready" if series(version.partition("+")[0]) in ALIKE[name] else "made anew"


def _of_libraries(libraries: tuple[Library, ...]) -> Iterator[str]:
    for library in libraries:
        if library.too_old:
            yield f"{library.name} {library.installed} is older than {library.needed}"
        if library.installed is None and not library.extra:
            yield f"{library.name} is not installed"


def _gpu() -> tuple[Gpu | None, str]:
    try:
        return gpu_at_hand()
    except AdvisorError as error:
        cause = f" ({error.cause})" if error.cause else ""
        return None, f"{error.message.removeprefix('--gpu auto: ')}{cause}"


def _driver() -> str | None:
    """The NVIDIA driver's version, None where there is none or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(said.split()), None)


def _fit_of(gpu: Gpu | None, problems: list[str]) -> Calibration | None:
    try:
        return calibration_of(gpu.name) if gpu else None
    except AdvisorError as error:
        problems.append(error.message)
        return None


def _own_profiles(problems: list[str]) -> int:
    own = store.home("data")
    try:
        return sum(path.is_relative_to(own) for path, _ in profiles())
    except AdvisorError as error:
        problems.append(error.message)
        return 0


def _to_do(
    libraries: tuple[Library, ...], gpu: Gpu | None, fit: Calibration | None, *, old: int, today: date
) -> Iterator[str]:
    for library in libraries:
        if library.too_old or (library.installed is None and not library.extra):
            least = f">={library.needed}" if library.needed else ""
            yield f"pip install '{library.name}{least}'"
    anew = [f"{library.name} {library.installed}" for library in libraries if library.traces == "made anew"]
    if anew:
        yield f"nothing, but wait: the first answer of each recipe traces its step anew, for {', '.join(anew)}"
    if gpu is not None and fit is None:
        yield f"advisor profile --campaign gpu-10-minutes, then advisor calibrate --gpu {gpu.name}: no run is measured"
    if fit is not None and fit.would_narrow:
        yield f"measure, which would narrow the answer most: {fit.would_narrow[0]}"
    here = [price for price in offers(gpu.name) if price.stale(today)] if gpu else []
    if old or here:
        yield f"advisor prices --refresh: {plural(old, 'price')} older than 90 days or undated"
