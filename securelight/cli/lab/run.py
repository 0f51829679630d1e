"""Runs the lab until it is told to stop."""

from __future__ import annotations

import ipaddress
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import click
import trio

from securelight.lab.case import Verdict
from securelight.lab.catalogue import CASES
from securelight.lab.check.runner import write_client_files
from securelight.lab.lab import Lab, LabError
from securelight.model.extras import install_command


def run_lab(address: str, port: int, directory: Path | None) -> None:
    """Run the lab; files go to `directory`, or to a temporary one that is removed again.

    Errors: LabError, CheckError.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise LabError(f"--address {address}: is not an IP address.") from None
    kept = directory is not None
    if directory is None:
        directory = Path(tempfile.mkdtemp(prefix="securelight-lab-"))
    try:
        if kept:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise LabError(f"{directory} cannot be made: {error.strerror}.") from error
        lab = Lab()
        lab.report = lambda words: click.echo(f"  Our own error, please report it: {words}", err=True)
        write_client_files(lab, directory)
        trio.run(_run, lab, address, port, directory)
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)


async def _run(lab: Lab, address: str, port: int, directory: Path) -> None:
    await lab.open(address, port)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lab.run)
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                for line in greeting(lab, directory):
                    click.echo(line)
                async for _ in signals:
                    break
            nursery.cancel_scope.cancel()
    finally:
        await lab.close()
    click.echo("\nThe lab is closed.")


def greeting(lab: Lab, directory: Path) -> list[str]:
    """What a person has to know, in the fewest words."""
    counts = Counter(case.verdict for case in lab.cases)
    missing = [case for case in CASES if case.not_offered]
    address = "" if lab.places.address == "127.0.0.1" else f" on {lab.places.address}"
    lines = [
        "",
        f"  {click.style('TLS lab', bold=True)}  {click.style(lab.url, fg='cyan', underline=True)}{address}",
        "",
        f"  {len(lab.cases)} endpoints: a correct client accepts {counts[Verdict.ACCEPT] + counts[Verdict.WARN]}, "
        f"refuses {counts[Verdict.REFUSE]}, and may choose in {counts[Verdict.EITHER]}.",
        f"  Authority            {directory / 'ca.pem'}",
        f"  Client certificates  {directory}/client-*.pem",
        "",
        f"  curl --cacert {directory / 'ca.pem'} https://expired.localhost:{lab.places.tls_port}/",
        "",
    ]
    needed = [case for case in missing if "pip install" in case.not_offered]
    if needed:
        lines += [f"  {len(needed)} more with tlslite-ng: {install_command('lab')}", ""]
    return [*lines, click.style("  Ctrl-C ends it.", dim=True)]
