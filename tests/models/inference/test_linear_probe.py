"""The file of a probe."""

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.linear_probe import Probe, load_probe, save_probe


def test_a_probe_survives_the_disk(tmp_path) -> None:
    probe = Probe(np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32), 17, np.zeros(0))
    save_probe(tmp_path / "probe.npz", probe, ["a", "b"], {"encoder": "sha256:x", "pool": "cls"})
    found, names, info = load_probe(tmp_path / "probe.npz")
    assert (found.weight == probe.weight).all() and (found.bias == probe.bias).all() and found.epoch == 17
    assert names == ["a", "b"] and info == {"encoder": "sha256:x", "pool": "cls"}
    with pytest.raises(DataError, match="no such file"):
        load_probe(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DataError, match="not a saved probe"):
        load_probe(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(1))
    with pytest.raises(DataError, match="not a saved probe"):
        load_probe(tmp_path / "other.npz")


def test_the_fingerprint_is_of_weights_and_bias() -> None:
    one = Probe(np.ones((2, 3), np.float32), np.zeros(2, np.float32), 1, np.zeros(0))
    assert one.fingerprint == one._replace(epoch=2).fingerprint
    assert one.fingerprint != one._replace(bias=np.ones(2, np.float32)).fingerprint
