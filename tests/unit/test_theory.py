"""The theorems' constants and bounds on cases whose values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from editfrontier import inversion
from editfrontier.diffusion import sampling
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.study.analyses import guidance_bound
from editfrontier.study.theory import gronwall, guidance, maps, receptive
from editfrontier.study.theory.lipschitz import error_bound, local_lipschitz, norms, secants
from tiny_flux import tiny_flux
from tiny_pipelines import latents_of, tiny_pipeline


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Theorem 1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (40, 6), (6, 40)])
def test_the_constant_of_a_linear_map_is_its_largest_singular_value(rows: int, columns: int) -> None:
    weight = matrix(rows, columns)
    points = matrix(3, columns, seed=1)
    found = local_lipschitz(lambda x: x @ weight.T, points, iterations=2000, tolerance=1e-9)
    expected = float(torch.linalg.svdvals(weight)[0])
    assert found.converged.all()
    np.testing.assert_allclose(found.values, [expected] * 3, rtol=1e-6)
    np.testing.assert_allclose(norms(found.directions @ weight.T), [expected] * 3, rtol=1e-5)


def test_every_sample_of_a_batch_has_its_own_constant() -> None:
    weights = (
        torch.stack([matrix(7, 6, seed) for seed in range(4)]) * torch.tensor([1.0, 10.0, 0.1, 3.0])[:, None, None]
    )
    points = torch.zeros(4, 2, 3, dtype=torch.float64)
    found = local_lipschitz(
        lambda x: torch.einsum("bij,bj->bi", weights, x.flatten(1)), points, iterations=2000, tolerance=1e-9
    )
    expected = torch.linalg.svdvals(weights)[:, 0]
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert found.directions.shape == points.shape


def test_the_constant_is_local() -> None:
    points = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, 3.0]], dtype=torch.float64)
    found = local_lipschitz(lambda x: x**3, points, iterations=500, tolerance=1e-12)
    np.testing.assert_allclose(found.values, [12.0, 27.0], rtol=1e-6)


def test_a_capped_iteration_is_below_the_truth_and_says_that_it_did_not_converge() -> None:
    weight = matrix(30, 30)
    found = local_lipschitz(lambda x: x @ weight.T, matrix(2, 30, seed=1), iterations=2, tolerance=1e-6)
    assert found.iterations == 2
    assert not found.converged.any()
    assert (found.values < torch.linalg.svdvals(weight)[0]).all()


def test_one_iteration_never_counts_as_converged() -> None:
    found = local_lipschitz(lambda x: 0.0 * x, torch.ones(2, 3), iterations=1)
    assert not found.converged.any()
    with pytest.raises(ValueError, match="0 iterations"):
        local_lipschitz(lambda x: x, torch.ones(2, 3), iterations=0)


def test_a_constant_map_has_the_constant_0() -> None:
    found = local_lipschitz(lambda x: 0.0 * x, torch.ones(2, 3), iterations=5)
    assert found.values.tolist() == [0.0, 0.0]
    assert found.converged.all()
    assert torch.isfinite(found.directions).all()


def test_a_start_from_the_right_directions_needs_two_iterations() -> None:
    weight = matrix(9, 9)
    cold = local_lipschitz(lambda x: x @ weight.T, matrix(2, 9, 1), iterations=2000, tolerance=1e-10)
    warm = local_lipschitz(lambda x: x @ weight.T, matrix(2, 9, 1), tolerance=1e-6, start=cold.directions)
    assert warm.iterations == 2 < cold.iterations
    np.testing.assert_allclose(warm.values, cold.values, rtol=1e-6)


def test_power_iteration_goes_through_attention_and_norms() -> None:
    model = maps.freeze(tiny_pipeline())
    text = sampling.encode_text(model, ["a face"], False)
    level = 0.3
    points = latents_of(1)

    def estimate(latents: Tensor) -> Tensor:
        return maps.noise_estimate(model, latents, 301, level, text.prompt)

    found = local_lipschitz(estimate, points, iterations=300, tolerance=1e-6)
    jacobian = torch.func.jacrev(lambda flat: estimate(flat.reshape(1, 4, 8, 8)).flatten())(points.flatten())
    np.testing.assert_allclose(found.values, [float(torch.linalg.svdvals(jacobian.detach())[0])], rtol=1e-3)


def test_the_bound_of_theorem_1_is_met_exactly_along_the_singular_direction() -> None:
    weight = matrix(5, 8)
    _, singular, right = torch.linalg.svd(weight)
    first = matrix(2, 8, seed=3)
    second = first + 0.3 * right[0]
    images = first @ weight.T, second @ weight.T
    bound = error_bound(singular[0], norms(first - second))
    np.testing.assert_allclose(norms(images[0] - images[1]), bound, rtol=1e-9)
    np.testing.assert_allclose(secants(first, second, *images), [float(singular[0])] * 2, rtol=1e-9)


def test_a_local_constant_can_be_too_small_for_a_distant_point() -> None:
    first, second = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[3.0]], dtype=torch.float64)
    local = local_lipschitz(lambda x: x**2, first, iterations=5)
    assert local.values.tolist() == [2.0]
    assert secants(first, second, first**2, second**2).tolist() == [4.0]
    assert secants(first, first, first, first).isnan().all()


# Maps -----------------------------------------------------------------------------------------------------------------


def test_the_decoder_is_the_pipelines_own_before_the_clamp() -> None:
    for model in (tiny_pipeline(), tiny_flux()):
        latents = 3.0 * latents_of(2)
        with torch.no_grad():
            made = maps.decoder(model)(latents)
        torch.testing.assert_close(made.clamp(-1.0, 1.0), sampling.decode(model, latents))


@pytest.mark.parametrize("method", ["ddim", "fireflow"])
def test_the_sampler_is_the_inversions_way_back_with_gradients(method: str) -> None:
    model = maps.freeze(tiny_pipeline() if method == "ddim" else tiny_flux())
    text = inversion.embed(model, ["a face", "hat"])
    found = inversion.invert(model, latents_of(2), method, 3, text)
    sample = maps.sampler(model, method, 3, text, found.times)
    expected = inversion.reconstruct(model, found, method, 3, text)
    noisy = found.latents[0].clone().requires_grad_()
    made = sample(noisy)
    torch.testing.assert_close(made.detach(), expected)
    assert torch.autograd.grad(made.sum(), noisy)[0].abs().sum() > 0


def test_euler_on_the_fields_is_ddim_and_euler() -> None:
    model = tiny_pipeline()
    text = inversion.embed(model, ["a face", "hat"])
    assert isinstance(text, TextEmbeddings)
    found = inversion.invert(model, latents_of(2), "ddim", 5, text)
    field, times = maps.diffusion_field(model, 5, text.prompt)
    levels = maps.noise_levels(model, 5)[2]
    states = maps.euler_states(field, found.latents[0] / levels[0] ** 0.5, times)
    expected = inversion.reconstruct(model, found, "ddim", 5, text)
    torch.testing.assert_close(states[-1] * levels[-1] ** 0.5, expected, rtol=1e-4, atol=1e-4)

    flow = tiny_flux()
    prompts = inversion.embed(flow, ["a face", "hat"])
    found = inversion.invert(flow, latents_of(2), "euler", 5, prompts)
    field, times = maps.flow_field(flow, (8, 8), 5, prompts)  # type: ignore[arg-type]
    expected = inversion.reconstruct(flow, found, "euler", 5, prompts)
    torch.testing.assert_close(maps.euler_states(field, found.latents[0], times)[-1], expected)


# Receptive fields -----------------------------------------------------------------------------------------------------


def convolutions(layers: int, normalised: bool = False) -> nn.Module:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for layer in range(layers):
        parts.append(nn.Conv2d(3 if layer == 0 else 4, 4, 3, padding=1))
        parts += [nn.GroupNorm(2, 4)] if normalised else []
        parts.append(nn.SiLU())
    return nn.Sequential(*parts)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_support_of_a_stack_of_convolutions(layers: int) -> None:
    points = torch.randn(2, 3, 15, 15)
    found = receptive.response(convolutions(layers), points, (7, 7)).numpy()
    apart = receptive.unit_distances((7, 7), 1, (15, 15), 1)
    assert [receptive.support_radius(one, apart) for one in found] == [layers, layers]
    assert (found[:, apart > layers] == 0).all()
    assert (found[:, apart <= layers] > 0).all()


def test_the_response_of_one_convolution_is_its_kernel() -> None:
    kernel = nn.Conv2d(1, 1, 3, padding=1)
    found = receptive.response(kernel, torch.randn(1, 1, 5, 5), (2, 2))[0]
    torch.testing.assert_close(found[1:4, 1:4], kernel.weight[0, 0].detach().abs().double())
    assert found.sum() == found[1:4, 1:4].sum()


def test_the_response_sums_squares_over_channels() -> None:
    mixing = nn.Conv2d(2, 3, 1, bias=False)
    found = receptive.response(mixing, torch.randn(1, 2, 3, 3), (1, 1))[0]
    assert float(found[1, 1]) == pytest.approx(float(mixing.weight.detach().norm()), rel=1e-6)


def test_a_group_norm_connects_everything_and_frozen_statistics_show_the_kernels() -> None:
    network = convolutions(2, normalised=True)
    points = torch.randn(1, 3, 15, 15)
    apart = receptive.unit_distances((7, 7), 1, (15, 15), 1)
    expected = network(points)
    assert float((receptive.response(network, points, (7, 7)) > 0).double().mean()) == 1.0
    with receptive.frozen_statistics(network):
        torch.testing.assert_close(network(points), expected)
        frozen = receptive.response(network, points, (7, 7))[0].numpy()
    assert receptive.support_radius(frozen, apart) == 2.0
    assert float((receptive.response(network, points, (7, 7)) > 0).double().mean()) == 1.0  # as before


def test_distances_between_units_of_different_sizes() -> None:
    apart = receptive.unit_distances((2, 2), 4, (16, 16), 1)  # a latent cell of 4 pixels: its centre is at 10
    assert apart[0, 0] == 9.5
    assert apart[10, 10] == apart[9, 9] == 0.5
    assert receptive.unit_distances((5, 5), 1, (4, 4), 4)[1, 3] == 8.5  # centres 5.5 and 14


def test_a_radius_holds_a_share() -> None:
    assert receptive.holding_radius([1, 1, 2], [0, 1, 2], 0.5) == 1.0
    assert receptive.holding_radius([1, 1, 2], [0, 1, 2], 0.51) == 2.0
    assert receptive.holding_radius([[2, 0], [1, 1]], [[0, 1], [5, 5]], 0.75) == 5.0
    assert math.isnan(receptive.holding_radius([0, 0], [0, 1]))
    assert receptive.support_radius([0, 0], [0, 1]) == 0.0


def test_distances_from_a_mask_and_their_rings() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 1:3] = True
    distances = receptive.mask_distances(mask)
    assert distances[2].tolist() == [1, 0, 0, 1, 2, 3, 4]
    assert distances[0].tolist() == [2, 2, 2, 2, 2, 3, 4]  # Chebyshev: a diagonal step counts 1
    profile = receptive.distance_profile(distances, distances, [1, 2, 4, 5, 9])
    assert profile[0] == 1.0
    assert 2.0 < profile[1] < 3.0
    assert profile[2] == 4.0
    assert math.isnan(profile[3])
    with pytest.raises(ValueError, match="empty mask"):
        receptive.mask_distances(np.zeros((3, 3), dtype=bool))


# Theorem 3 ------------------------------------------------------------------------------------------------------------

LEVELS = (0.25, 0.5, 1.0)


def test_the_terms_of_the_sum_by_hand() -> None:
    half = 0.5 / math.sqrt(0.5)
    np.testing.assert_allclose(guidance.step_alphas(LEVELS), [0.5, 0.5])
    np.testing.assert_allclose(guidance.step_terms(LEVELS, "single"), [half, half])
    np.testing.assert_allclose(guidance.step_terms(LEVELS, "cumulative"), [0.75 / 0.5, half])
    np.testing.assert_allclose(guidance.step_terms(LEVELS, "ddim"), [math.sqrt(3) - 1, 1.0])
    with pytest.raises(ValueError, match="reading 'printed'"):
        guidance.step_terms(LEVELS, "printed")


def test_the_bound_with_and_without_its_factor() -> None:
    terms = np.array([1.0, 3.0, 0.0, 0.0])
    assert guidance.guidance_bound(2.0, 5.0, terms, averaged=False) == 40.0
    assert guidance.guidance_bound(2.0, 5.0, terms, averaged=True) == 20.0
    np.testing.assert_allclose(guidance.shares(terms), [0.25, 0.75, 0.0, 0.0])


def test_alignment_of_equal_and_of_orthogonal_directions() -> None:
    terms = np.ones(4)
    equal = np.tile(np.arange(1.0, 5.0), (4, 1, 1))
    orthogonal = np.eye(4)[:, None, :]
    assert guidance.alignment(equal, terms) == pytest.approx(1.0)
    assert guidance.alignment(orthogonal, terms) == pytest.approx(1 / math.sqrt(4))
    assert np.isnan(guidance.alignment(np.zeros((4, 1, 3)), terms)).all()


def test_a_constant_direction_meets_the_exact_bound_and_breaks_the_averaged_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A toy flow: the noise estimate is 0 for the empty prompt and one fixed vector of norm G for the prompt."""

    def toy(model: object, latents: Tensor, timestep: float, level: float, prompt: Tensor) -> Tensor:
        return prompt[:, 0, 0, None, None, None].expand_as(latents)

    monkeypatch.setattr(maps, "noise_estimate", toy)
    model, steps, scale, largest = tiny_pipeline(), 10, 4.0, 1.6
    start = latents_of(2)
    each = largest / math.sqrt(start[0].numel())
    text = TextEmbeddings(torch.full((2, 1, 1), each), torch.zeros(2, 1, 1))
    guided, directions = guidance_bound._sample(model, start, [scale] * steps, text, True)
    unguided, nothing = guidance_bound._sample(model, start, [0.0] * steps, text, False)
    assert nothing is None
    np.testing.assert_allclose(np.linalg.norm(directions.reshape(steps, 2, -1), axis=2), largest, rtol=1e-5)
    terms = guidance.step_terms(maps.noise_levels(model, steps)[2], "ddim")
    deviation = norms(guided - unguided).numpy()
    np.testing.assert_allclose(deviation, guidance.guidance_bound(scale, largest, terms, averaged=False), rtol=1e-4)
    assert (deviation > 3 * guidance.guidance_bound(scale, largest, terms, averaged=True)).all()


