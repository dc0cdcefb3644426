"""Real engines on this machine's loopback: a registry, a Docker daemon, and an image to start from.

Each runs as long as its block, and leaves no process, mount, network or rule of a firewall behind.
When the tests are killed, the engines end with them; what stays mounted goes when the next starts.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

COMMANDS = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "setpriv": "util-linux",
}
BASE_IMAGE = "base:python3"
PACKAGES = "python3,python3-venv,ca-certificates"
BASE = Path(__file__).parents[2] / "build" / "base-image.tar"  # made once: it takes a minute
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# How this machine reaches package indexes; an image that is built on it must know, too.
SETTINGS = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"),
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


def missing() -> str:
    """Why the engines cannot run here; nothing when they can."""
    packages = sorted({COMMANDS[name] for name in COMMANDS if not shutil.which(name)})
    if packages:
        return f"needs Debian's packages {' '.join(packages)}"
    return "" if os.geteuid() == 0 else "needs root, to start a Docker daemon"


@contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Debian's registry, keeping everything below `folder`; gives its `host:port`."""
    data = folder / "registry"
    data.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = data / "config.yml"
    settings.write_text(
        "version: 0.1\nlog: {level: info}\n"
        f"storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    host, _, port = address.partition(":")

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return True
        return False

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "REGISTRY_"))}
    with _running(["docker-registry", "serve", str(settings)], data / "log", answers, clean):
        yield address


@contextmanager
def docker_engine(folder: Path, bridge: bool = True) -> Iterator[str]:
    """A Docker daemon; gives its DOCKER_HOST. Its log stays in `folder`.

    It touches no firewall, so containers are reached at published ports, and reach nothing but this
    machine: builds that install something need `--network host`. Without a `bridge`, containers
    have no network but the host's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in Path(tempfile.gettempdir()).glob("engine-*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            _clear(left)
    # Not in `folder`: the path of a socket has room for a hundred characters.
    home = Path(tempfile.mkdtemp(prefix=f"engine-{os.getpid()}-"))
    host = f"unix://{home}/docker.sock"
    name = _bridge(home) if bridge else "none"
    command = [
        "dockerd", f"--host={host}", f"--data-root={home}/data", f"--exec-root={home}/exec",
        f"--pidfile={home}/pid", f"--config-file={home}/daemon.json", f"--bridge={name}",
        "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false",
    ]  # fmt: skip
    (home / "daemon.json").write_text(f'{{"deprecated-key-path": "{home}/key.json"}}')

    def answers() -> bool:
        asked = ["docker", "version", "--format", "{{.Server.Version}}"]
        return not subprocess.run(
            asked, env=os.environ | {"DOCKER_HOST": host}, capture_output=True, check=False
        ).returncode

    try:
        if bridge:
            _ip("link", "add", name, "type", "bridge")
            _ip("address", "add", f"{_free_network()}.1/24", "dev", name)
            _ip("link", "set", name, "up")
        with _running(command, folder / "dockerd.log", answers):
            try:
                yield host
            finally:
                _docker(host, "container", "prune", "--force")
                if found := _docker(host, "ps", "--quiet").split():
                    _docker(host, "rm", "--force", *found)
    finally:
        _clear(home)


@contextmanager
def base_image(engine: str) -> Iterator[str]:
    """An image with Python, made here because no registry can be asked for one; its name."""
    if not BASE.exists():
        _make_base(BASE)
    options = [f"--change=ENV {key}={os.environ[key]}" for key in SETTINGS if os.environ.get(key)]
    options += [f"--change=ENV SSL_CERT_FILE={CERTIFICATES}", "--change=CMD python3"]
    _docker(engine, "import", *options, str(BASE), BASE_IMAGE)
    try:
        yield BASE_IMAGE
    finally:
        _docker(engine, "rmi", "--force", BASE_IMAGE)


def _make_base(target: Path) -> None:
    """Debian's Python, with what this machine trusts and where it finds packages."""
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=target.parent) as folder:
        root = Path(folder) / "root"
        options = ["--variant=minbase", f"--include={PACKAGES}"]
        command = ["debootstrap", *options, "bookworm", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        for settings in (Path("/etc/pip.conf"), Path("/etc/uv/uv.toml")):
            if settings.exists():
                (root / settings.relative_to("/")).parent.mkdir(exist_ok=True)
                shutil.copy(settings, root / settings.relative_to("/"))
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
            shutil.rmtree(root / cache)
        made = Path(folder) / "base.tar"
        subprocess.run(["tar", "-C", root, "-cf", made, "."], check=True, timeout=300)
        made.replace(target)


@contextmanager
def _running(
    command: list[str],
    log: Path,
    answers: Callable[[], bool],
    environment: dict[str, str] | None = None,
) -> Iterator[None]:
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        end = time.monotonic() + 60
        while not answers():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _docker(engine: str, *arguments: str) -> str:
    environment = os.environ | {"DOCKER_HOST": engine}
    command = ["docker", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(command[:3])}: {done.stderr}"
    return done.stdout


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


def _free_network() -> str:
    """Three numbers of a network that no interface here has."""
    command = ["ip", "-4", "-oneline", "address", "show"]
    used = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return next(f"10.254.{n}" for n in range(256) if f" 10.254.{n}." not in used)


def _bridge(home: Path) -> str:
    """The name of a daemon's network; fifteen characters fit."""
    return f"e-{home.name.rpartition('-')[2]}"


def _clear(home: Path) -> None:
    """Remove what a daemon leaves: mounts, its network, its files."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if Path(mount).is_relative_to(home):
            subprocess.run(["umount", "--lazy", mount], check=False, timeout=30)
    if Path("/sys/class/net", _bridge(home)).exists():
        _ip("link", "delete", _bridge(home))
    shutil.rmtree(home, ignore_errors=True)
