"""Engines: the same results from each, lost workers, refusals; packing and embedding on a Dask cluster of two processes."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from report_texts import make_reports, write_directory

from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.errors import DataError
from preprocess import mimic_iv_ecg, n3s
from preprocess.packing import blocks, dask_cluster, engines
from preprocess.packing.engines import Engine
from preprocess.packing.pack import PackingOptions, pack
from preprocess.packing.records import records_table
from preprocess.text.t5_folder import train_sentencepiece, write_encoder, write_tokenizer
from tests.preprocess import engine_work
from tests.preprocess.mimic_layout import write_mimic_layout

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes that are replaced when they die."""
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'dask[distributed]'")
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        yield cluster


@pytest.fixture(params=["alone", "processes", "dask"])
def engine(request):
    if request.param == "alone":
        return Engine()
    if request.param == "dask":
        return Engine("dask", scheduler=request.getfixturevalue("cluster").scheduler_address)
    return Engine(request.param, jobs=2)


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): fingerprint(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_item_is_done_once(engine) -> None:
    results = []
    engine.run(engine_work.square, range(12), results.append)
    assert sorted(results) == [(number, number**2) for number in range(12)]


def test_work_is_handed_out_a_few_pieces_ahead_and_more_when_workers_join() -> None:
    """An executor that is done at once, so that each look sees what was handed out since the last."""
    workers, handed_out, results = [1], [0], []

    class Immediate(Executor):
        def submit(self, function, item):
            handed_out[-1] += 1
            future: Future = Future()
            future.set_result(function(item))
            return future

    def n_workers() -> int:
        handed_out.append(0)
        return workers[0]

    def done(result: int) -> None:
        results.append(result)
        workers[0] = 3 if len(results) > 4 else 1

    engines.run_all(Immediate(), abs, range(20), done, n_workers)
    assert sorted(results) == list(range(20))
    assert [number // engines.AHEAD for number in handed_out] == [0, 1, 1, 1, 3, 3, 1, 0]


def test_the_older_name_of_processes_is_understood() -> None:
    parser = argparse.ArgumentParser()
    engines.add_engine_arguments(parser)
    assert [parser.parse_args(["--backend", name]).backend for name in ("loky", "processes", "dask")] == [
        *("processes", "processes", "dask")
    ]
    with pytest.raises(SystemExit):
        parser.parse_args(["--backend", "ray"])


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = "from preprocess.packing.engines import Engine; from tests.preprocess import engine_work; " + (
        f"Engine(jobs=2).run(engine_work.note_and_wait, [{str(tmp_path / 'a')!r}, {str(tmp_path / 'b')!r}], print)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    try:
        workers = [int(_soon(tmp_path / name)) for name in ("a", "b")]
    finally:
        parent.kill()
        parent.wait()
    end = time.monotonic() + 60
    while any(_is_running(worker) for worker in workers):
        assert time.monotonic() < end, "a worker goes on without its parent"
        time.sleep(0.1)


def _soon(path: Path) -> str:
    end = time.monotonic() + 120
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.05)
    return path.read_text()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_items_start_nothing() -> None:
    Engine("dask", scheduler="tcp://192.0.2.1:1").run(engine_work.square, [], pytest.fail)


def test_an_error_in_the_work_ends_the_run_with_that_error(engine) -> None:
    with pytest.raises(DataError, match="number . is bad"):
        engine.run(engine_work.refuse, range(3), lambda result: None)


def test_a_killed_process_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="worker process was killed.*same command again.*fewer --jobs"):
        Engine(jobs=2).run(engine_work.die, [0, 1], lambda result: None)


@pytest.mark.parametrize("engine", ["dask"], indirect=True)
def test_a_cluster_repeats_the_work_of_a_killed_worker(engine, tmp_path: Path) -> None:
    results = []
    items = [(number, str(tmp_path / "marker")) for number in range(8)]
    engine.run(engine_work.die_once, items, results.append)
    assert sorted(results) == list(range(8))
    assert (tmp_path / "marker").exists()


def test_dask_gives_up_work_that_kills_its_workers(cluster, monkeypatch) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with pytest.raises(DataError, match="worker process was killed.*same command again.*Dask gave up"):
        Engine("dask", scheduler=cluster.scheduler_address).run(engine_work.die, [0], lambda result: None)


def test_a_scheduler_that_is_not_there_or_has_no_workers(monkeypatch) -> None:
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'dask[distributed]'")
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(DataError, match="tcp://127.0.0.1:9: no Dask scheduler answers"):
        Engine("dask", scheduler="tcp://127.0.0.1:9").run(engine_work.square, [1], pytest.fail)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        with pytest.raises(DataError, match="has no worker"):
            Engine("dask", scheduler=empty.scheduler_address).run(engine_work.square, [1], pytest.fail)


def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DataError, match="--backend dask cannot be used .*: pip install"):
        Engine("dask", scheduler="tcp://127.0.0.1:9").run(engine_work.square, [1], pytest.fail)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "dask"], "needs --scheduler ADDRESS"),
        (["--scheduler", "tcp://localhost:8786"], "--backend processes has none"),
    ],
)
def test_scheduler_and_backend_have_to_fit(options: list[str], message: str, tmp_path: Path) -> None:
    write_mimic_layout(tmp_path / "r", [{}])
    with pytest.raises(DataError, match=message):
        mimic_iv_ecg.main(["--root", str(tmp_path / "r"), "--dest", str(tmp_path / "m"), *options])
    with pytest.raises(DataError, match=message):
        n3s.main(["--manifest", str(tmp_path), "--embedder", "tfidf", "--strategy", "farthest", *options])


