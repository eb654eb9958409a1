# SPDX-License-Identifier: GPL-3.0-or-later
"""Review: the micrographs of a run at any threshold, live counts, verdicts by hand, and the lists."""

import io
import json
import shutil
import time

import numpy as np
import pytest
from faults import ERRORS, FailingDisk
from journals import unsealed
from PIL import Image
from serving import client_of, make_run, make_test_place
from simple_grader import CLASSES
from standin import executor, write_micrograph

from cryoice_scipion.core.formats.coordinates import read_picks, write_star
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.formats.micrograph_star import MicrographStar
from cryoice_scipion.core.images.archives import write_archive
from cryoice_scipion.core.records import MicrographTask, PickScore, to_json
from cryoice_scipion.core.results import stored_maps
from cryoice_scipion.core.results.journal import Journal
from cryoice_scipion.core.results.journal_lines import parse
from cryoice_scipion.core.results.review_files import change_verdicts, read_verdicts
from cryoice_scipion.core.results.run_folder import JOURNAL, KEPT, REJECTED, RunFolder
from cryoice_scipion.core.results.run_reader import RunReader, read_records
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.serve import run_view


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("review"))


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def client(run, tmp_path):
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        yield client


def get(client, path, **given):
    answer = client.get(path, params=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client, path, **content):
    answer = client.post(path, json=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_gallery_has_what_the_journal_has(client, run):
    found = get(client, "/api/run")
    records = {record.id: record for record in read_records(run)}
    assert len(found["micrographs"]) == len(records) == 4
    for row in found["micrographs"]:
        record = records[row["id"]]
        assert row["bad_area"] == round(record.bad_area, 3) and row["picks"] == len(record.scores) == 6
        assert (row["stem"], row["status"], row["grade"]) == (record.stem, record.status, record.grade)
        assert row["time"] == record.screened_at and row["verdict"] == ""
    assert (found["threshold"], found["margin"]) == (0.5, 0.0)


def test_a_look_without_news_is_short_and_a_growing_run_is_news(client, run):
    version = get(client, "/api/run")["version"]
    assert "micrographs" not in get(client, "/api/run", version=version)
    last = json.loads((run / "journal.jsonl").read_text().splitlines()[-1])
    last["record"].update(id=77, stem="late")
    with open(run / "journal.jsonl", "a") as stream:
        stream.write(json.dumps(last) + "\n")
    found = get(client, "/api/run", version=version)
    assert [row["id"] for row in found["micrographs"]] == [1, 2, 3, 4, 77]


def test_a_micrograph_has_the_scores_of_the_run_and_follows_the_sliders(client, run):
    record = next(one for one in read_records(run) if one.id == 3)
    found = get(client, "/api/run/3")
    assert found["bad_area"] == pytest.approx(record.bad_area)
    assert found["areas"] == pytest.approx({name: share for name, share in record.areas.items() if name != "good"})
    kept = [int(score.kept) for score in record.scores]
    at = [[32.0 if k % 2 else 170.0, 20.0 + 20 * k, one] for k, one in enumerate(kept)]  # as make_tasks places them
    assert sorted(found["picks"]) == sorted(at)
    assert sum(pick[2] for pick in get(client, "/api/run/3", threshold="0")["picks"]) == 6
    assert sum(pick[2] for pick in get(client, "/api/run/3", margin="700")["picks"]) == 0
    for name, size in (("small.jpg", 240), ("picture.jpg", 208), ("probability.png", None)):
        picture = Image.open(io.BytesIO(client.get(f"/api/run/3/{name}").content))
        assert size is None or picture.width == size


def test_a_run_with_archives_looks_the_same(client, run, monkeypatch):
    names = ("picture.jpg", "probability.png")
    before = [get(client, "/api/run/3"), *(client.get(f"/api/run/3/{name}").content for name in names)]
    stored = [
        str(path.relative_to(run)) for name in (".maps", "probability", "masks") for path in (run / name).glob("*")
    ]
    write_archive(run, stored)
    for name in stored:
        (run / name).unlink()
    monkeypatch.setattr(run_view, "load_micrograph", None)  # no picture is made anew
    assert before[0] == get(client, "/api/run/3")
    for name, content in zip(names, before[1:]):
        one, other = (Image.open(io.BytesIO(data)) for data in (content, client.get(f"/api/run/3/{name}").content))
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), atol=12)  # stored as JPEG again


