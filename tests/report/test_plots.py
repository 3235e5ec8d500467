import io

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from rich.console import Console

import netjac as nj
from netjac.report.plots import as_images, class_maps, image_maps, plot_jacobian
from netjac.report.terminal import show, show_maps, shrunk

W = np.random.default_rng(0).standard_normal((64, 3))
IMAGES = nj.network(lambda x: jnp.tanh(x.reshape(x.shape[0], -1) @ W), batched=True)
ROWS = nj.network(lambda x: jnp.tanh(x @ W[:9]), batched=True)


def printed(matrix, **options):
    file = io.StringIO()
    show(matrix, Console(file=file, width=80, **options))
    return file.getvalue()


def test_a_heat_map_is_of_the_sample_asked_for_and_centred_at_zero():
    J = nj.jacobian(ROWS, np.random.default_rng(1).standard_normal((4, 9)))
    figure = plot_jacobian(J, sample=2)
    image = figure.axes[0].images[0]
    assert np.allclose(image.get_array(), J.matrix()[2])
    assert image.norm.vmin == -image.norm.vmax == -np.abs(J.matrix()[2]).max()
    assert "sample 2" in figure.axes[0].get_title()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (1, 8, 8)])
def test_an_image_shaped_input_gives_one_map_for_each_output(shape):
    J = nj.jacobian(IMAGES, np.full((2, *shape), 0.1))
    figure = J.plot(sample=1)
    maps = [axes.images[0].get_array() for axes in figure.axes if axes.images][:3]
    assert [m.shape for m in maps] == [(8, 8)] * 3
    assert np.allclose(maps[2], J.matrix()[1, 2].reshape(8, 8))


def test_colours_of_an_image_are_added_up():
    matrix = np.arange(2 * 5 * 5 * 3.0).reshape(2, -1)
    assert np.allclose(as_images(matrix, (5, 5, 3)), matrix.reshape(2, 5, 5, 3).sum(-1))
    assert as_images(matrix, (75,)) is None


def test_the_figure_is_saved_and_pyplot_is_left_alone(tmp_path):
    before = matplotlib.get_backend()
    J = nj.jacobian(ROWS, np.zeros((1, 9)))
    plot_jacobian(J, path=tmp_path / "j.png")
    assert (tmp_path / "j.png").read_bytes()[:4] == b"\x89PNG"
    assert matplotlib.get_backend() == before


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_the_ending_is_the_format(tmp_path, ending):
    J = nj.jacobian(ROWS, np.zeros((1, 9)))
    J.plot(path=tmp_path / f"j.{ending}")
    assert (tmp_path / f"j.{ending}").read_bytes()[:5] == {"svg": b"<?xml", "pdf": b"%PDF-"}[ending]
    with pytest.raises(nj.ShapeError, match="png"):
        J.plot(path=tmp_path / "j.xyz")


def test_a_matrix_may_be_asked_for_and_images_only_of_images():
    J = nj.jacobian(IMAGES, np.full((2, 8, 8), 0.1))
    assert J.plot(kind="matrix").axes[0].images[0].get_array().shape == (3, 64)
    with pytest.raises(nj.ShapeError, match="is no image"):
        nj.jacobian(ROWS, np.zeros((2, 9))).plot(kind="images")
    with pytest.raises(nj.UnknownNameError, match="Did you mean 'matrix'"):
        J.plot(kind="matrx")


def test_entries_that_are_not_finite_do_not_spoil_the_scale():
    J = nj.jacobian(ROWS, np.ones((1, 9)))
    entries = np.array(J)
    top = np.abs(entries[0, 1:]).max()
    entries[0, 0] = np.nan
    J._dense = entries
    assert J.plot().axes[0].images[0].norm.vmax == top


def test_a_sample_that_is_not_there_is_refused():
    with pytest.raises(nj.ShapeError, match="numbered 0 to 1"):
        plot_jacobian(nj.jacobian(ROWS, np.zeros((2, 9))), sample=2)


def test_the_terminals_picture_keeps_the_strongest_entry_of_a_block():
    matrix = np.zeros((100, 300))
    matrix[51, 149] = -7
    small = shrunk(matrix, 10, 30)
    assert small.shape == (10, 30)
    assert small.min() == -7
    assert np.count_nonzero(small) == 1


def test_without_a_terminal_the_picture_has_no_escape_codes():
    told = printed(np.array([[1.0, -1.0, 0.0]]))
    assert told.splitlines()[0] == "██≡≡  "
    assert "\x1b" not in told
    assert "±1" in told


def test_on_a_terminal_two_rows_share_a_line_in_colour():
    told = printed(np.array([[1.0, 0.0], [0.0, -1.0]]), force_terminal=True, color_system="truecolor")
    first = told.splitlines()[0]
    assert first.count("▀") == 2
    assert "38;2;178;24;43" in first
    assert "48;2;33;102;172" in first


