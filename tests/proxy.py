"""The proxy of docs/systemd/proxy.conf on a test's own ports: this machine's nginx, or Debian's package."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.processes import server, wait_until

CONFIG = Path(__file__).resolve().parent.parent / "docs" / "systemd" / "proxy.conf"
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def find_nginx(folder: Path) -> tuple[str, str]:
    """The program, and empty; or empty, and why there is none.

    Where nginx is not installed, Debian's package is fetched and unpacked into `folder`: nothing is
    installed, since the package would start a web server.
    """
    if found := shutil.which("nginx", path=SYSTEM_PATH):
        return found, ""
    if shutil.which("apt-get") is None:
        return "", "nginx is not installed, and there is no apt-get to fetch it"
    folder.mkdir()
    download = ("apt-get", "download", "nginx")
    if _run(folder, *download) and (_run(folder, "apt-get", "update", "-qq") or _run(folder, *download)):
        return "", "nginx is not installed, and its package cannot be fetched"
    unpacked = folder / "root"
    if any(
        _run(folder, "dpkg-deb", "--extract", str(package), str(unpacked)) for package in folder.glob("*.deb")
    ):
        return "", "nginx's package cannot be unpacked"
    program = unpacked / "usr" / "sbin" / "nginx"
    if not program.exists() or _run(folder, str(program), "-v"):
        return "", "nginx is not installed, and the one that was fetched does not start here"
    return str(program), ""


def _run(folder: Path, *words: str) -> int:
    try:
        return subprocess.run(words, cwd=folder, capture_output=True, timeout=60, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 1


@contextmanager
def proxy(
    program: str,
    folder: Path,
    credentials: Path,
    *,
    port: int,
    superlink: int,
    address: str = "127.0.0.1",
    host: Sequence[str] = (),
) -> Iterator[Path]:
    """The proxy on `port`, before a SuperLink on loopback's port `superlink`; yields its log.

    `host` are the words before a command that run it on another host.
    """
    text = CONFIG.read_text(encoding="utf-8")
    for shipped, here in {
        "listen 9092 ": f"listen {address}:{port} ",
        "127.0.0.1:9093": f"127.0.0.1:{superlink}",
        "/etc/murmuration/proxy/": f"{credentials}/",
        "/tmp/murmuration-proxy": f"{folder}/proxy",
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    (folder / "proxy.conf").write_text(text, encoding="utf-8")
    log = folder / "proxy.log"
    command = (*host, program, "-e", "stderr", "-c", folder / "proxy.conf", "-g", "daemon off;")
    with server(*command, home=folder, log=log) as process:
        wait_until(
            lambda: process.poll() is not None or (folder / "proxy.pid").exists(),
            seconds=20,
            what="the proxy's start",
        )
        assert process.poll() is None, log.read_text(errors="replace")
        yield log
