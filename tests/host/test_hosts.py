"""Both hosts behave alike behind ``cmelt_plugin.host``; each is asked in a process of its own."""

import logging
import pickle
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hosts import HOSTS, REPOSITORY, ask
from hosts import facts as host_facts

from tests.host.ranks import received
from tests.losses.ranks import two_ranks

FACTS = """
import json, pickle, sys
import torch
import fairseq_cli.hydra_train, fairseq_cli.hydra_validate
import cmelt_plugin
cmelt_plugin.register()
cmelt_plugin.register()  # twice does nothing
from cmelt_plugin import host
extractor = host.ecg_feature_extractor([(16, 2, 2)] * 4, 12)
registry = host.host_module("criterions").CRITERION_REGISTRY
print("FACTS" + json.dumps({
    "host": host.NAME,
    "names": sorted(extractor.state_dict()),
    "shape": list(extractor(torch.zeros(2, 12, 5000)).shape),
    "criteria": sorted(name for name in registry if name.startswith("cmelt")),
    "task": "cmelt_pretraining" in host.host_module("tasks").TASK_REGISTRY,
    "model": "cmelt" in host.host_module("models").MODEL_REGISTRY,
    "pickled": pickle.dumps(fairseq_cli.hydra_train.pre_main).hex(),
}))
"""

WORKER = """
import pickle, sys
{host_import}
assert "cmelt_plugin" not in sys.modules
function = pickle.loads(bytes.fromhex("{pickled}"))
print(function.__module__, function.__name__)
import importlib
import cmelt_plugin
cmelt_plugin.register()
tasks = importlib.import_module("{host}.tasks")
assert "cmelt_pretraining" in tasks.TASK_REGISTRY
"""


@pytest.mark.parametrize("name", HOSTS)
def test_conformance(name):
    facts = host_facts(name, FACTS)
    assert facts["host"] == name
    convolutions = [f"conv_layers.{i}.0.weight" for i in range(4)]
    assert facts["names"] == sorted([*convolutions, "conv_layers.0.2.weight", "conv_layers.0.2.bias"])
    assert facts["shape"] == [2, 16, 312]
    assert facts["criteria"] == [
        "cmelt",
        "cmelt_classification",
        "cmelt_etm",
        "cmelt_identification",
        "cmelt_mem",
        "cmelt_mlm",
        "cmelt_regression",
        "cmelt_siglep",
        "cmelt_text_mlm",
    ]
    assert facts["task"] and facts["model"]

    # What a spawned worker does: load the host, unpickle the training function by name, find the plugin registered.
    script = WORKER.format(host_import=f"import {name}.distributed.utils", pickled=facts["pickled"], host=name)
    assert ask(name, script).splitlines()[-1].split() == ["cmelt_plugin.host.workers", "train"]


EPOCHS = """
import json, warnings
import torch
from cmelt_plugin import host

class Numbers(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return index
    def __len__(self):
        return 10

def epoch_iterator(**options):
    batches = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    return host.epoch_batch_iterator(dataset=Numbers(), collate_fn=lambda rows: rows, batch_sampler=batches, **options)

def loader_of(iterator):  # the host's buffer holds the loader, or one that sets the GPU of the buffer's thread first
    held = iterator._itr._iterable
    return getattr(held, "iterable", held)

facts = {"batches": [], "pinned": []}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for options in ({"buffer_size": 3}, {"buffer_size": 0}, {"buffer_size": 0, "num_workers": 1}):
        epochs = epoch_iterator(**options)
        for _ in range(2):
            facts["batches"].append(list(epochs.next_epoch_itr(shuffle=False)))
        assert epochs.buffer_size == options["buffer_size"]
        half_way = epoch_iterator(**options)
        half_way.load_state_dict({"version": 2, "epoch": 1, "iterations_in_epoch": 3, "shuffle": False})
        facts["batches"].append([[0, 1], [2, 3], [4, 5], *half_way.next_epoch_itr(shuffle=False)])
facts["warnings"] = [str(warning.message) for warning in caught if "pin" in str(warning.message)]
facts["pinned"].append(loader_of(epoch_iterator(buffer_size=3).next_epoch_itr(shuffle=False)).pin_memory)

available, current, chosen = torch.cuda.is_available, torch.cuda.current_device, []
torch.cuda.is_available, torch.cuda.current_device = (lambda: True), (lambda: 5)
iterator = epoch_iterator(buffer_size=3).next_epoch_itr(shuffle=False)
torch.cuda.is_available, torch.cuda.current_device = available, current
facts["pinned"].append(loader_of(iterator).pin_memory)
torch.cuda.set_device = chosen.append
loader_of(iterator).pin_memory = False  # this machine may have none
facts["batches"].append(list(iterator))
facts["device"] = chosen
print("FACTS" + json.dumps(facts))
"""


@pytest.mark.parametrize("name", HOSTS)
def test_batches_are_pinned_where_there_is_a_gpu_and_nowhere_else(name):
    facts = host_facts(name, EPOCHS)
    assert facts["batches"] == [[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]] * 10
    assert facts["pinned"][1] is True and facts["device"] == [5]
    import torch

    if not torch.cuda.is_available():
        assert facts["pinned"][0] is False and facts["warnings"] == []