# Gronwall -------------------------------------------------------------------------------------------------------------


def linear(rate: float, push: float) -> maps.Field:
    def field(states: Tensor, step: int) -> Tensor:
        return rate * states + push

    return field


@pytest.mark.parametrize("rate", [0.8, -0.8])
@pytest.mark.parametrize("times", [np.linspace(0.0, 2.0, 41), np.linspace(1.0, 0.0, 21)])
def test_the_deviation_of_linear_flows_is_that_of_the_recursion(rate: float, times: np.ndarray) -> None:
    start = torch.tensor([[1.0], [-3.0]], dtype=torch.float64)
    found = gronwall.diverge(linear(rate, 0.0), linear(rate, 0.5), start, times.tolist())
    width = times[1] - times[0]
    expected = [abs(0.5 * ((1 + width * rate) ** k - 1) / rate) for k in range(len(times))]
    np.testing.assert_allclose(found.deviations, np.tile(expected, (2, 1)).T, rtol=1e-9)
    np.testing.assert_allclose(found.differences, 0.5)
    np.testing.assert_allclose(found.secants[1:], abs(rate), rtol=1e-9)
    np.testing.assert_allclose(found.growths[1:], 1 + width * rate, rtol=1e-9)
    integral = gronwall.score_integral(found.widths, found.differences)
    np.testing.assert_allclose(integral[-1], 0.5 * abs(times[-1] - times[0]))
    # Where the field drives paths apart, Gronwall's bound is met and the integral alone is exceeded; else neither.
    bound = gronwall.gronwall_bound(
        found.widths, found.differences, gronwall.lipschitz_factors(found.widths, found.secants)
    )
    apart = rate * width > 0
    assert (found.deviations[-1] > integral[-1]).all() == apart
    if apart:
        np.testing.assert_allclose(bound, found.deviations, rtol=1e-9)
    else:
        assert (bound[-1] > 1.5 * found.deviations[-1]).all()
    growth = gronwall.gronwall_bound(found.widths, found.differences, found.growths)
    np.testing.assert_allclose(growth, found.deviations, rtol=1e-9)