def test_class_maps_are_of_each_class_over_its_own_images():
    draw = np.random.default_rng(0)
    labels = np.array([0, 1, 0, 1, 1])
    images, maps = draw.random((5, 4, 6)), draw.standard_normal((5, 2, 4, 6))
    figure = class_maps(images, labels, maps, "title")
    panels = [axes.images[0].get_array() for axes in figure.axes if axes.images][:6]
    assert np.allclose(panels[1], images[labels == 1].mean(0))
    assert np.allclose(panels[2], np.sqrt(np.mean(maps[[0, 2], 0] ** 2, 0)))
    assert np.allclose(panels[5], maps[[1, 3, 4], 1].mean(0))


def test_the_input_stands_before_the_maps():
    maps, picture = np.ones((3, 4, 4)), np.arange(16.0).reshape(4, 4)
    figure = image_maps(maps, "title", ["a", "b", "c"], picture)
    assert (figure.axes[0].images[0].get_array() == picture).all()
    assert [axes.get_title() for axes in figure.axes[:4]] == ["the input", "a", "b", "c"]


def maps_printed(width, **options):
    file = io.StringIO()
    show_maps(
        [np.eye(4), -np.eye(4), np.zeros((4, 4))], ["one", "two", "three"], Console(file=file, width=width, **options)
    )
    return file.getvalue()


def test_small_maps_stand_side_by_side_under_their_names_where_there_is_room():
    lines = maps_printed(80).splitlines()
    assert lines[0].split() == ["one", "two", "three"]
    assert lines[1].rstrip() == "██        ≡≡"
    assert len(lines) == 6
    assert maps_printed(20).splitlines()[5].split() == ["three"]


def test_small_maps_are_coloured_on_a_terminal():
    told = maps_printed(80, force_terminal=True, color_system="truecolor")
    assert told.count("48;2;178;24;43") == 4
    assert told.count("48;2;33;102;172") == 4
    assert "▀" in maps_printed(18, force_terminal=True, color_system="truecolor")


def test_a_spy_plot_is_of_the_sparse_pattern_and_writes_no_dense_array():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 1, 1))

    def blurred(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    J = nj.jacobian(nj.network(blurred, batched=True), np.ones((2, 6, 6, 1)))
    axes = J.plot(kind="spy", sample=1).axes[0]
    assert J._dense is None
    pattern = J[1].to_scipy().tocoo()
    assert {*zip(*axes.lines[0].get_data(), strict=True)} == {*zip(pattern.col, pattern.row, strict=True)}
    assert axes.get_ylim() == (35.5, -0.5)
    with pytest.raises(nj.ShapeError, match="no sample 2"):
        J.plot(kind="spy", sample=2)


def test_a_spectrum_has_the_singular_values_of_every_sample(tmp_path):
    W = np.diag([3.0, 1.0, 0.0]) @ np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    J = nj.jacobian(nj.network(lambda x: jnp.tanh(x) @ W, batched=True), np.array([[0.0, 0, 0], [1, 1, 0], [0, 2, 0]]))
    (axes,) = J.plot(kind="spectrum", sample=0, path=tmp_path / "spectrum.svg").axes
    lines = {line.get_label(): np.asarray(line.get_ydata(), float) for line in axes.lines}
    np.testing.assert_allclose(lines["sample 0"][:2], [3, 1], rtol=1e-12)
    expected = np.linalg.svd(np.asarray(J), compute_uv=False)
    np.testing.assert_allclose(lines["median of 3 samples"][:2], np.median(expected, 0)[:2], rtol=1e-10)
    assert len(axes.lines) == 5
    assert axes.get_yscale() == "log"
    assert "σ₁ = 3" in axes.get_title()
    assert (tmp_path / "spectrum.svg").read_bytes()[:5] == b"<?xml"
    alone = nj.jacobian(lambda x: 2 * x, np.ones(2)).plot(kind="spectrum").axes[0]
    assert [line.get_ydata().tolist() for line in alone.lines] == [[2, 2]]
    with pytest.raises(nj.ShapeError, match="no sample 9"):
        J.plot(kind="spectrum", sample=9)


def test_a_plans_bars_are_its_numbers(tmp_path):
    plan = nj.explain(IMAGES, np.ones((2, 8, 8)))
    figure = plan.plot(tmp_path / "plan.svg")
    *upper, lower = figure.axes
    for axes, what in zip(upper, ("operations", "moved", "peak"), strict=True):
        expected = [getattr(way, what) for way in (plan, *plan.alternatives)]
        assert [bar.get_width() for bar in axes.patches] == expected
        assert all(expected)
    names = [label.get_text() for label in upper[0].get_yticklabels()]
    assert "plain reverse" in names
    assert "plain forward" in names
    assert sum(bar.get_width() for bar in lower.patches) == plan.moved
    assert (tmp_path / "plan.svg").read_bytes()[:5] == b"<?xml"
