# SPDX-License-Identifier: GPL-3.0-or-later
"""Train on five real micrographs, screen all seven with three pickers' picks, and say what was removed.

usage: python benchmarks/real/empiar10017.py --output DIR [--model DIR] [--shared ../shared/real]

GOOD is manual_true, BAD what the three pickers picked on areas that were annotated by hand as carbon, ice or clutter
(label_picks.py). Two micrographs are held out. With --model nothing is trained, and held out is what that model's
training held out. Writes DIR/table.csv and DIR/table.md: picks in, kept and rejected, by picker, by what they sit on,
and by whether the micrograph was held out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pandas as pd

from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.images.naming import matches_name

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PICKERS = ("cryolo", "deeppicker", "topaz")
HELD_OUT = ("Falcon_2012_06_12-15_53_09_0", "Falcon_2012_06_12-15_43_48_0")
_PLACE = ["stem", "x", "y"]


def run(*arguments: object, script: bool = False) -> None:
    """Run a command of the command line, or a script; stop when it fails."""
    words = [str(word) for word in arguments]
    print("+", *words, flush=True)
    command = [sys.executable] + ([] if script else ["-m", "cryoice_scipion.core"]) + words
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def prepare(output: Path, shared: Path) -> Path:
    """Write the micrographs as MRC and the labelled picks; return the micrographs' folder."""
    prepared = output / "prepared"
    if not prepared.is_dir():
        run(shared / "prepare.py", prepared, script=True)
    run(
        HERE / "label_picks.py",
        "--coordinates",
        shared / "empiar10017" / "coordinates",
        "--output",
        output / "labels",
        script=True,
    )
    return prepared / "empiar10017"


def train(output: Path, micrographs: Path, options: List[str]) -> Path:
    """Train on the labelled picks with two micrographs held out; return the model folder."""
    labels = output / "labels"
    run(
        "train", "--output", output / "model", "--name", "empiar10017", "--good", labels / "good.star",
        "--bad", labels / "bad.star", "--micrographs", micrographs, "--hold-out", *HELD_OUT, *options,
    )  # fmt: skip
    return output / "model"


def screen(output: Path, micrographs: Path, shared: Path, model: str) -> pd.DataFrame:
    """Screen with each picker's picks; return one row a pick with its goodness and whether it is kept."""
    tables = []
    for picker in PICKERS:
        folder = output / f"screened_{picker}"
        resume = ["--resume"] if (folder / "journal.jsonl").exists() else []
        picks = shared / "empiar10017" / "coordinates" / f"picker_{picker}"
        run("screen", micrographs, "--coordinates", picks, "--output", folder, "--model", model, *resume)
        for name in ("kept", "rejected"):
            table = read_picks(folder / "coordinates" / f"{name}.star").table
            tables.append(table.assign(picker=picker, decision=name))
    return pd.concat(tables, ignore_index=True)


def with_labels(evaluated: pd.DataFrame, labels: Path, held_out: List[str]) -> pd.DataFrame:
    """Add to each evaluated pick what it sits on, and whether its micrograph was held out."""
    truth = pd.read_csv(labels)
    truth["picker"] = truth["picker"].str.replace("picker_", "", regex=False)
    for table, name in ((evaluated, "rlnMicrographName"), (truth, "rlnMicrographName")):
        table["stem"] = table[name].map(lambda text: Path(str(text)).stem)
        table["x"], table["y"] = table["rlnCoordinateX"].round(2), table["rlnCoordinateY"].round(2)
    columns = [*_PLACE, "picker", "cryoiceClass"]
    labelled = evaluated.merge(
        truth[columns].rename(columns={"cryoiceClass": "sits_on"}), on=[*_PLACE, "picker"], how="left"
    )
    if labelled["sits_on"].isna().any() or len(labelled) != len(evaluated):
        raise SystemExit("the evaluated picks and the labelled picks are not the same")
    return labelled.assign(held_out=[any(matches_name(stem, name) for name in held_out) for stem in labelled["stem"]])


def summarise(labelled: pd.DataFrame) -> pd.DataFrame:
    """Return picks in, kept, rejected by picker, label and side."""
    rows = labelled.assign(kept=labelled["decision"] == "kept")
    table = rows.groupby(["held_out", "picker", "sits_on"])["kept"].agg(["size", "sum"]).reset_index()
    table.columns = ["held_out", "picker", "sits_on", "picks", "kept"]
    table["rejected"] = table["picks"] - table["kept"]
    table["rejected_share"] = (table["rejected"] / table["picks"]).round(4)
    return table


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from a shell; options that are not known here go to ``cryoice train``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", help="a model folder or name; default: train one")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "real")
    args, options = parser.parse_known_args()
    micrographs = prepare(args.output, args.shared)
    model = args.model or str(train(args.output, micrographs, options))
    held_out = json.loads(load_config(resolve_model(model)).trained_on["settings"])["hold_out"]
    evaluated = screen(args.output, micrographs, args.shared, model)
    labelled = with_labels(evaluated, args.output / "labels" / "labelled_picks.csv", held_out)
    labelled.to_csv(args.output / "labelled_picks.csv", index=False)
    table = summarise(labelled)
    table.to_csv(args.output / "table.csv", index=False)
    (args.output / "table.md").write_text(markdown(table), encoding="utf-8")
    print(markdown(table))


if __name__ == "__main__":
    main()