@pytest.mark.parametrize("engine", ["dask"], indirect=True)  # processes: test_pack.py
def test_packing_gives_the_same_files_on_every_engine(engine, tmp_path: Path) -> None:
    records = [{"report": "" if number == 5 else "Sinus rhythm"} for number in range(10)]
    records[3] = {"fault": "truncated"}
    write_mimic_layout(tmp_path / "r", records)
    common = ["--root", str(tmp_path / "r"), "--rows-per-shard", "3"]
    assert mimic_iv_ecg.main([*common, "--dest", str(tmp_path / "alone"), "--jobs", "1"]) == 0
    options = ["--jobs", str(engine.jobs), "--backend", engine.backend]
    options += ["--scheduler", engine.scheduler] if engine.scheduler else []
    assert mimic_iv_ecg.main([*common, "--dest", str(tmp_path / "m"), *options]) == 0
    assert contents(tmp_path / "m") == contents(tmp_path / "alone")


def test_packing_on_dask_survives_a_killed_worker(cluster, tmp_path: Path) -> None:
    """The worker dies in the third of five blocks, in the middle of writing its shard."""
    names = [f"r{number}" for number in range(19)]
    names[9] = "killer"
    columns = {"path": names, "subject_id": names, "report": ["Text"] * 19}
    records = records_table(record_id=[f"id{number}" for number in range(19)], **columns)

    def run(dest: Path, **options) -> dict[str, str]:
        options = PackingOptions(rows_per_shard=4, **options)
        reader = engine_work.read_or_die_once
        assert pack(records, tmp_path, dest, options, data_set="made-up", command="test", reader=reader) == 0
        return contents(dest)

    found = run(tmp_path / "cluster", backend="dask", scheduler=cluster.scheduler_address)
    assert (tmp_path / "killer").exists()  # a worker did die; now the marker lets the record pass
    assert found == run(tmp_path / "alone", jobs=1)
    assert read_json(tmp_path / "cluster" / "manifest.json")["counts"] == {"in": 19, "out": 19, "rejected": {}}
    assert [shard["rows"] for shard in read_json(tmp_path / "cluster" / "store.json")["shards"]] == [4, 4, 4, 4, 3]