def test_the_hosts_debugging_output_is_not_that_of_libraries():
    """One of fairseq's models, imported with it, turns it on for the whole process."""
    import cmelt_plugin.host  # noqa: F401

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        for name in ("fsspec.local", "matplotlib.colorbar", "matplotlib.font_manager", "fontTools.subset"):
            assert not logging.getLogger(name).isEnabledFor(logging.DEBUG), name
    finally:
        root.setLevel(level)


def test_choice_of_host(monkeypatch):
    from cmelt_plugin.host import choose_host

    monkeypatch.setenv("CMELT_HOST", "fairseq_signals")
    assert choose_host() == "fairseq_signals"
    monkeypatch.setenv("CMELT_HOST", "somewhere")
    with pytest.raises(ImportError, match="must be one of fairseq, fairseq_signals"):
        choose_host()
    monkeypatch.delenv("CMELT_HOST")
    for loaded, other in (HOSTS, HOSTS[::-1]):  # whichever is loaded, and fairseq where both are
        monkeypatch.setitem(sys.modules, loaded, sys)
        monkeypatch.delitem(sys.modules, other, raising=False)
        assert choose_host() == loaded
    monkeypatch.setitem(sys.modules, "fairseq", sys)
    assert choose_host() == "fairseq"
    monkeypatch.undo()


@pytest.mark.parametrize("installed", [*[(name,) for name in HOSTS], HOSTS])
def test_choice_of_host_where_none_is_loaded(installed, monkeypatch):
    from cmelt_plugin.host import choose_host

    monkeypatch.delenv("CMELT_HOST", raising=False)
    for name in HOSTS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in installed or None)
    assert choose_host() == installed[0]


def test_no_host_at_all_says_what_to_install():
    script = """
import importlib.util
importlib.util.find_spec = lambda name, *rest: None
import cmelt_plugin.host
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert "pip install --no-build-isolation fairseq-fixed" in done.stderr


def test_importing_the_package_loads_no_host():
    script = "import sys, cmelt_plugin, hydra_plugins.cmelt_plugin; print('fairseq' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False", "False"], done.stderr


@pytest.mark.parametrize("backend", ["fully_sharded", "slowmo"])
def test_backends_that_fail_later_are_refused_before_the_host_begins(backend, monkeypatch, capsys):
    import fairseq_cli.train

    from cmelt_plugin.host import workers

    begun = []
    monkeypatch.setattr(fairseq_cli.train, "main", begun.append)
    with pytest.raises(SystemExit) as left:
        workers.train(SimpleNamespace(distributed_training=SimpleNamespace(ddp_backend=backend)))
    assert left.value.code == 1
    assert re.fullmatch(rf"error: .*ddp_backend={backend}: .*legacy_ddp.*\n", capsys.readouterr().err)
    assert not begun
    for distributed in (SimpleNamespace(ddp_backend="pytorch_ddp"), SimpleNamespace()):  # fairseq-signals has no choice
        workers.train(SimpleNamespace(distributed_training=distributed))
    assert len(begun) == 2


def test_a_backend_that_is_refused_is_not_replaced_on_a_machine_without_gpus(monkeypatch):
    """Two processes of torchrun on a CPU get legacy_ddp, but not in place of what the user must hear about."""
    configs = pytest.importorskip("fairseq.dataclass.configs", reason="fairseq is not installed; run 'make install'")
    from cmelt_plugin import host

    utils = host.host_module("distributed.utils")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("atexit.register", lambda function: None)
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for given, used in (("pytorch_ddp", "legacy_ddp"), ("fully_sharded", "fully_sharded")):
        cfg = configs.DistributedTrainingConfig(ddp_backend=given)
        utils.infer_init_method(cfg)
        assert cfg.ddp_backend == used


def test_a_checkpoint_reaches_the_other_processes_with_its_configuration():
    """The hosts send it so when several processes resume; torch >= 2.6 refused to read the configuration."""
    if not torch.distributed.is_available():
        pytest.skip("this torch has no distributed package")
    sent = {"cfg": {"model": {"dim": 3}}, "model": {"weight": torch.arange(5.0)}, "extra": [1, "x"]}
    for cfg, weight, extra in two_ranks()(received, [(sent,), (None,)]):
        assert (cfg, extra) == ({"model": {"dim": 3}}, [1, "x"])
        assert torch.equal(weight, torch.arange(5.0))


def test_checkpoints_that_hold_code_are_refused(tmp_path):
    import torch

    from cmelt_plugin.errors import DataError
    from cmelt_plugin.serialization.checkpoint_files import load_state

    class Payload:
        def __reduce__(self):
            return (print, ("code from a checkpoint",))

    torch.save({"model": {}, "extra": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_state(str(tmp_path / "evil.pt"))
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_state(str(tmp_path / "text.pt"))
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="entry 'model'"):
        load_state(str(tmp_path / "other.pt"))
    with pytest.raises(DataError, match="no such checkpoint"):
        load_state(str(tmp_path / "missing.pt"))
    with open(tmp_path / "pickle.pt", "wb") as handle:
        pickle.dump({"model": {}}, handle)
    with pytest.raises(DataError, match="not a readable checkpoint"):
        load_state(str(tmp_path / "pickle.pt"))
