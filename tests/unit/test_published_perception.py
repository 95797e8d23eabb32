"""LPIPS and CLIP of the paper scale, on random weights in the published layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.scoring.evaluator import load_evaluator
from paper_fixture import folder_of, images, write_clip

# LPIPS ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "name", "layers"), [("alex", "alexnet", 5), ("squeeze", "squeezenet1_1", 7)])
def test_lpips_is_the_packages_own_on_torchvisions_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: str, name: str, layers: int
) -> None:
    import lpips
    import torchvision

    torch.manual_seed(0)
    trunk = getattr(torchvision.models, name)(weights=None)
    config = {"architecture": "lpips_torchvision", "net": net, "trunk": "t.pth"}
    judge = load_evaluator("lpips", folder_of(tmp_path, config, t=trunk.state_dict()))
    monkeypatch.setattr(torchvision.models, name, lambda pretrained: trunk)
    reference = lpips.LPIPS(net=net, verbose=False)
    assert len(reference.lins) == layers
    a, b = images(2, 64), images(2, 64, seed=1)
    with torch.no_grad():
        expected = reference(a.float() / 127.5 - 1, b.float() / 127.5 - 1).flatten()
    assert float(expected.min()) > 0.01
    # The package averages each layer's map, the evaluator all maps scaled up bilinearly: the same but for the rounding
    # of places where a layer's size does not divide that of the image.
    spatial = lpips.LPIPS(net=net, verbose=False, spatial=True)
    with torch.no_grad():
        maps = spatial(a.float() / 127.5 - 1, b.float() / 127.5 - 1)[:, 0]
    torch.testing.assert_close(judge.distance_map(a, b), maps)
    torch.testing.assert_close(judge.distance(a, b), maps.mean((1, 2)))
    torch.testing.assert_close(judge.distance(a, b), expected, rtol=2e-3, atol=0)


def test_lpips_refuses_a_file_of_another_trunk(tmp_path: Path) -> None:
    import torchvision

    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    config = {"architecture": "lpips_torchvision", "net": "alex", "trunk": "t.pth"}
    with pytest.raises(UserError, match=r"t\.pth: (has|does not fit)"):
        load_evaluator("lpips", folder_of(tmp_path, config, t=state))


def test_evaluators_keep_float32_where_torch_would_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    for name, usual in (("allow_tf32", True), ("benchmark", False), ("deterministic", False)):
        monkeypatch.setattr(torch.backends.cudnn, name, usual)
    config = {"architecture": "lpips_torchvision", "net": "squeeze", "trunk": "t.pth"}
    trunk = torchvision.models.squeezenet1_1(weights=None)
    load_evaluator("lpips", folder_of(tmp_path, config, t=trunk.state_dict()))
    assert torch.backends.cudnn.allow_tf32 is False and torch.backends.cudnn.deterministic is True


# CLIP -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip")


def test_clip_of_openai_gets_its_own_activation(clip_folder: Path) -> None:
    from open_clip.transformer import QuickGELU

    from editfrontier.scoring.evaluators.clip import ClipEvaluator

    usual, quick = (ClipEvaluator.load(clip_folder, quick_gelu=flag) for flag in (None, True))
    batch = images(2, 32)
    assert float((usual.image(batch) - quick.image(batch)).abs().max()) > 1e-3
    activation = quick.network.visual.transformer.resblocks[0].mlp.gelu
    assert isinstance(activation, QuickGELU)
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(activation(x), x * torch.sigmoid(1.702 * x))
    torch.testing.assert_close(quick.text(["a face"]).norm(dim=1), torch.ones(1))
    # Pixels as CLIP was trained on: (x / 255 - mean) / std.
    with torch.no_grad():
        pixels = (batch.float() / 255 - quick.mean) / quick.std
        expected = torch.nn.functional.normalize(quick.network.encode_image(pixels), dim=1)
    torch.testing.assert_close(quick.image(batch), expected, atol=1e-5, rtol=1e-4)


def test_registry_says_which_activation(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip.transformer import QuickGELU

    monkeypatch.setattr("editfrontier.models.loading.resolve_model", lambda reference: clip_folder)
    for name, quick in (
        ("timm/vit_base_patch32_clip_224.openai", True),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", False),
    ):
        judge = load_evaluator("clip", f"{name}@{'a' * 40}")
        assert isinstance(judge.network.visual.transformer.resblocks[0].mlp.gelu, QuickGELU) is quick