@pytest.mark.parametrize("words", ["?low_pass=10", ""])
def test_a_picture_made_from_a_micrograph_is_made_again_when_its_file_is_another(tmp_path, words):
    run = make_run(tmp_path, 2)
    record = read_records(run)[0]
    if not words:
        (run / RunFolder(run).base(record.stem)).unlink()
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        before = client.get(f"/api/run/1/picture.jpg{words}").content
        assert client.get(f"/api/run/1/picture.jpg{words}").content == before
        write_micrograph(record.path, seed=77, bad_columns=150)
        assert client.get(f"/api/run/1/picture.jpg{words}").content != before


def test_a_small_picture_is_made_again_when_a_micrograph_is_screened_again(tmp_path):
    run = make_run(tmp_path, 2)
    first = read_records(run)[0]
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        before, version = client.get("/api/run/1/small.jpg").content, client.get("/api/run").json()["version"]
        versions = [row["picture"] for row in client.get("/api/run").json()["micrographs"]]
        shutil.copy(run / RunFolder(run).base(read_records(run)[1].stem), run / RunFolder(run).base(first.stem))
        assert client.get("/api/run/1/small.jpg").content == before
        first.median_logit, first.flags = 1.0, ["file_changed"]  # and the same bad area
        journal = Journal(run / JOURNAL, parse)
        journal.append("screened", record=to_json(first), picks="")
        journal.close()
        assert client.get("/api/run/1/small.jpg").content != before
        rows = client.get("/api/run", params={"version": version}).json()["micrographs"]
        assert [row["picture"] == old for row, old in zip(rows, versions)] == [False, True]  # the page loads it again


def test_the_counts_are_those_of_the_journal_at_any_threshold(client, run):
    records = RunReader(run).look()
    for threshold in (0.0, 0.3, 0.5, 0.9, 1.0):
        found = get(client, "/api/run/counts", threshold=threshold)
        assert (found["kept"], found["of"], found["ready"]) == (records.kept_number(threshold), 24, 1.0)
    assert get(client, "/api/run/counts")["kept"] == records.kept_number(0.5)


@pytest.mark.parametrize("threshold", [-1, 0.0, 1.0])
def test_a_run_with_its_own_threshold_is_shown_at_it(tmp_path, threshold):
    run = make_run(tmp_path, threshold=threshold)
    kept = {record.id: record.kept for record in read_records(run)}
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        shown = {key: sum(pick[2] for pick in get(client, f"/api/run/{key}")["picks"]) for key in kept}
        assert get(client, "/api/run")["threshold"] == threshold and shown == kept
        assert get(client, "/api/run/counts")["kept"] == sum(kept.values())
        assert post(client, "/api/review/save")["kept"] == sum(kept.values())


def test_a_lost_map_is_named_and_the_other_micrographs_are_counted(client, run):
    def ask_until(wanted):
        """Ask until an answer has the wanted text."""
        for _ in range(1000):
            text = client.get("/api/run/counts", params={"margin": "50"}).text
            if wanted in text:
                return
            time.sleep(0.01)
        raise AssertionError(text)

    lost = run / ".maps" / "mic002.npz"
    lost.rename(run / "away")
    ask_until("mic002.npz: the stored map cannot be read")
    ask_until('"ready":0.75')
    (run / "away").rename(lost)
    ask_until('"ready":1.0')


def test_late_coordinates_that_failed_are_not_counted_as_kept(tmp_path):
    run = make_run(tmp_path, threshold=-1)
    last = read_records(run)[-1]
    last.scores.append(PickScore(999, None, "failed", False))
    journal = Journal(run / JOURNAL, parse)
    journal.append("screened", record=to_json(last), picks="")
    journal.close()
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        found = get(client, "/api/run/counts")
    assert (found["kept"], found["of"]) == (24, 25)


