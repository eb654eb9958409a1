# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice cryosparc``: screen the outputs of cryoSPARC jobs, and save the result as an External Job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Optional

from cryoice_scipion.core.cli import screen
from cryoice_scipion.core.cli.screen_options import add_resume, add_screen_options

EPILOG = (
    "The password is taken from the environment variable CRYOSPARC_PASSWORD, or from an earlier 'python -m "
    "cryosparc.tools login'. The variables CRYOSPARC_BASE_URL, CRYOSPARC_MASTER_HOSTNAME, CRYOSPARC_BASE_PORT and "
    "CRYOSPARC_EMAIL replace the options. Exit status: as 'cryoice screen'."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options: those of the server and the job, and the settings of ``screen``."""
    parser.epilog = EPILOG
    server = parser.add_argument_group("server").add_argument
    server("--url", metavar="URL", help="address of cryoSPARC in the browser (cryosparc-tools 5)")
    server("--host", metavar="NAME", help="host of the cryoSPARC master, instead of --url")
    server("--base-port", type=int, metavar="PORT", help="base port of the cryoSPARC master")
    server("--email", metavar="ADDRESS", help="email address of the cryoSPARC account")
    job = parser.add_argument_group("job").add_argument
    job("--project", required=True, metavar="P", help="project, for example P3")
    job("--workspace", required=True, metavar="W", help="workspace for the new job, for example W1")
    job("--exposures", required=True, metavar="J[:OUTPUT]", help=f"job with the micrographs; {_OUTPUT}")
    job("--particles", metavar="J[:OUTPUT]", help=f"job with the picks; {_OUTPUT}")
    job("--output", required=True, type=Path, metavar="DIR", help="folder for all output files")
    add_screen_options(parser.add_argument)
    add_resume(parser)


_OUTPUT = "without OUTPUT, its output with one of the usual names"


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.integrations.cryosparc_job import JobRequest, connect, run_job

    output = args.output.resolve()
    client = connect(base_url=args.url, host=args.host, base_port=args.base_port, email=args.email)
    request = JobRequest(args.project, args.workspace, args.exposures, args.particles, output)

    def run(exposures: Path, particles: Optional[Path]) -> int:
        """Screen the input of the job."""
        given = {"micrographs": [str(exposures)], "coordinates": str(particles) if particles else None}
        nothing = {"watch": False, "timeout": None, "settle": None, "output": output}
        return screen.main(argparse.Namespace(**{**vars(args), **nothing, **given}))

    return run_job(client, request, run)
