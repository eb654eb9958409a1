# SPDX-License-Identifier: GPL-3.0-or-later
"""Model folders that something broken or somebody hostile has written, of every kind of the table of kinds."""

import json
import os
import struct

import numpy as np

from cryoice_scipion.constants import BAD, GOOD, GRADES
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors.kinds import KINDS, module_of
from cryoice_scipion.core.detectors.model_folder import CARD, MODEL_JSON, SUMS, WEIGHTS, write_sums

_OPTIONS = {"one_class": {}, "autoencoder": {"channels": 1, "width": 4}, "resnet": {"depth": 10, "width": 4}}
_STRIDES = {"unet": 8, "resnet": 1, "one_class": 32}


def write_model(folder, kind):
    """Write a small sound model folder of a kind, with random weights, and return it."""
    folder.mkdir(parents=True)
    views = {
        "unet": [ViewConfig(kind="context", sampling=4.0, window=None)],
        "autoencoder": [ViewConfig(kind="pixels", sampling=8.0, window=None)],
        "one_class": [ViewConfig(kind="grey_levels", sampling=4.0, window=32)],
        "resnet": [ViewConfig(kind="picture", sampling=16.0, window=None)],
        "spot_test": [ViewConfig(kind="spots", sampling=1.0, window=128)],
        "patch_spectrum": [ViewConfig(kind=name, sampling=4.0) for name in ("patch", "local")],
    }.get(kind, [ViewConfig(kind=name, sampling=4.0) for name in ("patch", "fft")])
    config = ModelConfig(
        name=kind,
        network=kind,
        classes=list(GRADES) if kind == "resnet" else [GOOD, BAD],
        network_options=_OPTIONS.get(kind, {"width": 2} if KINDS[kind].has_weights else {}),
        views=views,
        stride=_STRIDES.get(kind, 16),
    )
    (folder / MODEL_JSON).write_text(config.to_text())
    (folder / CARD).write_text(f"# {kind}\n")
    if KINDS[kind].has_weights:
        (folder / WEIGHTS).write_bytes(_weights(kind, config))
    write_sums(folder)
    return folder


def _weights(kind, config):
    import torch
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save

    arrays = {}
    if kind in ("one_class", "autoencoder"):
        from cryoice_scipion.core.detectors import one_class
        from cryoice_scipion.core.detectors.one_class_fit import fit_one_class
        from cryoice_scipion.core.detectors.tail import Tail

        rng = np.random.default_rng(0)
        fitted = fit_one_class({key: rng.normal(size=(6, 6, 3)) for key in range(6)}, 128.0)
        arrays = one_class.to_arrays(fitted, Tail(2.0, 3.0))
    if kind == "one_class":
        return save_arrays(arrays)
    network = module_of(KINDS[kind]).build(
        len(config.classes), [one.kind for one in config.views], config.network_options
    )
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    return save({**state, **{"clean." + name: torch.from_numpy(values) for name, values in arrays.items()}})


def changed(**values):
    """Return a fault: these values in model.json, with right sums."""

    def change(folder):
        stored = json.loads((folder / MODEL_JSON).read_text())
        for name, value in values.items():
            stored.pop(name, None)
            if value is not LEFT_OUT:
                stored[name] = value
        (folder / MODEL_JSON).write_text(json.dumps(stored))
        write_sums(folder)

    return change


def written(name, data):
    """Return a fault: a file with this content, with right sums if the file is not the sums."""

    def write(folder):
        (folder / name).write_bytes(data)
        if name != SUMS:
            write_sums(folder)

    return write


def unsigned(name, data):
    """Return a fault: a file with this content, and the sums of the file that was there."""
    return lambda folder: (folder / name).write_bytes(data)


def _removed(name):
    def remove(folder):
        (folder / name).unlink()
        if name not in (SUMS, MODEL_JSON):
            write_sums(folder)

    return remove


def _link(name, target):
    def link(folder):
        path = folder / name
        data = path.read_bytes()
        (folder.parent / "elsewhere").write_bytes(data)
        path.unlink()
        path.symlink_to(target.format(folder=folder))

    return link