def test_a_worker_that_does_not_see_the_folders_packs_nothing(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "entry").touch()
    write_json(tmp_path / "m" / blocks.WORK_FOLDER / blocks.PLAN_FILE, {})
    options = PackingOptions().signal
    root, work = str(tmp_path / "root"), str(tmp_path / "m" / blocks.WORK_FOLDER)
    block = blocks.Block(0, 0, ["a"], [""], root, work, engine_work.read_or_die_once, options)
    landmarks = blocks._landmarks(block)
    (tmp_path / "root" / "entry").unlink()  # as where the data set is not mounted
    with pytest.raises(DataError, match="entry: not seen on .*; every worker needs the same folders"):
        blocks.pack_shared_block(block, landmarks, seconds=0)
    assert not block.is_done()


def test_shards_that_never_arrive_are_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "VISIBLE_SECONDS", 0)
    monkeypatch.setattr(Engine, "run", lambda engine, function, items, done: None)
    records = records_table(record_id=["a"], path=["a"], subject_id=["a"], report=["Text"])
    (tmp_path / "root").mkdir()
    options = PackingOptions(backend="dask", scheduler="tcp://nowhere")
    with pytest.raises(DataError, match="records-00000.json: written by a worker, but not seen here"):
        pack(
            records, tmp_path / "root", tmp_path / "m", options, data_set="x", command="x", reader=engine_work.read_or_die_once
        )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A tiny T5 folder with random weights."""
    folder = tmp_path_factory.mktemp("tiny-t5")
    write_encoder(folder, "tiny", write_tokenizer(folder, train_sentencepiece(make_reports(300), 150)), seed=0)
    return folder


def embed(directory: Path, encoder: Path, *options: str) -> int:
    common = ["--strategy", "farthest", "--device", "cpu", "--block", "16", "--k", "4"]
    return n3s.main(["--manifest", str(directory), "--embedder", str(encoder), *common, *options])


def cached(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((directory / n3s.CACHE).glob("embeddings-*/*.npy"))]


@pytest.fixture
def one_thread():
    """As in Dask's workers: other numbers of threads may round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_embedding_on_dask_gives_the_same_vectors_in_the_same_order(cluster, tmp_path, encoder, one_thread) -> None:
    for name in ("alone", "m"):
        write_directory(tmp_path / name, 100)
    embed(tmp_path / "alone", encoder)
    embed(tmp_path / "m", encoder, "--backend", "dask", "--scheduler", cluster.scheduler_address)
    assert len(cached(tmp_path / "m")) == 7
    assert cached(tmp_path / "m") == cached(tmp_path / "alone")
    assert (tmp_path / "m" / "train.n3s.npy").read_bytes() == (tmp_path / "alone" / "train.n3s.npy").read_bytes()


def test_interrupted_embedding_goes_on_with_the_missing_blocks_only(tmp_path, encoder, monkeypatch, one_thread) -> None:
    write_directory(tmp_path, 100)
    embed(tmp_path, encoder)
    before, negatives = cached(tmp_path), (tmp_path / "train.n3s.npy").read_bytes()
    for number in (1, 4):
        next((tmp_path / n3s.CACHE).glob(f"embeddings-*/{number:05d}.npy")).unlink()
    (tmp_path / "train.n3s.json").unlink()
    asked = []
    monkeypatch.setattr(Engine, "run", lambda engine, *work: _run_here(asked, *work))
    embed(tmp_path, encoder, "--jobs", "2")
    assert asked == [1, 4]
    assert cached(tmp_path) == before and (tmp_path / "train.n3s.npy").read_bytes() == negatives


def _run_here(asked, function, items, done) -> None:
    """In this process, last item first: the order in which blocks come must not matter."""
    asked.extend(number for number, _ in items)
    for item in items[::-1]:
        done(function(item))


def test_a_worker_with_another_encoder_is_refused(encoder: Path) -> None:
    from preprocess.text.text_embedding import embed_block, embedder_settings

    settings = embedder_settings(str(encoder), "cpu", 8, "sha256:other", local_jobs=0)
    with pytest.raises(DataError, match="other weights or another tokenizer on "):
        embed_block((0, ["sinus rhythm"]), settings)