def test_the_deviation_tends_to_that_of_the_flow_itself() -> None:
    times = np.linspace(0.0, 1.0, 2001).tolist()
    found = gronwall.diverge(linear(1.2, 0.0), linear(1.2, 0.7), torch.ones(1, 1, dtype=torch.float64), times)
    assert found.deviations[-1, 0] == pytest.approx(0.7 * (math.exp(1.2) - 1) / 1.2, rel=2e-3)


def test_local_constants_of_a_linear_field_serve_the_bound() -> None:
    weight = matrix(6, 6) / 3

    def source(states: Tensor, step: int) -> Tensor:
        return states @ weight.T

    def target(states: Tensor, step: int) -> Tensor:
        return states @ weight.T + 1.0

    times = np.linspace(0.0, 1.5, 16).tolist()
    found = gronwall.diverge(source, target, matrix(3, 6, 1), times)
    local = local_lipschitz(lambda x: target(x, 0), found.states[0], iterations=2000, tolerance=1e-9)
    constants = np.tile(local.values.numpy(), (15, 1))
    bound = gronwall.gronwall_bound(
        found.widths, found.differences, gronwall.lipschitz_factors(found.widths, constants)
    )
    assert (found.deviations <= bound + 1e-12).all()
    assert (found.secants <= constants * (1 + 1e-6)).all()
    assert (found.deviations[-1] < 0.99 * bound[-1]).all()  # it is not met by a field that also turns


def test_flows_that_never_part() -> None:
    same = linear(0.5, 0.0)
    found = gronwall.diverge(same, same, torch.ones(2, 3, dtype=torch.float64), [0.0, 0.5, 1.0])
    assert (found.deviations == 0).all()
    assert (found.secants == 0).all()
    assert (found.growths == 1).all()
    assert gronwall.gronwall_bound(found.widths, found.differences, found.growths)[-1].tolist() == [0.0, 0.0]
    assert found.first(1).deviations.shape == (3, 1)


def test_constants_between_the_steps_where_they_were_taken() -> None:
    values = np.array([[1.0, 10.0], [3.0, 30.0]])
    found = gronwall.between_steps(values, [0, 2], 5)
    np.testing.assert_allclose(found[:, 0], [1, 2, 3, 3, 3])
    np.testing.assert_allclose(found[:, 1], [10, 20, 30, 30, 30])