def _fifo(name):
    def make(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def _folder(name):
    def make(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return make


def _listed(name):
    def add(folder):
        with (folder / SUMS).open("ab") as stream:
            stream.write(b"0" * 64 + b"  " + name + b"\n")

    return add


def tensors(head, data=b""):
    """Return a file of safetensors with this header."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


LEFT_OUT = object()
_DEEP = b"[" * 100_000 + b"]" * 100_000
_VIEW = {"kind": "patch", "sampling": 4.0, "window": 64}
_HUGE = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
#: Faults of any model folder, by name.
FAULTS = {
    "no model.json": _removed(MODEL_JSON),
    "no sums": _removed(SUMS),
    "empty model.json": written(MODEL_JSON, b""),
    "cut model.json": written(MODEL_JSON, b'{"name": "x", "views": ['),
    "garbled model.json": written(MODEL_JSON, bytes(range(256))),
    "binary model.json": written(MODEL_JSON, b"\x00\xff\xfe"),
    "deep model.json": written(MODEL_JSON, _DEEP),
    "deep name": written(MODEL_JSON, b'{"views": [], "name": ' + _DEEP + b"}"),
    "a list": written(MODEL_JSON, b"[1, 2]"),
    "null": written(MODEL_JSON, b"null"),
    "a long integer": written(MODEL_JSON, b'{"name": "x", "views": [], "stride": ' + b"9" * 5000 + b"}"),
    "other model.json": unsigned(MODEL_JSON, b'{"name": "y"}'),
    "name a number": changed(name=5),
    "name left out": changed(name=LEFT_OUT),
    "unknown key": changed(loader="os.system"),
    "newer schema": changed(schema_version=99),
    "schema not a number": changed(schema_version="x"),
    "unknown network": changed(network="forest"),
    "network a path": changed(network="../../etc/passwd"),
    "network null": changed(network=None),
    "no views": changed(views=[]),
    "views left out": changed(views=LEFT_OUT),
    "views of text": changed(views=["patch"]),
    "sampling NaN": changed(views=[{**_VIEW, "sampling": float("nan")}]),
    "sampling infinite": changed(views=[{**_VIEW, "sampling": float("inf")}]),
    "sampling tiny": changed(views=[{**_VIEW, "sampling": 1e-9}]),
    "sampling huge": changed(views=[{**_VIEW, "sampling": 1e9}]),
    "sampling negative": changed(views=[{**_VIEW, "sampling": -4.0}]),
    "window huge": changed(views=[{**_VIEW, "window": 10**18}]),
    "stride zero": changed(stride=0),
    "stride negative": changed(stride=-16),
    "stride huge": changed(stride=10**15),
    "no classes": changed(classes=[]),
    "one class": changed(classes=[GOOD]),
    "classes repeated": changed(classes=[GOOD, GOOD]),
    "good not first": changed(classes=[BAD, GOOD]),
    "unknown class": changed(classes=[GOOD, "\x1b[31m"]),
    "many classes": changed(classes=[GOOD, *(f"c{number}" for number in range(1000))]),
    "classes a number": changed(classes=7),
    "threshold NaN": changed(recommended_threshold=float("nan")),
    "threshold 2": changed(recommended_threshold=2),
    "threshold text": changed(recommended_threshold="half"),
    "pick threshold NaN": changed(pick_threshold=float("nan")),
    "thresholds contradict": changed(recommended_threshold=0.9, pick_threshold=0.1),
    "temperature zero": changed(temperature=0),
    "temperature infinite": changed(temperature=float("inf")),
    "baseline NaN": changed(baseline_logit=float("nan")),
    "baseline huge": changed(baseline_logit=1e300),
    "offset limit infinite": changed(offset_limit=float("inf")),
    "offset tolerance NaN": changed(offset_tolerance=float("nan")),
    "metrics NaN": changed(metrics={"auc": float("nan")}),
    "trained_on a list": changed(trained_on=[1]),
    "options text": changed(network_options={"width": "wide"}),
    "empty sums": written(SUMS, b""),
    "binary sums": written(SUMS, b"\xff\xfe\x00"),
    "sums of others": written(SUMS, b"0" * 64 + b"  other.txt\n"),
    "sums of zeros": lambda folder: (folder / SUMS).write_text(f"{'0' * 64}  {MODEL_JSON}\n"),
    "sums list a parent": _listed(b"../elsewhere"),
    "sums list the root": _listed(b"/etc/hostname"),
    "sums list the folder": _listed(b"."),
    "sums list a missing file": _listed(b"missing.txt"),
    "sums list a long name": _listed(b"n" * 5000),
    "sums list a NUL": _listed(b"a\x00b"),
    "sums are a folder": _folder(SUMS),
    "sums are a pipe": _fifo(SUMS),
    "sums lie elsewhere": _link(SUMS, "../elsewhere"),
    "model.json lies elsewhere": _link(MODEL_JSON, "../elsewhere"),
    "card lies elsewhere": _link(CARD, "/etc/hostname"),
    "card is a device": _link(CARD, "/dev/zero"),
    "card is a pipe": _fifo(CARD),
    "card links to itself": _link(CARD, CARD),
    "card altered": unsigned(CARD, b"# trained on everything\n"),
}
#: Faults of a folder with weights.
WEIGHT_FAULTS = {
    "no weights": _removed(WEIGHTS),
    "weights missing": lambda folder: (folder / WEIGHTS).unlink(),
    "weights altered": unsigned(WEIGHTS, b"x"),
    "weights empty": written(WEIGHTS, b""),
    "weights cut": lambda folder: written(WEIGHTS, (folder / WEIGHTS).read_bytes()[:-40])(folder),
    "weights longer": lambda folder: written(WEIGHTS, (folder / WEIGHTS).read_bytes() + b"\0" * 40)(folder),
    "weights text": written(WEIGHTS, b"these are no weights\n" * 20),
    "weights pickled": written(WEIGHTS, b"\x80\x04cos\nsystem\n(S'false'\ntR."),
    "weights TorchScript": written(WEIGHTS, b"PK\x03\x04" + b"\0" * 26 + b"model/data.pkl" + b"\0" * 200),
    "header huge": written(WEIGHTS, struct.pack("<Q", 1 << 62) + b"{}"),
    "header no JSON": written(WEIGHTS, tensors(b"\xff\xfe{]")),
    "header deep": written(WEIGHTS, tensors(_DEEP)),
    "header a list": written(WEIGHTS, tensors([1, 2])),
    "no tensors": written(WEIGHTS, tensors({})),
    "tensor huge": written(WEIGHTS, tensors({"head.weight": _HUGE}, b"\0" * 64)),
    "tensor of no type": written(
        WEIGHTS, tensors({"a": {"dtype": "F3", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)
    ),
    "tensor shape negative": written(
        WEIGHTS, tensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4)
    ),
    "other tensor": written(WEIGHTS, tensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)),
}
#: Faults of a folder with a network.
NETWORK_FAULTS = {
    "width huge": changed(network_options={"width": 1_000_000_000}),
    "width large": changed(network_options={"width": 100_000}),
    "width zero": changed(network_options={"width": 0}),
    "width negative": changed(network_options={"width": -3}),
    "other width": changed(network_options={"width": 3, "depth": 18}),
    "unknown option": changed(network_options={"gpu": 1}),
    "no options": changed(network_options=LEFT_OUT),
}
#: Faults of a folder with a network that classifies patches.
CLASSIFIER_FAULTS = {
    "other views": changed(views=[{**_VIEW, "kind": "sound"}]),
    "more classes": changed(classes=[GOOD, "crystalline", "support", "thick"]),
    "large stride": changed(views=[{**_VIEW, "sampling": 100.0}], stride=4000),
}


def with_weights(change):
    """Return a fault: changed tensors, by name, with right sums."""

    def apply(folder):
        from safetensors.torch import load_file, save

        tensors_ = load_file(str(folder / WEIGHTS))
        written(WEIGHTS, save({name: value.contiguous() for name, value in change(tensors_).items()}))(folder)

    return apply


def _others(kind):
    def put(folder):
        other = write_model(folder.parent / f"other_{folder.name}", kind)
        written(WEIGHTS, (other / WEIGHTS).read_bytes())(folder)

    return put


def tensor_faults(kind):
    """Return the faults of weights that differ with the kind, by name."""

    def one_of(found):
        return next(key for key in sorted(found) if found[key].is_floating_point() and found[key].numel() > 1)

    def spoiled(value):
        return lambda found: {**found, one_of(found): found[one_of(found)] * 0 + value}

    other = "one_class" if kind != "one_class" else "patch_fft"
    return {
        "weights NaN": with_weights(spoiled(float("nan"))),
        "weights infinite": with_weights(spoiled(float("inf"))),
        "tensors of other shapes": with_weights(lambda found: {key: value[None] for key, value in found.items()}),
        "tensors without values": with_weights(
            lambda found: {key: value.flatten()[:0] for key, value in found.items()}
        ),
        "one tensor less": with_weights(lambda found: {key: found[key] for key in found if key != one_of(found)}),
        "one tensor more": with_weights(lambda found: {**found, "z": next(iter(found.values())).clone()}),
        f"weights of {other}": _others(other),
    }


def all_faults(kind):
    """Return the faults of a folder that differ with its kind, by name."""
    if not KINDS[kind].has_weights:
        return {}
    found = {**WEIGHT_FAULTS, **tensor_faults(kind)}
    if kind != "one_class":
        found.update(NETWORK_FAULTS)
    if kind.startswith("patch"):
        found.update(CLASSIFIER_FAULTS)
    return found
