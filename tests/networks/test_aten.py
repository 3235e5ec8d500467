"""Every module and tensor method with a rule: J by the input and by the parameters against torch's own autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import netjac as nj
from tests.networks.test_torch import agreement, draw
from tests.networks.torch_models import Lambda

ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.PReLU(4), nn.RReLU(), nn.ELU(), nn.SELU(), nn.CELU(0.5), nn.GELU(),
    nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Softplus(3, 2), nn.Softsign(), nn.Tanh(), nn.Tanhshrink(),
    nn.Hardtanh(-0.4, 0.7), nn.Hardswish(), nn.Hardshrink(), nn.Softshrink(), nn.Threshold(0.1, 2.0), nn.LogSigmoid(),
    nn.GLU(), nn.Softmax(-1), nn.LogSoftmax(-1), nn.Softmin(1), nn.Sigmoid(), nn.Identity(), nn.Dropout(), nn.AlphaDropout(),
]  # fmt: skip

MODULES = [
    (nn.Linear(6, 3), (4, 6)),
    (nn.Conv1d(4, 6, 3, padding=1, stride=2), (4, 9)),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (4, 7, 7)),
    (nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="reflect"), (4, 6, 6)),
    (nn.Conv2d(4, 8, 3, groups=2, padding=1, padding_mode="circular", bias=False), (4, 6, 6)),
    (nn.Conv3d(2, 3, 2), (2, 3, 4, 3)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1), (4, 5)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 3, 3)),
    (nn.ConvTranspose2d(2, 3, (2, 3), dilation=2), (2, 3, 3)),
    (nn.ConvTranspose3d(2, 2, 2), (2, 2, 3, 2)),
    (nn.MaxPool1d(2), (4, 9)),
    (nn.MaxPool2d(3, 2, 1), (2, 7, 7)),
    (nn.MaxPool2d(2, ceil_mode=True), (2, 5, 5)),
    (nn.MaxPool2d(2, dilation=2), (2, 6, 6)),
    (nn.MaxPool3d(2), (2, 4, 4, 4)),
    (nn.AvgPool1d(2), (4, 9)),
    (nn.AvgPool2d(3, 2, 1), (2, 7, 7)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 6, 6)),
    (nn.AvgPool3d(2), (2, 4, 4, 4)),
    (nn.AdaptiveAvgPool1d(3), (4, 8)),
    (nn.AdaptiveAvgPool2d((1, 1)), (4, 5, 5)),
    (nn.AdaptiveAvgPool2d((4, None)), (2, 7, 3)),
    (nn.AdaptiveAvgPool3d(2), (2, 3, 3, 3)),
    (nn.AdaptiveMaxPool1d(3), (4, 8)),
    (nn.AdaptiveMaxPool2d(3), (2, 7, 7)),
    (nn.LPPool2d(2, 2), (2, 4, 4)),
    (nn.BatchNorm1d(4), (4,)),
    (nn.BatchNorm2d(4, affine=False), (4, 3, 3)),
    (nn.LayerNorm(6), (4, 6)),
    (nn.GroupNorm(2, 4), (4, 3, 3)),
    (nn.InstanceNorm2d(4, affine=True), (4, 3, 3)),
    (nn.RMSNorm(6), (4, 6)),
    (nn.LocalResponseNorm(2), (4, 3, 3)),
    (nn.ReflectionPad2d(1), (2, 3, 3)),
    (nn.ReplicationPad2d((1, 0, 2, 1)), (2, 3, 3)),
    (nn.ReplicationPad3d(1), (1, 2, 2, 2)),
    (nn.ConstantPad1d((1, -1), 2.0), (4, 5)),
    (nn.CircularPad2d(1), (2, 3, 3)),
    (nn.Upsample(scale_factor=2), (2, 3, 3)),
    (nn.Upsample(scale_factor=1.5, mode="bilinear"), (2, 4, 4)),
    (nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True), (2, 3, 4)),
    (nn.Upsample(scale_factor=2, mode="bicubic"), (2, 3, 3)),
    (nn.Upsample(size=7, mode="linear"), (2, 4)),
    (nn.Upsample(scale_factor=2, mode="trilinear"), (1, 2, 3, 2)),
    (nn.Upsample(scale_factor=2, mode="nearest-exact"), (2, 3, 3)),
    (nn.PixelShuffle(2), (4, 3, 2)),
    (nn.PixelUnshuffle(2), (2, 4, 2)),
    (nn.ChannelShuffle(2), (4, 3, 2)),
    (nn.Flatten(), (4, 5)),
    (nn.Unflatten(1, (2, 2)), (4, 5)),
    (nn.Unfold(2, padding=1, stride=2), (2, 4, 4)),
    (nn.Fold((4, 5), 2), (8, 12)),
    (nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3)), (4, 5)),
    (nn.utils.parametrizations.weight_norm(nn.Linear(6, 3), dim=1), (4, 6)),
    (nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), (4,)),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu"), (4, 8)),
]

METHODS = {
    "causal attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "masked attention": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.eye(4, dtype=torch.bool)),
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x, x),
    "indexing": lambda x: x[:, 1:, ::2] + x[..., None, 0][:, :3],
    "std and var": lambda x: x.std(1) + x.var((1, 2), keepdim=True)[:, 0],
    "view by size": lambda x: x.view(x.size(0), -1),
    "cat": lambda x: torch.cat([x, x * 2], 1),
    "stack": lambda x: torch.stack([x, x], 1),
    "chunk and split": lambda x: x.chunk(2, 1)[0] * x.split(2, 1)[1],
    "gather": lambda x: x.gather(1, torch.zeros(3, 2, 6, dtype=torch.long)),
    "topk": lambda x: x.topk(2, -1)[0],
    "sort": lambda x: x.sort(-1, descending=True)[0],
    "cumsum": lambda x: x.cumsum(1),
    "amax and max": lambda x: x.amax(1) + x.max(1)[0],
    "min": lambda x: x.min(2)[0],
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, -1.0),
    "flip and roll": lambda x: x.flip(1).roll(1, 2),
    "repeat": lambda x: x.repeat(1, 2, 1) + x.repeat_interleave(2, 1),
    "norms": lambda x: x.norm(dim=1) + torch.linalg.norm(x, dim=1) + x.norm(p=1, dim=1),
    "normalize": lambda x: F.normalize(x, dim=1),
    "frobenius norm": lambda x: torch.linalg.matrix_norm(x) + torch.linalg.norm(x, "fro", dim=(1, 2)),
    "spectral norms": lambda x: torch.linalg.norm(x, 2, dim=(1, 2)) + torch.linalg.matrix_norm(x, -2),
    "nuclear norm": lambda x: torch.linalg.matrix_norm(x, "nuc", keepdim=True),
    "sums of a matrix": lambda x: torch.linalg.matrix_norm(x, 1) + torch.linalg.matrix_norm(x, -torch.inf),
    "logsumexp": lambda x: x.logsumexp(1),
    "squeeze": lambda x: x.mean(1, keepdim=True).squeeze(1),
    "arange": lambda x: x * torch.arange(6),
    "interpolate": lambda x: F.interpolate(x, size=9),
    "index_select": lambda x: x.index_select(1, torch.tensor([0, 2])),
    "advanced indexing": lambda x: x[:, torch.tensor([0, 2])],
    "clamp and pow": lambda x: x.clamp(-1, 1).pow(3) + (x * x + 1).rsqrt(),
    "prod": lambda x: x.prod(1),
    "in place": lambda x: x.clone().add_(1).mul_(2),
    "unbind": lambda x: sum(x.unbind(1)),
    "narrow": lambda x: x.narrow(1, 0, 2),
    "expand": lambda x: x.mean(1, keepdim=True).expand_as(x),
    "rotate half": lambda x: torch.cat((-x[..., 3:], x[..., :3]), -1),
    "bmm": lambda x: torch.bmm(x, x.transpose(1, 2)),
    "pad": lambda x: F.pad(x, (1, 2)),
    "triu and tril": lambda x: x.triu() + x.tril(-1),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "unfold": lambda x: x.unfold(2, 3, 2),
    "diagonal": lambda x: torch.diagonal(x, dim1=1, dim2=2),
    "softmax with dtype": lambda x: x.softmax(-1, dtype=torch.float64),
    "trigonometry": lambda x: x.sin() * x.cos() + x.atan() - x.tanh() * torch.atan2(x, x + 3),
    "erf, log1p, expm1": lambda x: x.erf() + x.square().log1p() - x.expm1(),
    "maximum": lambda x: torch.maximum(x, -x) + torch.minimum(x, x * 2),
    "remainder and floor": lambda x: x.remainder(0.7) + x.floor() * x,
    "hypot": lambda x: torch.hypot(x, x + 2),
    "filter": lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.tensor([1, 2j, 1 - 1j, 2]), n=6),
    "transforms": lambda x: torch.fft.ifft2(torch.fft.fft2(x, norm="ortho").abs(), norm="forward").real,
    "odd transform": lambda x: torch.fft.hfft(torch.view_as_complex(x.reshape(3, 4, 3, 2)), n=5, norm="backward"),
    "short-time transform": lambda x: torch.stft(x.flatten(1), 8, 4, return_complex=True, window=torch.ones(8)).abs(),
    "complex": lambda x: torch.polar(x.exp(), x).conj().imag + torch.complex(x, x + 3).angle() + (1j * x).exp().real,
    "scatter": lambda x: torch.zeros_like(x).scatter(-1, x.topk(2, -1)[1], x.topk(2, -1)[0].exp()),
    "scatter into a part": lambda x: x.scatter(2, torch.tensor([[[1], [0]]]).expand(3, 2, 1), x[:, 2:, 3:4] * 2),
    "scatter_add": lambda x: x.scatter_add(1, ENDS.expand(3, 5, 6), x[:, [0, 1, 1, 2, 3]] ** 2),
    "scattered mean": lambda x: x.scatter_reduce(1, ENDS.expand(3, 5, 6), x[:, [0, 1, 1, 2, 3]] ** 2, "mean"),
    "scattered maximum": lambda x: x.scatter_reduce(1, ENDS.expand(3, 5, 6), x[:, [0, 1, 1, 2, 3]], "amax"),
    "scattered minimum": lambda x: x.scatter_reduce(
        1, ENDS.expand(3, 5, 6), -x[:, [0, 1, 1, 2, 3]], "amin", include_self=False
    ),
    "scattered product": lambda x: x.scatter_reduce(
        1, ENDS.expand(3, 5, 6), x[:, :1].exp() + x[:, [0, 1, 1, 2, 3]], "prod"
    ),
    "quantile": lambda x: torch.quantile(x, 0.3, dim=1) + torch.nanquantile(x, 0.5, dim=1),
    "ranks": lambda x: x.median(1).values + x.nanmedian(1).values + x.kthvalue(2, 1).values,
    "running extremes": lambda x: x.round(decimals=0).detach() * x.cummax(1).values + x.cummin(2).values,
    "cummax with ties": lambda x: torch.cat([x, x], 1).cummax(1).values,
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "searchsorted": lambda x: x * torch.arange(5.0)[torch.searchsorted(torch.linspace(-1, 1, 4).double(), x)],
    "bucketize": lambda x: x * torch.arange(5.0)[torch.bucketize(x, torch.linspace(-1, 1, 4).double(), right=True)],
    "masks known beforehand": lambda x: x[:, torch.tensor([True, False, True, False])],
    "distances": lambda x: torch.cdist(x, x[:, :2] + 1) + torch.cdist(x, x[:, :2], p=1),
    "distances of zero": lambda x: torch.cdist(x, x),
    "symmetric matrices": lambda x: torch.linalg.eigvalsh(square(x)) + torch.linalg.cholesky(square(x))[:, :, 0],
    "triangular": lambda x: torch.linalg.solve_triangular(torch.linalg.cholesky(square(x)), x, upper=False),
    "factors": lambda x: torch.linalg.qr(x)[0] @ torch.diag_embed(torch.linalg.svdvals(x)),
    "pseudoinverse": lambda x: torch.linalg.pinv(x),
    "probabilities": lambda x: torch.distributions.Normal(x, F.softplus(x)).log_prob(torch.zeros(6)),
    "cross entropy": lambda x: F.cross_entropy(
        x, torch.tensor([0, 3, 1]).repeat_interleave(6).view(3, 6), reduction="none"
    ),
    "hstack": lambda x: torch.hstack([x, x * x]),
    "probit": lambda x: torch.special.log_ndtr(x) + torch.special.ndtri(torch.special.ndtr(x)) + torch.special.i0(x),
}
ENDS = torch.tensor([0, 2, 2, 1, 2])[None, :, None]


def square(x):
    return x @ x.mT + torch.eye(4)


def assign(x):
    y = x.clone()
    y[:, 0] = 0.0
    y[:, 1:3] = x[:, 0:2] * 2
    return y


@pytest.mark.parametrize("module", ACTIVATIONS, ids=repr)
def test_an_activation_agrees_with_torch(module):
    assert agreement(module.double(), draw(3, 4, 6)) < 1e-11


def test_at_its_kinks_an_activation_has_torchs_own_derivative():
    places = torch.tensor([[-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0]], dtype=torch.float64)
    wrong = []
    for module in [*ACTIVATIONS, nn.Hardtanh(), nn.Hardsigmoid(), Lambda(torch.abs), Lambda(lambda x: x.clamp(-1, 1))]:
        if isinstance(module, nn.PReLU | nn.GLU):
            continue
        if agreement(module.double(), places.repeat(2, 1), parameters=False) > 1e-6:
            wrong.append(repr(module))
    assert wrong == []


@pytest.mark.parametrize(("module", "shape"), MODULES, ids=lambda value: repr(value)[:60])
def test_a_module_agrees_with_torch(module, shape):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    assert agreement(module.double(), draw(3, *shape)) < 1e-11


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_tensor_method_agrees_with_torch(method):
    assert agreement(Lambda(METHODS[method]), draw(3, 4, 6)) < 1e-11


def test_assignment_into_a_tensor_agrees_with_torch():
    assert agreement(Lambda(assign), draw(3, 4, 6)) < 1e-12


class Outputs(nn.Module):
    """The first output of a module that returns several."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs)[0]


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True),
        nn.LSTM(6, 5, batch_first=True, bias=False),
        nn.GRU(6, 5, batch_first=True),
        nn.RNN(6, 5, batch_first=True, nonlinearity="relu"),
        nn.RNN(6, 5, 2, batch_first=True),
    ],
    ids=repr,
)
def test_a_recurrent_module_agrees_with_torch(module):
    torch.manual_seed(0)
    assert agreement(Outputs(module).double(), draw(3, 4, 6)) < 1e-11


