"""Controllers against PyTorch's, alone, and against their equations beside memories."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import restatement
import torch
from sparsam import Network
from sparsam.torch import DAM, DNC, NTM, SAM, SDNC, load_checkpoint

CONTROLLERS = ["lstm", "gru", "layer_norm_lstm"]


def alone(controller: str, input_size: int = 5, hidden_size: int = 7) -> Network:
    network = Network("lstm", input_size, hidden_size, controller=controller, seed=3, dtype=np.float64)
    network.values += np.random.default_rng(4).normal(size=network.values.shape) * 0.3
    return network


def of_torch(network: Network) -> Any:
    """PyTorch's layer with the same parameters. The sum of its two biases, where it is all that matters, is in one."""
    own = {name.removeprefix("controller."): torch.from_numpy(value) for name, value in network.parameters.items()}
    hidden = own["weight_hh"].shape[1]
    kind = torch.nn.GRU if network.controller == "gru" else torch.nn.LSTM
    layer: Any = kind(own["weight_ih"].shape[1], hidden, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(own["weight_ih"])
        layer.weight_hh_l0.copy_(own["weight_hh"])
        layer.bias_ih_l0.copy_(own["bias"][: layer.bias_ih_l0.numel()])
        layer.bias_hh_l0.zero_()
        if network.controller == "gru":
            layer.bias_hh_l0[2 * hidden :].copy_(own["bias"][3 * hidden :])
    return layer


@pytest.mark.parametrize("controller", ["lstm", "gru"])
def test_without_a_memory_it_is_the_layer_of_pytorch(controller: str) -> None:
    network = alone(controller)
    layer = of_torch(network)
    input = torch.randn(40, 6, 5, dtype=torch.float64, requires_grad=True)
    expected, _ = layer(input)
    output, _, tape = network.forward(input.detach().numpy())
    np.testing.assert_allclose(output, expected.detach().numpy(), rtol=0, atol=1e-12)

    weights = torch.randn_like(expected)
    torch.autograd.backward((expected * weights).sum())
    gradients = tape.backward(weights.numpy())
    assert input.grad is not None
    np.testing.assert_allclose(gradients.input, input.grad.numpy(), rtol=0, atol=1e-10)
    of_bias = layer.bias_ih_l0.grad
    if controller == "gru":
        of_bias = torch.cat([of_bias, layer.bias_hh_l0.grad[-7:]])
    for name, expected_gradient in [
        ("weight_ih", layer.weight_ih_l0.grad),
        ("weight_hh", layer.weight_hh_l0.grad),
        ("bias", of_bias),
    ]:
        np.testing.assert_allclose(
            gradients.parameters[f"controller.{name}"], expected_gradient.numpy(), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_beside_a_memory_it_follows_its_equations(controller: str) -> None:
    torch.manual_seed(5)
    model: Any = SAM(3, 6, 2, memory_size=16, word_size=4, num_heads=2, controller=controller, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    assert model.controller_name == controller
    input = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    output, _ = model(input)
    weights = torch.randn_like(output)
    torch.autograd.backward((output * weights).sum())
    assert input.grad is not None
    ours = [input.grad.clone()] + [parameter.grad.clone() for parameter in model.parameters()]
    input.grad = None
    model.zero_grad()

    expected = restatement.run(model, restatement.Sam(16, 4, 2), input)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
    torch.autograd.backward((expected * weights).sum())
    for mine, theirs in zip(ours, [input.grad, *(parameter.grad for parameter in model.parameters())], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", [SAM, SDNC, DAM, NTM, DNC])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_modules_are_saved_copied_and_shown_with_their_controller(kind: Any, controller: str, tmp_path: Path) -> None:
    model = kind(3, 6, 2, memory_size=16, word_size=4, num_heads=2, controller=controller)
    input = torch.randn(7, 2, 3)
    expected, state = model(input)
    further, _ = model(input, copy.deepcopy(state))
    path = tmp_path / "network.safetensors"
    model.save_checkpoint(path)
    for other in (load_checkpoint(path), pickle.loads(pickle.dumps(model))):
        assert repr(other) == repr(model)
        assert ("controller=" in repr(model)) == (controller != "lstm")
        torch.testing.assert_close(other(input)[0], expected, rtol=0, atol=0)
    state.save(tmp_path / "state.safetensors")
    torch.testing.assert_close(
        model(input, model.load_state(tmp_path / "state.safetensors"))[0], further, rtol=0, atol=0
    )
    assert Network.load(path).controller == controller


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_first_weights_are_the_library_s(controller: str) -> None:
    torch.manual_seed(6)
    model: Any = SAM(3, 8, 2, memory_size=16, controller=controller)
    bias = model.controller.bias.detach()
    forget = 0.0 if controller == "gru" else 1.0
    assert torch.equal(bias[8:16], torch.full((8,), forget)) and bias.sum() == 8 * forget
    for name, parameter in model.controller.named_parameters():
        if "gain" in name:
            assert torch.equal(parameter, torch.ones_like(parameter))


def test_mistakes_name_the_controllers() -> None:
    with pytest.raises(ValueError, match="controller is 'GRU', where one of lstm, gru, layer_norm_lstm"):
        SAM(3, 8, controller="GRU")
    with pytest.raises(ValueError, match="where one of lstm, gru"):
        Network("sam", 3, 8, controller="rnn")
