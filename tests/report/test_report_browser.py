"""The report in Chromium: it asks for nothing, complains of nothing, and serves on a phone, in the dark and by keyboard."""

from __future__ import annotations

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

import netjac as nj
from tests.browser import PHONE

BAD = "<script>window.broken = 1</script>"
V, W = np.random.default_rng(0).standard_normal((64, 6)), np.random.default_rng(2).standard_normal((6, 3))
X = np.random.default_rng(1).standard_normal((20, 8, 8))


def net(x):
    hidden = nj.mark(jnp.tanh(x.reshape((len(x), 64)) @ V.astype(x.dtype) / 8), BAD)
    return hidden @ W.astype(x.dtype)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "a report.html"
    return nj.report(nj.network(net, batched=True), X, np.arange(20) % 3, path, output_names=[BAD, "b", "c"], samples=4)


def test_it_asks_for_nothing_and_no_script_of_a_name_runs(browser, made):
    visit = browser.visit(made.path)
    assert visit.requests == []
    assert visit.complaints == []
    assert visit.page.evaluate("typeof window.broken") == "undefined"
    assert BAD in visit.page.inner_text("main")


def test_choosing_a_sample_changes_picture_and_numbers(browser, made):
    page = browser.visit(made.path).page
    drawn = "document.querySelector('canvas[data-map]').toDataURL()"
    first = page.evaluate(drawn)
    page.select_option("#sample", "2")
    assert page.evaluate(drawn) != first
    one = made.numbers["jacobian"]["each"][2]
    assert float(page.inner_text("#sample-norm")) == pytest.approx(one["norm"], rel=5e-3)
    assert one["largest"][0]["feature"] in page.inner_text("#sample-largest")
    page.click("#sample-next")
    assert page.input_value("#sample") == "3"
    page.hover("canvas[data-map='1']", position={"x": 2, "y": 2})
    J = np.asarray(nj.jacobian(nj.network(net, batched=True), X[made.numbers["jacobian"]["samples"]]))
    assert page.inner_text("#sample-entry") == f"∂b/∂pixel (0, 0) = {J[3, 1, 0, 0]:.3g}".replace("-", "−")


def test_nothing_is_wider_than_a_phone(browser, made):
    page = browser.visit(made.path, PHONE, has_touch=True).page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


CONTRAST = """() => {
  const bright = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / (c.startsWith('color(') ? 1 : 255))
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c) && c !== 'transparent') return c; } };
  return [...document.querySelectorAll('h1, p, a, td, th, summary, dt, dd, button, select')].map((e) => {
    const [a, b] = [bright(getComputedStyle(e).color), bright(ground(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 60)]; }).sort((x, y) => x[0] - y[0])[0];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_by_day_and_by_night(browser, made, scheme):
    page = browser.visit(made.path, color_scheme=scheme).page
    red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (red < 60) == (scheme == "dark")
    least, where = page.evaluate(CONTRAST)
    assert least >= 4.5, where


def test_the_keyboard_reaches_the_controls_and_headings_are_in_order(browser, made):
    page = browser.visit(made.path).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"sample", "sample-back", "sample-next", "SUMMARY"} <= reached
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert levels.count(1) == 1


def test_every_picture_is_told_in_words(browser, made):
    page = browser.visit(made.path).page
    told = "(e) => e.getAttribute('alt') || e.getAttribute('aria-label')"
    found = page.evaluate(f"[...document.querySelectorAll('img, svg, canvas')].map({told})")
    assert len(found) >= 10
    assert all(found)


def test_the_explorer_computes_under_the_policy_of_the_page(browser, tmp_path):
    network = nj.network(lambda x: jnp.tanh(x @ V[:5]) @ W, batched=True)
    x = np.random.default_rng(3).standard_normal((6, 5))
    made = nj.report(network, x, None, tmp_path / "r.html", sections=["explorer"], output_names=[BAD, "b", "c"])
    assert made.numbers["explorer"]["kind"] == "chain"
    visit = browser.visit(made.path)
    assert visit.requests == []
    assert visit.complaints == []
    page = visit.page
    before = page.inner_text("#netjac-explorer")
    slider = page.locator("#netjac-explorer input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#netjac-explorer") != before
    assert page.evaluate("typeof window.broken") == "undefined"


def test_formula_and_drawing_stand_in_the_page(browser, made):
    page = browser.visit(made.path).page
    assert made.numbers["formula"]["text"] == nj.formula(nj.network(net, batched=True), X).text
    assert "W" in page.text_content("#formula math")
    assert page.locator("#drawing svg").bounding_box()["width"] > 200
    assert BAD in page.evaluate("document.querySelector('#drawing svg').textContent")
