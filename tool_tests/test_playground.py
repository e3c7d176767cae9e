"""The page where you type, in a real browser: it computes, draws, goes through `backward()`, and explains errors.

It is built alone and served by Python's own server. The browser reaches nothing but that.
"""

import functools
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ladder.stages import ROOT

EXAMPLES = ["An expression", "The expression in micrograd's README", "A neuron", "A small network"]


def build(folder, **environment):
    """Build the page alone; gives the folder of the HTML."""
    settings = [
        "extensions=myst_parser,playground",
        "root_doc=playground/index",
        "include_patterns=playground/index.md",
    ]
    settings += ["html_theme=furo", "project=Gradual"]
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-C", *[part for x in settings for part in ("-D", x)]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "docs" / "extensions"), **environment}
    subprocess.run([*command, "-d", folder / "trees", ROOT / "docs", folder / "html"], env=environment, check=True)
    return folder / "html"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    for package in ("furo", "myst_parser", "selenium"):
        pytest.importorskip(package)
    for program in ("npm", "chromedriver"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    folder = build(tmp_path_factory.mktemp("book"))
    if not (folder / "playground" / "pyodide").exists():
        pytest.skip("npm could not install Pyodide: is there a network?")
    return folder


class Page:
    """The page in a browser, as a reader sees and uses it."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_elements("css selector", f"#playground {selector}")

    def text(self, selector):
        """What is to be seen there."""
        return "\n".join(element.text for element in self.find(selector))

    def wait(self, *statuses):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 120).until(lambda _: self.text(".status") in statuses, f"not {statuses}")

    def choose(self, title):
        """Choose an example, which runs it."""
        from selenium.webdriver.support.ui import Select

        select = Select(self.find(".examples")[0])
        select.select_by_visible_text(next(x.text for x in select.options if x.text.startswith(title)))
        self.wait("Done", "Ended by an error")

    def begin(self, program):
        from selenium.webdriver.common.keys import Keys

        editor = self.find("textarea")[0]
        self.browser.execute_script("arguments[0].value = ''", editor)
        editor.send_keys(program + Keys.CONTROL + Keys.ENTER)

    def run(self, program):
        self.begin(program)
        self.wait("Done", "Ended by an error")

    def press(self, name):
        self.browser.execute_script("arguments[0].click()", self.find(f".{name}")[0])

    def named(self):
        """The table: name -> (number, gradient)."""
        rows = [[cell.text for cell in row.find_elements("css selector", "td")] for row in self.find(".names tbody tr")]
        return {name: (number, gradient) for name, number, gradient in rows}


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), "")
    for option in ("headless=new", "no-sandbox", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
        options.add_argument(f"--{option}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *what):
        """Nothing: a test prints no requests."""


@pytest.fixture(scope="module")
def page(built, browser):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=built))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.get(f"http://127.0.0.1:{server.server_port}/playground/index.html")
    page = Page(browser)
    page.wait("Done")
    yield page
    server.shutdown()
    server.server_close()


def test_micrograds_example_has_its_known_gradients(page):
    page.choose("The expression in micrograd")
    assert page.text(".printed") == "24.7041\n138.8338\n645.5773"
    # 25 operations, 3 of them of one number; a and b; 8 constants
    assert (len(page.find("g.node")), len(page.find("g.edge"))) == (25 + 2 + 8, 2 * 25 - 3)
    for _ in range(25):
        page.press("next")
    assert page.text(".count") == "25 of 25"
    assert {name: page.named()[name] for name in "abg"} == {
        "a": ("-4", "138.8338"),
        "b": ("2", "645.5773"),
        "g": ("24.70408", "1"),
    }
    assert "a: leaf\n-4\ngrad 138.8" in [node.text for node in page.find("g.node")]


def test_backward_is_gone_through_node_by_node(page):
    page.run("a, b = Tensor(2.0), Tensor(3.0)\nc = a * b\nd = c + a\n")
    expected = [
        ("", "backward() begins with d: its gradient with respect to itself is 1.", {"d": "1"}),
        ("d: add", "c: grad = 1 · 1, which makes 1\na: grad = 1 · 1, which makes 1", {"d": "1", "c": "1", "a": "1"}),
        ("c: mul", "a: grad += 1 · 3, which makes 4\nb: grad = 1 · 2, which makes 2", dict(zip("abcd", "4211"))),
    ]
    for there, (now, says, gradients) in enumerate(expected):
        assert page.text(".count") == f"{there} of 2"
        assert page.text("g.node.now").partition("\n")[0] == now
        assert says in page.text(".says")
        assert {name: gradient for name, (_, gradient) in page.named().items() if gradient} == gradients
        page.press("next")
    page.press("back")
    assert page.named()["a"] == ("2", "1")


def test_the_steps_have_keys(page):
    from selenium.webdriver.common.keys import Keys

    page.run("Tensor(2.0).exp().log()")
    page.find(".step")[0].send_keys(Keys.ARROW_RIGHT)
    assert page.text(".count") == "1 of 2"
    page.find(".step")[0].send_keys(Keys.END)
    assert page.text(".count") == "2 of 2"
    page.find("textarea")[0].send_keys(Keys.TAB)
    assert page.browser.switch_to.active_element.get_attribute("class") != "", "Tab goes on to the next control"


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_drawn(page, title):
    page.choose(title)
    assert page.text(".status") == "Done", page.text(".error")
    assert page.find("g.node") and not page.text(".note")


@pytest.mark.parametrize(
    "program, error",
    {
        "a = Tensor(1.0)\nb = a.sine()": "Line 2: b = a.sine()\n"
        "AttributeError: 'Tensor' object has no attribute 'sine'",
        "a = Tensor(1.0)\nb = = a": "Line 2: b = = a\nSyntaxError: invalid syntax",
        "def f(x):\nreturn x / 0\n\bf(Tensor(2.0))": "Line 2, called from line 3: return x / 0\n"
        "ZeroDivisionError: div of 2.0, 0.0: division by zero",
        "import numpy": "Line 1: import numpy\n"
        "There is no module numpy on this page, only stage1_scalar and what comes with Python.",
        "Tensor('3')": "Line 1: Tensor('3')\nTypeError: Tensor: wanted a number, got str",
    }.items(),
    ids=["attribute", "syntax", "function", "module", "argument"],
)
def test_an_error_has_the_line_and_the_message(page, program, error):
    page.run(program)
    assert page.text(".error") == error
    assert page.text(".numbers mark") == error[5]
    assert page.text(".status") == "Ended by an error"


def test_an_error_in_backward_leaves_the_steps_before_it(page):
    page.run("x = Tensor(-1.0)\ny = (x ** Tensor(2.0)).exp()")
    assert page.text(".error").startswith("ValueError: backward: pow of -1.0, 2.0: ")
    assert page.text(".count") == "0 of 1"


def test_what_is_too_large_or_not_there_is_said(page):
    page.run("sum(Tensor(1.0) for _ in range(202))")
    assert page.text(".note") == "A graph of 202 operations can't be read; up to 200 are drawn."
    page.run("2 + 3")
    assert page.text(".printed") == "5"
    assert page.text(".note").startswith("No graph:")


def test_an_endless_program_can_be_stopped(page):
    page.begin("while True:\nprint('again')")
    page.wait("Running …")
    page.press("stop")
    assert page.text(".note") == "Stopped."
    page.wait("Ready")
    assert page.text(".printed").count("again") <= 500
    page.run("Tensor(3.0) * 2")
    assert page.text(".status") == "Done"


def test_opened_as_a_file_it_says_what_to_do(built, browser):
    browser.get((built / "playground" / "index.html").as_uri())
    assert "python -m http.server" in Page(browser).text(".problem")


def test_without_npm_the_book_is_built_and_the_page_says_so(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    folder = build(tmp_path, PATH="")
    assert "for want of Node.js and its npm" in (folder / "playground" / "index.html").read_text(encoding="utf-8")
    assert not (folder / "playground" / "playground.js").exists()