def test_late_coordinates_that_failed_are_kept_nowhere(tmp_path):
    run = make_run(tmp_path, threshold=-1)
    table = read_picks(run / KEPT).table
    failed = table.iloc[:1].assign(cryoiceGoodness=np.nan, cryoiceClass="failed")
    write_star(run / KEPT, table.iloc[1:])
    write_star(run / REJECTED, failed)
    with client_of(make_test_place(tmp_path / "own", run)) as client:
        shown = [get(client, f"/api/run/{key}")["picks"] for key in (1, 2, 3, 4)]
        assert sum(pick[2] for picks in shown for pick in picks) == 23
        assert post(client, "/api/review/save")["kept"] == 23
        for _ in range(200):
            found = get(client, "/api/run/counts", margin="150")
            if found["ready"] == 1.0:
                break
        assert found["kept"] == 23


def test_counts_at_another_margin_arrive_in_the_background(client):
    def ready():
        return get(client, "/api/run/counts", margin="150")

    for _ in range(200):
        if ready()["ready"] == 1.0:
            break
    found = ready()
    expected = sum(pick[2] for key in (1, 2, 3, 4) for pick in get(client, f"/api/run/{key}", margin="150")["picks"])
    assert (found["kept"], found["of"]) == (expected, 24) and 0 < expected < 15


def test_maps_of_a_growing_run_are_read_only_where_the_journal_is_new(run, monkeypatch):
    """A page looks every few seconds, and the journal of a long run has hundreds of MB."""
    starts, read = [], stored_maps.read_run
    monkeypatch.setattr(stored_maps, "read_run", lambda path, start: starts.append(start) or read(path, start))
    content = (run / "journal.jsonl").read_bytes()
    lines = content.splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    first = StoredMaps.read(run)
    with open(run / "journal.jsonl", "ab") as stream:
        stream.write(lines[-1])
    second = StoredMaps.read(run, first)
    assert starts == [0, len(content) - len(lines[-1])] and len(first.tasks) == 3
    assert second == StoredMaps.read(run) and len(second.tasks) == 4
    assert StoredMaps.read(run, second) == second and starts[-1] == len(content)
    (run / "copy").write_bytes(b"".join(lines[:-1]))
    (run / "copy").rename(run / "journal.jsonl")  # as by a repair
    assert len(StoredMaps.read(run, second).tasks) == 3 and starts[-1] == 0


def test_counts_at_another_margin_follow_a_run_that_scores_a_micrograph_again(client, run):
    def counted():
        for _ in range(200):
            found = get(client, "/api/run/counts", margin="150")
            if found["ready"] == 1.0:
                return found["kept"], found["of"]
        raise AssertionError("the counts do not get ready")

    before = counted()
    table = read_picks([run / KEPT, run / REJECTED])
    config = StoredMaps.read(run).config
    tasks = [MicrographTask(one.id, one.path, one.stem) for one in read_records(run)]
    table.table = table.table[~table.table["rlnMicrographName"].str.contains("mic004")].reset_index(drop=True)
    assign_picks(table, tasks)
    with ScreeningRun(run, config, [executor(classes=CLASSES)], RunOptions(resume=True, picks=table)) as again:
        list(again.process(tasks))
    lost = read_records(run)[3]
    assert (lost.stem, len(lost.scores)) == ("mic004", 0)
    after = counted()
    kept = [sum(pick[2] for pick in get(client, f"/api/run/{key}", margin="150")["picks"]) for key in (1, 2, 3, 4)]
    assert after == (sum(kept), before[1] - 6) and kept[3] == 0


