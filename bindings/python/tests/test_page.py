"""Pages of traces: they hold the trace's numbers, and notebooks show them."""

import base64
import gzip
import html
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sparsam import Network
from sparsam.torch import SDNC

TYPES: dict[str, Any] = {"f32": np.float32, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8}


def read(page: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a page says of itself, and its arrays."""
    part = {name: page.split(f'id="{name}">')[1].split("</script>")[0] for name in ("about", "numbers")}
    about, numbers = json.loads(part["about"]), gzip.decompress(base64.b64decode(part["numbers"]))
    arrays = {}
    for array in about["arrays"]:
        count = math.prod(array["shape"])
        found = np.frombuffer(numbers, TYPES[array["type"]], count, array["offset"]).reshape(array["shape"])
        if array["type"] == "u16":
            found = np.where(found == 0xFFFF, -1, found.astype(np.int64))
        elif array["type"] == "u8":
            found = (array["least"] + array["step"] * found.astype(np.float32)).astype(np.float32)
        arrays[array["name"]] = found
    return about, arrays


MODELS = ["sam", "sdnc", "dam", "ntm", "dnc", "lstm"]


@pytest.mark.parametrize("model", MODELS)
def test_a_page_holds_the_numbers_of_the_trace(model: str, tmp_path: Path) -> None:
    memory: dict[str, Any] = {"memory_size": 20, "word_size": 6, "num_heads": 2} if model != "lstm" else {}
    network, random = Network(model, 3, 8, 2, **memory), np.random.default_rng(1)
    input = random.standard_normal((9, 3, 3)).astype(np.float32)
    trace = network.trace(input, lengths=[4, 9, 0])
    targets = random.integers(0, 2, (9, 2)).astype(float)
    targets[:3] = np.nan
    path = tmp_path / "trace.html"
    trace.save_html(path, sequence=1, targets=targets)
    about, arrays = read(path.read_text(encoding="utf-8"))
    assert (about["steps"], about["model"], about["targets"], about["summarised"]) == (9, model, "bits", [])
    for name, array in trace.items():
        np.testing.assert_array_equal(arrays[name], array[:, 1], name)
    np.testing.assert_array_equal(arrays["inputs"], input[:, 1])
    np.testing.assert_allclose(arrays["outputs"], 1 / (1 + np.exp(-trace.output[:, 1])), rtol=1e-6)
    wrong = (trace.output[:, 1] > 0) != (targets > 0.5)
    np.testing.assert_array_equal(arrays["wrong"], np.where(np.isnan(targets), 0, wrong).sum(1))

    # Classes; and a sequence that ends before others.
    trace.save_html(path, targets=[-1, 1, 0, 1], title="</script><b>")
    about, arrays = read(path.read_text(encoding="utf-8"))
    assert (about["steps"], about["title"], about["targets"]) == (4, "</script><b>", "classes")
    np.testing.assert_allclose(arrays["outputs"].sum(1), 1, rtol=1e-6)
    answers = trace.output[:4, 0].argmax(1)
    np.testing.assert_array_equal(arrays["wrong"], [0, *(answers[1:] != [1, 0, 1])])

    # Numbers are told by what they are, or by the caller where they could be bits.
    numbers = trace.output[:, 1] + np.where(np.arange(9) == 5, 3, 0.01)[:, None]
    numbers[2] = np.nan
    trace.save_html(path, sequence=1, targets=numbers)
    about, arrays = read(path.read_text(encoding="utf-8"))
    assert about["targets"] == "numbers"
    np.testing.assert_array_equal(arrays["outputs"], trace.output[:, 1])
    assert arrays["errors"].argmax() == 5
    assert arrays["errors"][2] == 0
    ones = np.ones((9, 2))
    assert read(trace._page(1, ones)[0])[0]["targets"] == "bits"
    assert read(trace._page(1, ones, "numbers")[0])[0]["targets"] == "numbers"


def test_layouts_of_modules_are_those_of_the_page() -> None:
    model, input = SDNC(3, 8, memory_size=20, word_size=6, num_heads=2), torch.randn(5, 2, 3)
    expected = read(model.trace(input)._page(1)[0])
    assert "hidden_units" in expected[1]
    model.batch_first = True
    for trace, sequence in [(model.trace(input.transpose(0, 1)), 1), (model.trace(input[:, 1]), 0)]:
        about, arrays = read(trace._page(sequence)[0])
        assert about["steps"] == 5
        for name, array in expected[1].items():
            np.testing.assert_allclose(arrays[name], array, atol=1e-5, err_msg=name)
    double = Network("sam", 3, 8, memory_size=20, dtype=np.float64).trace(np.ones((4, 1, 3)))
    assert read(double._page()[0])[0]["steps"] == 4


def test_a_notebook_shows_a_trace_or_says_how_to_save_it() -> None:
    network = Network("sam", 3, 8, 2, memory_size=20)
    shown = network.trace(np.ones((9, 1, 3), np.float32))._repr_html_()
    assert shown.startswith("<iframe ")
    assert 'sandbox="allow-scripts"' in shown
    assert read(html.unescape(shown.split('srcdoc="')[1].split('"')[0]))[0]["steps"] == 9
    large = network.trace(np.ones((20_000, 1, 3), np.float32))._repr_html_()
    assert "trace.save_html(path)" in large
    assert len(large) < 10_000
    assert "no time step" in network.trace(np.ones((0, 1, 3), np.float32))._repr_html_()


def test_a_page_is_of_one_start_and_of_the_input_as_it_was(tmp_path: Path) -> None:
    network, input = Network("sam", 3, 8, 2, memory_size=20), np.ones((4, 2, 3), np.float32)
    starts = np.zeros((4, 2), bool)
    starts[0, 1] = starts[2, 0] = True
    trace = network.trace(input, network.infer(input)[1], starts=starts)
    input[:] = 0
    with pytest.raises(ValueError, match="sequence 0 starts anew at step 2"):
        trace.save_html(tmp_path / "trace.html")
    about, arrays = read(trace._page(1)[0])
    assert about["continued"] is False
    np.testing.assert_array_equal(arrays["inputs"], np.ones((4, 3)))
    going_on = network.trace(input, trace.state)
    assert read(going_on._page(1)[0])[0]["continued"] is True

    model, tensor = SDNC(3, 8, memory_size=20), torch.ones(4, 1, 3)
    first = model.trace(tensor)
    tensor.zero_()
    about, arrays = read(first._page()[0])
    assert about["continued"] is False
    np.testing.assert_array_equal(arrays["inputs"], np.ones((4, 3)))
    assert read(model.trace(tensor, first.state)._page()[0])[0]["continued"] is True


def test_mistakes_are_named(tmp_path: Path) -> None:
    trace = Network("sam", 3, 8, 2, memory_size=20).trace(np.ones((4, 2, 3), np.float32))
    for arguments, message in [
        ({"sequence": 2}, "sequence is 2, where one of the 2"),
        (
            {"targets": np.ones((3, 2))},
            r"shape \(3, 2\).*integers \(4,\) or bits, \(4, 2\) or numbers",
        ),
        ({"targets": [0, 1, 1, 0], "target_kind": "bits"}, r"shape \(4,\).*where bits, \(4, 2\) was expected"),
        ({"targets": np.full((4, 2), 0.5), "target_kind": "bits"}, "has 0.5, which is not a bit"),
        ({"targets": np.ones((4, 2)), "target_kind": "words"}, "'words', where one of classes, bits, numbers"),
        ({"target_kind": "bits"}, "no targets"),
        ({"targets": [0, 1, 2, 0]}, "class 2, where outputs are of 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            trace.save_html(tmp_path / "trace.html", **arguments)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="missing"):
        trace.save_html(tmp_path / "missing" / "trace.html")
