"""Options of memories: the keywords are those that the library declares, with its defaults; and so is the table of the
documentation, which ``SPARSAM_UPDATE_DOCS=1`` writes anew."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sparsam import Network
from sparsam._configuration import CONTROLLERS, OPTIONS, Option
from sparsam.torch import DAM, DNC, NTM, SAM, SDNC, SparseMemory, load_checkpoint

MODULES: dict[str, Any] = {"sam": SAM, "sdnc": SDNC, "dam": DAM, "ntm": NTM, "dnc": DNC}

# What a constructor takes beside the options of its memory.
SIZES = {"input_size", "hidden_size", "output_size"}
OTHERS = {"self", "controller", "input_bound", "batch_first", "carry_gradients", "device", "dtype", *SIZES}


def signature(kind: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind.__init__).parameters)


def test_every_model_has_a_module() -> None:
    assert set(OPTIONS) == {"lstm", *MODULES}


@pytest.mark.parametrize("model", MODULES)
def test_keywords_and_defaults_are_those_of_the_library(model: str) -> None:
    parameters = signature(MODULES[model])
    assert {name for name in parameters if name not in OTHERS} == set(OPTIONS[model])
    for name, option in OPTIONS[model].items():
        assert (parameters[name].default, parameters[name].annotation) == (option.default, option.type), name
    assert parameters["controller"].default == CONTROLLERS[0]


def test_keywords_of_a_memory_alone_are_those_of_the_library() -> None:
    parameters, options = signature(SparseMemory), OPTIONS["sdnc"]
    assert set(parameters) == {"self", *options}
    for name, option in options.items():
        if name != "num_links":
            assert (parameters[name].default, parameters[name].annotation) == (option.default, option.type), name


@pytest.mark.parametrize("model", MODULES)
def test_every_option_is_explained(model: str) -> None:
    kind = MODULES[model]
    for name in OPTIONS[model]:
        assert f"\n        {name}: " in f"{kind.__doc__} {SAM.__doc__}", name
        assert f"``{name}``" in f"{Network.__doc__}", name


@pytest.mark.parametrize("model", OPTIONS)
def test_what_is_left_out_takes_the_default_of_the_library(model: str) -> None:
    network = Network(model, 2, 3)
    assert network._configuration.memory == {"model": model, **{o.field: o.default for o in OPTIONS[model].values()}}


@pytest.mark.parametrize(
    ("model", "options", "error", "sentence"),
    [
        ("sam", {"deallocation": True}, TypeError, "sam has no option 'deallocation'; its options are memory_size"),
        ("sdnc", {"deallocation": True}, TypeError, "sdnc has no option 'deallocation'"),
        ("dnc", {"deallocation": 1}, TypeError, "deallocation is 1, where true or false was expected"),
        ("sam", {"index_checks": 0.5}, TypeError, "index_checks is 0.5, where an integer was expected"),
        ("sam", {"index_checks": -1}, ValueError, "index_checks is -1, where a whole number of at least 0 was"),
        ("dnc", {"num_heads": 0}, ValueError, "num_heads = 0 does not work: it must be a whole number from 1 to 4096"),
        ("sam", {"num_reads": -1}, ValueError, "num_reads is -1, where a whole number from 1 to 65536 was expected"),
        ("dam", {"usage_discount": 2}, ValueError, "usage_discount = 2 does not work: it must be a number from 0 to 1"),
        ("dam", {"usage_discount": float("nan")}, ValueError, "usage_discount is nan, where a number from 0 to 1 was"),
        ("dam", {"usage_discount": True}, TypeError, "usage_discount is True, where a number from 0 to 1 was expected"),
        ("sam", {"index": "best"}, ValueError, "index is 'best', where one of auto, linear, ivf, kd-forest, lsh"),
    ],
)
def test_mistakes(model: str, options: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        Network(model, 2, 3, **options)


@pytest.mark.parametrize("kind", [SAM, SDNC])
def test_what_a_write_costs_is_a_part_of_gradients_alone(kind: Any) -> None:
    input, found = torch.randn(12, 2, 3), []
    for cost in (0.0, 0.5):
        torch.manual_seed(1)
        model = kind(3, 6, 2, memory_size=8, word_size=4, write_cost=cost)
        output = model(input)[0]
        output.sum().backward()
        found.append((output, model.interface.bias.grad))
    (without, before), (output, after) = found
    assert torch.equal(output, without)
    assert not torch.allclose(after, before)


def test_a_switch_of_links_needs_links() -> None:
    make: Any = SparseMemory
    with pytest.raises(TypeError, match="sharpened_links is an option of a memory with links; give num_links"):
        make(20, sharpened_links=True)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DNC, {"masked_content": True}),
        (DNC, {"sharpened_links": True}),
        (DNC, {"deallocation": True}),
        (SDNC, {"masked_content": True}),
        (SDNC, {"sharpened_links": True}),
        (SAM, {"masked_content": True}),
        (SAM, {"write_threshold": 0.5}),
        (SDNC, {"write_threshold": 0.5}),
    ],
)
def test_every_switch_makes_a_difference_and_is_kept(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    def make(**options: Any) -> Any:
        torch.manual_seed(1)
        return kind(3, 6, 2, memory_size=8, word_size=4, num_heads=2, dtype=torch.float64, **options)

    model, plain, input = make(**options), make(), torch.randn(12, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        for module in (model, plain):
            torch.manual_seed(2)
            for parameter in module.parameters():
                parameter.uniform_(-1, 1)
            # Past what both have, only the switch's own fields.
            module.interface.bias.fill_(0.5)
    expected = model(input)[0]
    assert not torch.equal(expected, plain(input)[0])
    expected.square().sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())

    path = tmp_path / "model.safetensors"
    model.save_checkpoint(path)
    for same in (load_checkpoint(path, dtype=torch.float64), pickle.loads(pickle.dumps(model))):
        assert repr(same) == repr(model)
        assert all(same._configuration.option(name) == value for name, value in options.items())
        torch.testing.assert_close(same(input)[0], expected, rtol=0, atol=0)


def test_a_memory_alone_has_masks_and_sharpness() -> None:
    def sizes(links: int | None, **options: Any) -> int:
        return SparseMemory(20, word_size=4, num_heads=2, num_links=links, **options).interface_size

    assert sizes(3, masked_content=True) == sizes(3) + 2 * 4
    assert sizes(3, sharpened_links=True) == sizes(3) + 2 * 2
    assert sizes(None, masked_content=True) == sizes(None) + 2 * 4


def test_checks_are_those_of_an_approximate_index() -> None:
    def output(index: str, checks: int) -> Any:
        network = Network("sam", 3, 8, memory_size=4096, num_reads=2, index=index, index_checks=checks, seed=3)
        return network.infer(np.random.default_rng(0).standard_normal((400, 1, 3)).astype(np.float32))[0]

    np.testing.assert_array_equal(output("linear", 0), output("linear", 5))
    assert not np.array_equal(output("kd-forest", 8), output("kd-forest", 4096))


def test_configurations_from_before_an_option_have_its_default() -> None:
    model = SAM(2, 3, memory_size=9)
    memory = dict(model._configuration.memory)
    del memory["index_checks"]
    object.__setattr__(model._configuration, "memory", memory)
    older = pickle.loads(pickle.dumps(model))
    assert older._configuration.option("index_checks") == 0
    assert "index_checks=0" in repr(older)


def test_declarations_have_help() -> None:
    for options in OPTIONS.values():
        for option in options.values():
            assert isinstance(option, Option)
            assert option.help
            assert not option.help.endswith(".")


def table() -> str:
    """The keywords, with what is told of them in the models that have them."""

    def by_model(name: str, tell: Callable[[Option], str]) -> str:
        told: dict[str, list[str]] = {}
        for model, options in OPTIONS.items():
            if name in options:
                told.setdefault(tell(options[name]), []).append(model)
        return "; ".join(text if len(told) == 1 else f"{text} for {', '.join(models)}" for text, models in told.items())

    rows = ["| keyword | models | what it is | default | what it can be |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(name for options in OPTIONS.values() for name in options):
        models = ", ".join(model for model, options in OPTIONS.items() if name in options)
        default = by_model(name, lambda option: repr(option.default))
        help, possible = by_model(name, lambda option: option.help), by_model(name, lambda option: option.possible)
        rows.append(f"| `{name}` | {models} | {help} | {default} | {possible} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_the_documentation_is_up_to_date() -> None:
    path = Path(__file__).parents[3] / "docs" / "python.md"
    start, end = "<!-- generated: options of the memory -->\n", "<!-- end -->"
    before, rest = path.read_text(encoding="utf-8").split(start)
    found, after = rest.split(end, 1)
    if "SPARSAM_UPDATE_DOCS" in os.environ:
        path.write_text(before + start + table() + end + after, encoding="utf-8")
    else:
        assert found == table(), "the table is out of date; run the tests with SPARSAM_UPDATE_DOCS=1 to write it anew"
