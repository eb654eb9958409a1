# SPDX-License-Identifier: GPL-3.0-or-later
"""Write benchmarks/results/README.md: an index, and the timings of bench_*.json: python benchmarks/make_results.py."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEAD = """# Results of the benchmarks

Made by `benchmarks/make_results.py`. [Accuracy](../../docs/accuracy.md) sums these pages up for users.

| page | question | script |
|---|---|---|
| [verdicts](verdicts.md) | Which picks are removed, and which sessions are flagged? | `benchmarks/verdicts.py` |
| [topaz_picks](topaz_picks.md) | What do the kept and the rejected picks of Topaz lie on? | `benchmarks/real/topaz_picks.py` |
| [evaluation](evaluation.md) | How good are the maps, on simulated and real micrographs? | `benchmarks/evaluate_maps.py` |
| [leave_one_out](leave_one_out.md) | How good is a model on a real micrograph that it was not fitted to? | `benchmarks/leave_one_out.py` |
| [annotators](annotators.md) | How well do the annotators of the real micrographs agree? | `benchmarks/real/agreement.py` |
| [frost_counts](frost_counts.md) | How many deposits that the eye counts on real micrographs are regions? | `benchmarks/real/frost_counts.py` |
| [few_labels](few_labels.md) | How much do 5, 20 and 50 labelled bad patches help? | `benchmarks/few_labels.py` |
| [few_labels_maps](few_labels_maps.md) | The same on whole maps of real micrographs: is the fine-tuned model better? | `benchmarks/few_labels_maps.py` |
| [tuned_on_picks](tuned_on_picks.md) | How does training on a project's own picks change a model? | `benchmarks/tuned_on_picks.py` |
| [contrast_decision](contrast_decision.md) | How often does contrast *auto* decide correctly? | `benchmarks/contrast_decision.py` |
| [one_class](one_class.md) | Does `outlier` find micrographs that are unusual from edge to edge? | `benchmarks/one_class.py` |
| [grades](grades.md) | How well are whole micrographs graded? | `benchmarks/grades.py` |
| [one_class_detectors](one_class_detectors.md) | Which detector that learns from clean micrographs is best? | `benchmarks/one_class_detectors.py` |
| [ablation](ablation.md) | How much does each view contribute? | `benchmarks/ablation.py` |
| [speed](../../docs/explanation/speed.md) | How far is each stage from the least that a program must do? | `benchmarks/bench_floor.py` |

The training of the shipped model was continued on 2026-11-28, and its views were reduced and are computed faster.
[verdicts](verdicts.md) and [evaluation](evaluation.md) are of this model. The other pages with results of the shipped
model are of the model before. The two differ little: see both pages in the history of this folder.

The timings below come from `bench_*.json` in this folder. Compare numbers within one benchmark only: the benchmarks ran
at different commits.

"""  # noqa: E501


def section(path: Path) -> str:
    """Return one benchmark as Markdown."""
    result = json.loads(path.read_text(encoding="utf-8"))
    measured = result.pop("measured", None)
    seconds = result.pop("seconds", measured)
    lines = [f"## {path.stem}", ""]
    lines += [f"- {name}: {value}" for name, value in result.items()]
    lines += ["", "| what | measured |" if measured else "| step | seconds |", "|---|---|"]
    texts = {name: str(value) if isinstance(value, int) else f"{value:.3f}" for name, value in seconds.items()}
    lines += [f"| {name} | {text} |" for name, text in texts.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    parts = [section(path) for path in sorted((HERE / "results").glob("bench_*.json"))]
    (HERE / "results" / "README.md").write_text(HEAD + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