def test_attention_with_weights_and_a_decoder_layer_agree_with_torch():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).double()

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x, need_weights=True)[0]

    assert agreement(Self(), draw(3, 4, 8)) < 1e-11
    decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True).double()
    assert agreement(decoder, draw(3, 4, 8), draw(3, 5, 8), parameters=False) < 1e-11


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("mode", "corners"), [("bilinear", False), ("bilinear", True), ("nearest", False), ("bicubic", False)]
)
def test_sampling_by_a_grid_agrees_with_torch(mode, corners, padding):
    module = Lambda(lambda x, grid: F.grid_sample(x, grid, mode, padding, corners))
    assert agreement(module, draw(2, 2, 4, 5), 0.8 * draw(2, 3, 3, 2)) < 1e-12
    if mode != "nearest":
        image = draw(2, 2, 4, 5)
        assert (
            agreement(
                Lambda(lambda grid: F.grid_sample(image[:1].expand(2, -1, -1, -1), grid, mode, padding, corners)),
                0.8 * draw(2, 3, 3, 2),
            )
            < 1e-11
        )


def test_equal_extremes_that_are_scattered_share_the_derivative():
    module = Lambda(lambda x: torch.zeros(2, 1).to(x).scatter_reduce(1, torch.zeros(2, 3, dtype=torch.long), x, "amax"))
    ties = torch.tensor([[2.0, 1.0, 2.0], [3.0, 3.0, 3.0]], dtype=torch.float64)
    J = nj.jacobian(module, ties).to_numpy()
    assert abs(J[:, 0] - [[1 / 2, 0, 1 / 2], [1 / 3, 1 / 3, 1 / 3]]).max() < 1e-15


