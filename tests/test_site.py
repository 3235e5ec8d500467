"""The site builds without a warning, every link, anchor and picture on it is there, and it asks nothing of others."""

import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import netjac as nj
from tests.browser import DESKTOP, PHONE

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    build(config)
    return folder


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads by itself."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.untold = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id") or given.get("name"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "modulepreload", "preconnect"):
            self.loads.append(given["href"])
        elif tag != "a" and given.get("src"):
            self.loads.append(given["src"])
        if tag == "img" and not given.get("alt"):
            self.untold.append(given.get("src"))


class Text(HTMLParser):
    """What a page says, without its tags."""

    def __init__(self, path):
        super().__init__()
        self.said = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_data(self, data):
        self.said += data


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_anchor_and_picture_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].ids if target in pages else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append((path.name, link))
    assert broken == []
    assert sum(len(page.links) for page in pages.values()) > 500


def test_nothing_is_loaded_from_elsewhere_and_pictures_have_words(pages):
    outside = [load for page in pages.values() for load in page.loads if urlsplit(load).netloc]
    assert outside == []
    assert [(path.name, page.untold) for path, page in pages.items() if page.untold] == []


def test_the_site_has_every_page_and_the_reference_every_public_name(site, pages):
    written = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in pages} == written
    text = (site / "reference.html").read_text(encoding="utf-8")
    names = [name for name in nj.__all__ if name != "attacks"]
    names += [f"attacks.{name}" for name in nj.attacks.__all__]
    assert [name for name in names if f"nj.{name}" not in text] == []


def test_the_examples_stand_on_their_page_in_full(site):
    shown = Text(site / "examples.html").said
    for script in (ROOT / "examples").glob("*.py"):
        assert script.read_text(encoding="utf-8").strip() in shown, script.name


@pytest.mark.parametrize(
    ("page", "size", "scheme"),
    [("index", DESKTOP, "dark"), ("tutorial", PHONE, "light"), ("reference", PHONE, "dark")],
)
def test_a_page_in_a_browser_asks_for_its_own_alone_and_fits(site, browser, page, size, scheme):
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    handler.func.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_port}/"
        opened = browser.chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        ).new_page()
        asked, complaints = [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(f"{own}{page}.html", wait_until="networkidle")
        assert [url for url in asked if not url.startswith((own, "data:", "blob:"))] == []
        assert complaints == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= size[0]
        shade = opened.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(shade[:3]) < 200) == (scheme == "dark")
        server.shutdown()
