"""Varnish has no TLS: hitch, the terminator that its makers recommend, stands before it, and both count.

python -m benchmarks.peers.varnish DIRECTORY PAIR.pem PORT ORIGIN_PORT
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from benchmarks.processes import free_port
from benchmarks.setting import find_program


def main(directory: str, pair: str, port: str, origin: str) -> None:
    """Run both until a signal comes or one ends."""
    behind = free_port()
    varnishd, hitch = find_program("varnishd"), find_program("hitch")
    if varnishd is None or hitch is None:
        sys.exit("varnish or hitch is not installed")
    config = Path(directory) / "hitch.conf"
    config.write_text(
        f'frontend = "[127.0.0.1]:{port}"\nbackend = "[127.0.0.1]:{behind}"\npem-file = "{pair}"\nworkers = 1\n'
        'alpn-protos = "http/1.1"\nwrite-proxy-v2 = on\nlog-level = 0\nkeepalive = 600\nbacklog = 1024\n'
        + ('user = "nobody"\n' if os.geteuid() == 0 else "")  # it refuses to work as root
    )
    settings = [f"-p{name}" for name in ("thread_pools=1", "timeout_idle=600")]
    commands = (
        [
            varnishd, "-F", "-j", "none", "-n", str(Path(directory) / "varnish"), "-a", f"127.0.0.1:{behind},PROXY",
            "-b", f"127.0.0.1:{origin}", *settings, "-s", "malloc,64M",
        ],
        [hitch, f"--config={config}"],
    )  # fmt: skip
    processes = [subprocess.Popen(one, stdin=subprocess.DEVNULL) for one in commands]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for process in processes:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)
    for process in processes:
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