def test_complex_weights_take_part():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.view_as_complex(draw(3, 4, 2)))

        def forward(self, x):
            return torch.fft.irfft(torch.einsum("bi,ij->bj", torch.fft.rfft(x), self.weight), n=6)

    x = draw(3, 4)
    assert agreement(Spectral(), x, parameters=False) < 1e-12
    with pytest.raises(nj.NotDifferentiableError, match=r"'weight'.*complex128"):
        nj.jacobian(Spectral(), x, wrt="parameters")
    assert abs(nj.jacobian(Spectral(), x.float()).to_numpy() - nj.jacobian(Spectral(), x).to_numpy()).max() < 1e-5


def test_two_input_modules_agree_with_torch():
    torch.manual_seed(0)
    assert agreement(nn.Bilinear(3, 4, 2).double(), draw(3, 3), draw(3, 4), parameters=False) < 1e-12
    assert agreement(nn.CosineSimilarity(), draw(3, 4), draw(3, 4) + 1) < 1e-11
    assert agreement(nn.PairwiseDistance(), draw(3, 4), draw(3, 4) + 1) < 1e-11


def test_the_derivative_after_an_embedding_and_by_its_weight():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    words = torch.tensor([[1, 2, 1], [0, 6, 3]])
    weight = nj.jacobian(module, words, wrt="0.weight").to_numpy()
    after = nj.jacobian(module, words, wrt="0").to_numpy()
    assert weight.shape == (2, 2, 7, 4)
    assert abs(weight[0, :, 1] - (after[0, :, 0] + after[0, :, 2])).max() < 1e-14
    with pytest.raises(nj.NotDifferentiableError, match="integers"):
        nj.jacobian(module, words)
