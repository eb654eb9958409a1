# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by CCP-EM Pipeliner's own interpreter, in a project: run and continue the job, and print what Pipeliner finds."""

import json
import shutil
import sys
from pathlib import Path

from pipeliner.api.manage_project import PipelinerProject
from pipeliner.job_factory import get_job_types, read_job
from pipeliner.project_graph import ProjectGraph

KIND = "cryoice.select.coordinates"


def main(options, schemes):
    """Run the job with these options, add a micrograph, and continue it."""
    (job,) = get_job_types(KIND)
    found = {"available": job.jobinfo.is_available, "options": sorted(job.joboptions)}
    project = PipelinerProject(make_new_project=True)
    job = project.run_job({"_rlnJobTypeLabel": KIND, **options}, run_in_foreground=True)
    runs = [result_of(job)]
    for path in Path("more").rglob("*.star"):
        shutil.copy(path, path.relative_to("more"))
    runs.append(result_of(project.continue_job(job.output_dir, run_in_foreground=True)))
    with ProjectGraph(name="default") as graph:
        found["nodes"] = {Path(node.name).name: node.type for node in graph.node_list if job.output_dir in node.name}
    wrong = read_job(f"{job.output_dir}/job.star")
    wrong.joboptions["threshold"].value = 2.0
    found["errors"] = [one.message for one in wrong.validate_joboptions() if one.type == "error"]
    found["schemes"] = [read_job(str(path)).PROCESS_NAME for path in sorted(Path(schemes).rglob("job.star"))]
    return {"runs": runs, **found}


def result_of(job):
    """Return what Pipeliner shows of a job that has ended."""
    display = job.create_results_display()
    folder = Path(job.output_dir)
    listed = (folder / "micrographs.star").read_text().splitlines()
    return {
        "micrographs": [line.split()[0] for line in listed if ".mrc" in line],
        "folder": job.output_dir,
        "states": sorted(path.name for path in folder.glob("*_JOB_*")),
        "metadata": job.gather_metadata(),
        "display": [one.dobj_type for one in display],
        "rows": display[-1].table_data,
    }


if __name__ == "__main__":
    print("RESULT", json.dumps(main(json.loads(sys.argv[1]), sys.argv[2])))