def test_verdicts_are_kept_counted_and_written_as_lists(client, run, tmp_path):
    assert post(client, "/api/review", ids=[2], verdict="rejected") == {"verdict": "rejected"}
    post(client, "/api/review", ids=[1], verdict="accepted")
    content = json.loads((run / "review.json").read_text())
    assert content == {"version": 1, "micrographs": {"mic001": "accepted", "mic002": "rejected"}}
    names = [name for name, _ in MicrographStar.read(run / "review" / "micrographs_accepted.star").listed()]
    assert [name.rpartition("/")[2] for name in names] == ["mic001.mrc", "mic003.mrc", "mic004.mrc"]
    counts = get(client, "/api/run/counts")
    kept = {record.id: sum(score.kept for score in record.scores) for record in read_records(run)}
    total = sum(kept.values())
    assert (counts["kept"], counts["accepted"], counts["micrographs"]) == (total - kept[2], 3, 4) and kept[2]
    with client_of(make_test_place(tmp_path / "again", run)) as again:  # a new server
        assert [row["verdict"] for row in get(again, "/api/run")["micrographs"]] == ["accepted", "rejected", "", ""]
        post(again, "/api/review", ids=[2], verdict="")
        assert get(again, "/api/run/counts")["kept"] == total


def test_a_disk_that_fails_at_any_call_gets_a_sentence_and_the_verdict_can_be_given_again(client, run):
    with FailingDisk(run) as disk:
        post(client, "/api/review", ids=[1], verdict="rejected")
    for first in range(1, disk.calls + 1):
        post(client, "/api/review", ids=[1], verdict="rejected")
        with FailingDisk(run, first, ERRORS[first % len(ERRORS)]):
            answer = client.post("/api/review", json={"ids": [1], "verdict": "accepted"})
        assert answer.status_code == 422 and "cannot be written" in answer.json()["error"], first
        assert json.loads((run / "review.json").read_text())["micrographs"]["mic001"] in ("accepted", "rejected")
        assert post(client, "/api/review", ids=[1], verdict="accepted") == {"verdict": "accepted"}
        assert json.loads((run / "review.json").read_text())["micrographs"] == {"mic001": "accepted"}


def test_verdicts_of_the_viewer_are_shown_and_stay(client, run):
    post(client, "/api/review", ids=[1], verdict="rejected")
    version = get(client, "/api/run")["version"]
    change_verdicts(run, {"mic002": "rejected"})
    rows = get(client, "/api/run", version=version)["micrographs"]
    assert [row["verdict"] for row in rows] == ["rejected", "rejected", "", ""]
    post(client, "/api/review", ids=[3], verdict="rejected")
    assert read_verdicts(run) == dict.fromkeys(["mic001", "mic002", "mic003"], "rejected")
    assert get(client, "/api/run/counts")["accepted"] == 1


def test_saved_coordinates_are_those_of_the_sliders_and_verdicts(client, run):
    post(client, "/api/review", ids=[2], verdict="rejected")
    saved = post(client, "/api/review/save", threshold="0.3", margin="150")
    kept, rejected = (read_picks(run / "review" / f"coordinates_{name}.star").table for name in ("kept", "rejected"))
    assert (saved["kept"], saved["rejected"]) == (len(kept), len(rejected)) and len(kept) + len(rejected) == 24
    assert not kept["rlnMicrographName"].str.contains("mic002").any() and "cryoiceClass" not in kept
    assert kept["cryoiceGoodness"].min() >= 0.3
    total = sum(
        pick[2] for key in (1, 3, 4) for pick in get(client, f"/api/run/{key}", threshold=".3", margin="150")["picks"]
    )
    assert len(kept) == total
    assert all((run / file).is_file() for file in saved["files"])


@pytest.mark.parametrize("content", ["", "x", "[]", "[" * 100_000], ids=["empty", "text", "list", "deep"])
def test_a_request_that_is_no_object_gets_a_sentence(content, client):
    answer = client.post("/api/review", content=content)
    assert answer.status_code == 422 and "is not a JSON object" in answer.json()["error"]


