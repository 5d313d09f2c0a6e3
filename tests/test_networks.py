"""G and D: shapes, widths, sizes, where the label enters, and how it is faded in."""

import pytest
import torch

from pipeline import InputError
from pipeline.gan.architectures import NETWORKS, build, count_parameters
from pipeline.gan.batch_norm import ConditionalBatchNorm2d
from pipeline.gan.conditioning import LabelEmbedding, set_strength, transition_strength
from pipeline.gan.networks import D_CONDITIONINGS, G_CONDITIONINGS, Discriminator, Generator, channels_at

SMALL = {"num_classes": 3, "img_resolution": 16, "base_channels": 4}


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128, 256])
def test_shapes_at_every_resolution(resolution):
    G = Generator(z_dim=8, num_classes=3, img_resolution=resolution, base_channels=4)
    D = Discriminator(num_classes=3, img_resolution=resolution, base_channels=4)
    labels = torch.tensor([0, 2])
    images = G(torch.randn(2, 8), labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert D(images, labels).shape == (2,)


def test_dcgan_widths():
    # Radford et al. 2015, Figure 1, at ngf 64 for 64 px
    assert [channels_at(r, 64, 64) for r in (4, 8, 16, 32)] == [512, 256, 128, 64]


@pytest.mark.parametrize(
    "network, sizes",
    [("slides_conditional", (34_566_743, 3_978_165)), ("slides_unconditional", (34_512_995, 921_025))],
)
def test_the_networks_of_the_slides_have_their_sizes(network, sizes):
    config = {"network": network, "classes": list(range(10)), "img_resolution": 256, "z_dim": 128}
    G, D = build({**config, "transitional": False})
    assert (count_parameters(G), count_parameters(D)) == sizes
    labels = torch.tensor([0, 9])
    images = G(torch.randn(2, 128), labels)
    assert images.shape == (2, 3, 256, 256)
    assert D(images, labels).shape == (2,)


def test_the_networks_of_the_slides_are_for_256_px():
    with pytest.raises(InputError, match=r"expected 256 .* got 64"):
        build({"network": "slides_conditional", "classes": ["a", "b"], "img_resolution": 64, "z_dim": 128,
               "transitional": False})  # fmt: skip


def _label_matters(network, *inputs) -> bool:
    network.eval()
    with torch.no_grad():
        for module in network.modules():  # as after training; new gains and biases are the same for all classes
            if isinstance(module, LabelEmbedding) and not hasattr(module, "parametrizations"):
                module.weight.normal_()
        outputs = [network(*inputs, torch.tensor([k, k])) for k in range(3)]
    return not torch.allclose(outputs[0], outputs[1]) and not torch.allclose(outputs[1], outputs[2])


@pytest.mark.parametrize("name", G_CONDITIONINGS)
def test_the_label_changes_what_is_drawn_unless_there_is_no_conditioning(name):
    torch.manual_seed(0)
    G = Generator(z_dim=8, conditioning=name, **SMALL)
    assert _label_matters(G, torch.randn(2, 8)) == (name != "none")


@pytest.mark.parametrize("name", D_CONDITIONINGS)
def test_the_label_changes_the_judgement_unless_there_is_no_conditioning(name):
    torch.manual_seed(0)
    D = Discriminator(conditioning=name, **SMALL)
    assert _label_matters(D, torch.randn(2, 3, 16, 16)) == (name != "none")


@pytest.mark.parametrize("network", [name for name in NETWORKS if name.startswith("slides")])
def test_the_slides_networks_see_the_label_where_their_name_says_so(network):
    torch.manual_seed(0)
    config = {"network": network, "classes": ["a", "b", "c"], "img_resolution": 256, "z_dim": 8}
    G, D = build({**config, "transitional": False})
    conditional = network == "slides_conditional"
    assert _label_matters(G, torch.randn(2, 8)) == conditional
    assert _label_matters(D, torch.randn(2, 3, 256, 256)) == conditional


def test_concatenation_adds_its_channels():
    plain, embedded, channel = (Generator(z_dim=8, conditioning=c, **SMALL) for c in ("none", "embedding", "concat"))
    assert embedded.convs[0].in_channels == plain.convs[0].in_channels + 50
    assert channel.convs[1].in_channels == plain.convs[1].in_channels + 1
    assert Discriminator(conditioning="concat", **SMALL).convs[0].in_channels == 4


def test_the_projection_is_the_inner_product_of_embedding_and_pooled_features():
    D = Discriminator(spectral_norm=False, **SMALL)
    features, labels = torch.randn(2, 8, 4, 4), torch.tensor([0, 2])
    expected = [features[n].sum(dim=(1, 2)) @ D.project.embed.weight[k] for n, k in enumerate(labels)]
    torch.testing.assert_close(D.project(features, labels), torch.stack(expected))


def test_spectral_norm_divides_by_the_largest_singular_value():
    D = Discriminator(**SMALL)
    for _ in range(50):  # power iterations
        D(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]))
    D.eval()
    for layer in [*D.convs, D.to_logit, D.project.embed]:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert largest.item() == pytest.approx(1, rel=0.02)
    assert not hasattr(Discriminator(spectral_norm=False, **SMALL).convs[0], "parametrizations")


def test_conditional_batch_norm_is_batch_norm_then_gain_and_bias():
    norm = ConditionalBatchNorm2d(2, num_classes=2)
    with torch.no_grad():
        norm.gain.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 3.0]]))
        norm.bias.weight.copy_(torch.tensor([[0.0, 0.0], [0.5, -0.5]]))
    x = torch.randn(4, 2, 3, 3)
    labels = torch.tensor([0, 1, 0, 1])
    plain = torch.nn.functional.batch_norm(x, None, None, training=True)
    expected = plain.clone()
    expected[1::2] = (
        plain[1::2] * torch.tensor([2.0, 3.0])[None, :, None, None] + torch.tensor([0.5, -0.5])[None, :, None, None]
    )
    torch.testing.assert_close(norm(x, labels), expected)


def test_labels_fade_in_from_the_mean_of_all_classes():
    embedding = LabelEmbedding(2, 3, transitional=True)
    with torch.no_grad():
        embedding.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    labels = torch.tensor([0, 1])
    for strength, first in [(0.0, [2.0, 2.0, 2.0]), (0.25, [1.75, 2.0, 2.25]), (1.0, [1.0, 2.0, 3.0])]:
        set_strength(embedding, strength)
        torch.testing.assert_close(embedding(labels)[0], torch.tensor(first))


@pytest.mark.parametrize("conditioning", ["embedding", "concat", "batch_norm"])
def test_a_faded_out_network_is_unconditional(conditioning):
    G = Generator(z_dim=8, conditioning=conditioning, transitional=True, **SMALL)
    z = torch.randn(2, 8)
    set_strength(G, 0.0)
    assert not _label_matters(G, z)
    set_strength(G, 1.0)
    assert _label_matters(G, z)


def test_the_transition_is_a_line():
    at = [transition_strength(kimg * 1000, (2.0, 6.0)) for kimg in (0, 2, 3, 4, 6, 9)]
    assert at == [0, 0, 0.25, 0.5, 1, 1]
    assert transition_strength(0, None) == 1


def test_another_resolution_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"split\.img_resolution.*got 48"):
        Generator(z_dim=8, num_classes=2, img_resolution=48, base_channels=4)