def test_a_selection_gets_one_verdict(client, run):
    assert post(client, "/api/review", ids=[1, 3, 4], verdict="rejected") == {"verdict": "rejected"}
    assert read_verdicts(run) == dict.fromkeys(["mic001", "mic003", "mic004"], "rejected")
    post(client, "/api/review", ids=[3], verdict="")
    assert read_verdicts(run) == dict.fromkeys(["mic001", "mic004"], "rejected")
    for wrong in ([1, 99], [], None, "1", [True, "a"]):
        assert client.post("/api/review", json={"ids": wrong, "verdict": "accepted"}).status_code == 422
    assert read_verdicts(run) == dict.fromkeys(["mic001", "mic004"], "rejected")


def with_features(run, features):
    """Add micrographs with these features to the journal of a run."""
    last = json.loads((run / "journal.jsonl").read_text().splitlines()[-1])
    with open(run / "journal.jsonl", "a") as stream:
        for key, values in features.items():
            last["record"].update(id=key, stem=f"mic{key}", deviations=values)
            stream.write(json.dumps(last) + "\n")


def test_the_map_has_similar_micrographs_near_each_other(client, run):
    assert get(client, "/api/run/map") == {"points": [], "neighbours": {}, "explained": 0.0}
    groups = {key: [float(key > 14), 0.01 * key, 0.0] for key in range(10, 20)}
    with_features(run, groups)
    found = get(client, "/api/run/map")
    at = {key: (x, y) for key, x, y in found["points"]}
    assert sorted(at) == sorted(groups) and {0.0, 1.0} <= {x for x, _ in at.values()}
    assert abs(at[10][0] - at[14][0]) < 0.1 < 0.8 < abs(at[10][0] - at[19][0])
    assert sorted(found["neighbours"]["10"])[:4] == [11, 12, 13, 14]
    assert "is not known" in client.get("/api/run/map?method=x").json()["error"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/run/99", "micrograph 99: is not in this run"),
        ("/api/run/1?threshold=2", "threshold: is not a number from 0 to 1"),
        ("/api/run/1?margin=x", "margin: is not a number"),
        ("/api/run/1?threshold=nan", "threshold: is not a number"),
    ],
)
def test_wrong_requests_get_a_sentence(path, words, client):
    answer = client.get(path)
    assert answer.status_code == 422 and words in answer.json()["error"]


@pytest.mark.parametrize("content", [b"[]", b"x", b'{"ids": ["a"]}', b'{"ids": [1], "verdict": "maybe"}'])
def test_wrong_verdicts_get_a_sentence_and_change_nothing(content, client, run):
    assert client.post("/api/review", content=content).status_code == 422
    assert not (run / "review.json").exists()


def test_a_failed_micrograph_is_shown_with_its_reason(client, run):
    text = unsealed((run / "journal.jsonl").read_text())
    last = json.loads(text.splitlines()[-1])
    last["record"].update(
        id=9, stem="broken", path="broken.mrc", status="failed", reason="is empty", scores=[], shape=None
    )
    (run / "journal.jsonl").write_text(text + json.dumps(last) + "\n")
    found = get(client, "/api/run/9")
    assert (found["status"], found["why"], found["regions"]) == ("failed", "is empty", [])
    accepted = get(client, "/api/run/counts")["accepted"]
    post(client, "/api/review", ids=[9], verdict="accepted")
    assert get(client, "/api/run/counts")["accepted"] == accepted
    assert "broken" not in (run / "review" / "micrographs_accepted.star").read_text()
    assert client.get("/api/run/9/small.jpg").status_code == 200


def test_a_damaged_review_file_is_named(run, tmp_path):
    (run / "review.json").write_text("{")
    with pytest.raises(Exception, match="review.json: is damaged; correct or remove it"):
        make_test_place(tmp_path / "again", run)


def test_without_a_run_review_says_what_to_do(tmp_path):
    with client_of(make_test_place(tmp_path / "own")) as client:
        assert "with the folder of a run" in client.get("/api/run").json()["error"]
        assert "cryoice serve --run" in client.get("/review").text
