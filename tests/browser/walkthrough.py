"""The whole view in a real Chromium against a virtual cluster: `make browser`.

Not part of `make test`, which needs no browser. Photographs every page into docs/screenshots as it goes. The steps
build on each other and run in this order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from omlab.process import PIPE, NodeProcess
from tests.browser.tunnel import Tunnel
from tests.browser.webdriver import Browser, chromium, missing_browser, until

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.timeout(300)]
SCREENSHOTS = Path(__file__).parents[2] / "docs/screenshots"
PORT = 8334
WIDE, PHONE = (1280, 800), (390, 844)
ENTER, ESCAPE, RIGHT = "\ue007", "\ue00c", "\ue014"
WORK = "import time\nwhile True: sum(range(20000)); time.sleep(0.05)"
JOB = ["/usr/bin/python3", "/tmp/simulate.py"]
CROWD = 5
JOBS_ONLY = "/processes?text=simulate.py"
ROWS = "return document.querySelectorAll('.nodes tbody tr').length"
MIDDLE = """
    const box = document.querySelector(arguments[0])?.getBoundingClientRect();
    return box && [box.x + box.width / 2, box.y + box.height / 2];
"""


class Walk:
    """A view on node 1 of a cluster, and a browser in front of it."""

    def __init__(self, cluster: Cluster, browser: Browser) -> None:
        self.cluster = cluster
        self.home: Node = cluster.nodes[1]
        self.browser = browser
        self.base = ""

    def open(self, path: str) -> None:
        """A page, once its live facts are there."""
        self.browser.open(self.base + path)
        self.browser.wait("return document.querySelector('.status span:last-child')?.textContent", "the status bar")

    def photograph(self, name: str, size: tuple[int, int] = WIDE, is_dark: bool = False) -> None:
        """Keep what is seen."""
        self.browser.size(*size, is_dark)
        self.browser.script("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.browser.picture(SCREENSHOTS / f"{name}.png")
        self.browser.size(*WIDE)

    def says(self, words: str) -> None:
        """Wait for the status bar to say it."""
        self.browser.wait("return document.getElementById('status').textContent.includes(arguments[0])", words, words)

    def where(self, pid: int) -> int:
        """Node of a process, as its daemon says."""
        done = self.home.run(["mps", "--json", "-p", str(pid)], check=False)
        rows = json.loads(done.stdout)["data"] if done.returncode == 0 else []
        return next((int(row["node"]) for row in rows if int(row["pid"]) == pid), -1)


def serve(node: Node, user: str | None, port: int) -> tuple[NodeProcess, str]:
    """Start a view; the path and token of the address it prints."""
    options = {"stdout": PIPE, "stderr": f"/tmp/view-{port}.log"}
    view = node.popen(["openmosixview", "--no-browser", "--port", str(port)], user=user, **options)
    line = b""
    assert view.stdout is not None
    while not line.endswith(b"\n"):
        byte = view.stdout.read(1)
        assert byte, node.path_of(f"/tmp/view-{port}.log").read_text()
        line += byte
    return view, line.decode().split(f":{port}", 1)[1].strip()


@pytest.fixture(scope="module")
def walk(run_label: str) -> Iterator[Walk]:
    if reason := missing_browser():
        pytest.skip(reason)
    SCREENSHOTS.mkdir(exist_ok=True)
    with Cluster(3, name=f"{run_label}-browser") as cluster:
        node = cluster.nodes[1]
        view, address = serve(node, None, PORT)
        try:
            with Tunnel(node.init_pid, PORT) as tunnel, chromium() as browser:
                made = Walk(cluster, browser)
                made.base = f"http://127.0.0.1:{tunnel.port}"
                browser.size(*WIDE)
                made.open(address)
                assert "token" not in browser.script("return location.href")
                yield made
        finally:
            view.send_signal(15)
            view.wait(60)
            view.close()


@pytest.fixture(scope="module", autouse=True)
def crowd(walk: Walk) -> Iterator[None]:
    """Some more jobs, so that there is something to see."""
    walk.home.path_of("/tmp/simulate.py").write_text(WORK)
    processes = [walk.home.popen([*JOB, f"--part={part}"], user="om") for part in range(1, CROWD + 1)]
    yield
    for process in processes:
        process.kill()
        process.wait(60)
        process.close()


@pytest.fixture
def job(walk: Walk) -> Iterator[NodeProcess]:
    process = walk.home.popen(JOB, user="om")
    yield process
    process.kill()
    process.wait(60)
    process.close()


def test_three_nodes_are_seen(walk: Walk) -> None:
    walk.open("/")
    walk.browser.wait(f"{ROWS} === 4", "four rows")
    states = "return [...document.querySelectorAll('.badge')].map((one) => one.textContent).join()"
    walk.browser.wait(f"{states} === '1 up,2 up,3 up'", "three nodes up")
    walk.photograph("cluster")
    walk.photograph("cluster-dark", is_dark=True)
    walk.photograph("cluster-phone", PHONE)


def test_a_switch_in_the_node_window(walk: Walk) -> None:
    walk.open("/")
    walk.browser.click(walk.browser.button("Node 2, 10.77.0.2: settings"))
    walk.browser.click(walk.browser.button("Automatic migration: no", "dialog"))
    walk.says("Node 2: automatic migration off")
    assert "stay" in walk.home.run(["mosctl", "status", "2"]).stdout
    walk.photograph("node")
    walk.browser.click(walk.browser.button("Automatic migration: yes", "dialog"))
    walk.says("Node 2: automatic migration on")
    walk.browser.keys(ESCAPE)
    walk.browser.wait("return !document.querySelector('dialog')", "the end of the window")


def test_all_nodes_after_asking(walk: Walk) -> None:
    walk.open("/")
    walk.browser.click(walk.browser.button("all-nodes"))
    walk.browser.click(walk.browser.button("Automatic migration: no", "dialog"))
    walk.browser.click(walk.browser.button("Set on all nodes", "dialog"))
    walk.says("All nodes: automatic migration off on 3 of 3")
    for number in (1, 2, 3):
        assert "stay" in walk.home.run(["mosctl", "status", str(number)]).stdout


def test_the_speed_by_slider_and_by_number(walk: Walk) -> None:
    walk.open("/")
    slider = walk.browser.find("input[aria-label='Speed of node 2, slider']")
    number = walk.browser.find("input[aria-label='Speed of node 2']")
    before = int(walk.browser.wait("return Number(arguments[0].value) && arguments[0].value", "a speed", ref(number)))
    walk.browser.script("arguments[0].focus()", ref(slider))
    walk.browser.keys(RIGHT)
    walk.says(f"Node 2: speed set to {before + 1}")
    assert f"={before + 1}." in walk.home.run(["mosctl", "getspeed", "2"]).stdout
    walk.browser.script("arguments[0].value = ''", ref(number))
    walk.browser.type(number, f"20000{ENTER}")
    walk.says("Node 2: speed set to 20000")
    assert "=20000." in walk.home.run(["mosctl", "getspeed", "2"]).stdout


def test_a_process_is_moved_by_its_window(walk: Walk, job: NodeProcess) -> None:
    walk.open(JOBS_ONLY)
    walk.browser.click(walk.browser.button(str(job.pid)))
    walk.browser.click(walk.browser.find("dialog button[data-node='2']"))
    walk.says(f"Process {job.pid} moved to node 2")
    assert walk.where(job.pid) == 2
    shown = "return [...document.querySelectorAll('dialog dd')].some((one) => one.textContent === 'node 2')"
    walk.browser.wait(shown, "the new place")
    walk.photograph("process")
    walk.browser.keys(ESCAPE)
    away = (
        "return [...document.querySelectorAll('.processes tbody .chip')].some((one) => one.textContent === 'migrated')"
    )
    walk.browser.wait(away, "the process listed as migrated")
    walk.photograph("processes")
    walk.photograph("processes-phone", PHONE, is_dark=True)
    walk.browser.click(walk.browser.button(str(job.pid)))
    walk.browser.click(walk.browser.button("Home", "dialog"))
    walk.says(f"Process {job.pid} moved home")
    assert walk.where(job.pid) == 0


def test_a_process_is_dragged_and_sent_home_by_keyboard(walk: Walk, job: NodeProcess) -> None:
    walk.open("/migmon")
    process = f".process[data-pid='{job.pid}']"
    start = walk.browser.wait(MIDDLE, "the process", process)
    end = walk.browser.wait(MIDDLE, "node 3", ".node[data-node='3']")
    walk.browser.drag(tuple(start), tuple(end))
    walk.says(f"Process {job.pid} moved to node 3")
    assert walk.where(job.pid) == 3
    walk.browser.wait(
        "return document.querySelector(arguments[0])?.classList.contains('away')", "it drawn away", process
    )
    walk.photograph("migmon")
    walk.photograph("migmon-dark", is_dark=True)
    walk.browser.script("document.querySelector(arguments[0]).focus()", process)
    walk.browser.keys("h")
    walk.says(f"Process {job.pid} moved home")
    at_home = "return document.querySelector(arguments[0])?.classList.contains('away') === false"
    walk.browser.wait(at_home, "it drawn at home", process)
    walk.browser.script("document.querySelector(arguments[0]).focus()", process)
    walk.browser.keys(ENTER, RIGHT, ENTER)
    walk.says(f"Process {job.pid} moved to node 2")
    assert walk.where(job.pid) == 2


def test_a_program_is_run_and_its_output_read(walk: Walk) -> None:
    walk.open("/")
    walk.browser.click(walk.browser.button("File"))
    walk.browser.click(walk.browser.button("Run program…", ".menu"))
    command = walk.browser.find("dialog input[name='command']")
    walk.browser.type(command, "sh -c 'echo it ran; exit 7'")
    walk.browser.click(walk.browser.button("Execute", "dialog"))
    walk.browser.wait("return document.querySelector('dialog').textContent.includes('exit status 7')", "its end")
    assert "it ran" in walk.browser.script("return document.querySelector('.output').textContent")
    walk.photograph("run")


def test_markup_in_a_name_is_shown_as_text(walk: Walk) -> None:
    name = "<img src=x onerror=document.title=1>"
    process = walk.home.popen(["/bin/bash", "-c", f"exec -a '{name}' sleep 600"], user="om")
    try:
        walk.open("/processes")
        shown = "[...document.querySelectorAll('td.command')].map((one) => one.textContent)"
        found = f"return {shown}.some((one) => one.startsWith(arguments[0]))"
        walk.browser.wait(found, "the name", name)
        assert walk.browser.script("return document.querySelectorAll('main img').length") == 0
        assert "openMosixview" in walk.browser.script("return document.title")
    finally:
        process.kill()
        process.wait(60)
        process.close()


def test_collected_load_is_drawn_and_printed(walk: Walk, job: NodeProcess) -> None:
    walk.open("/analyzer")
    walk.browser.click(walk.browser.button("Start the collector"))
    walk.browser.wait("return document.querySelector('.lamp').dataset.state === 'on'", "the lamp")
    walk.browser.click(walk.browser.button("Collector"))
    walk.browser.click(walk.browser.button("Checkpoint", ".menu"))
    walk.says("checkpoint set")
    assert walk.home.run(["openmosixcollector", "-n", "by command"]).stdout == "checkpoint set\n"
    exported = "openmosixcollector", "--export", "csv"
    walk.home.run(["migrate", str(job.pid), "2"])
    until(lambda: len(walk.home.run([*exported]).stdout.splitlines()) > 15, "five samples of three nodes")
    walk.browser.wait("return document.querySelectorAll('.chart').length === 4", "four graphs")
    walk.browser.wait(
        "return [...document.querySelectorAll('.chart .stats')].some((one) => /average/.test(one.textContent))",
        "numbers",
    )
    walk.photograph("analyzer")
    walk.photograph("analyzer-dark", is_dark=True)
    assert walk.browser.pdf().startswith(b"%PDF")
    walk.open("/history")
    walk.browser.wait("return document.querySelectorAll('.processes tbody tr').length", "processes of a moment")
    walk.browser.type(walk.browser.find("input[type='search']"), "simulate")
    rows = "return document.querySelectorAll('.processes tbody tr').length >= arguments[0]"
    walk.browser.wait(rows, "the jobs of that moment", CROWD)
    walk.photograph("history")
    walk.browser.click(walk.browser.button("Collector"))
    walk.browser.click(walk.browser.button("Stop", ".menu"))
    walk.says("collector stopped")


def test_who_may_not_sees_why(walk: Walk) -> None:
    view, address = serve(walk.home, "om", PORT + 1)
    try:
        with Tunnel(walk.home.init_pid, PORT + 1) as tunnel:
            walk.browser.open(f"http://127.0.0.1:{tunnel.port}{address}")
            slider = walk.browser.find("input[aria-label='Speed of node 2, slider']")
            title = walk.browser.wait("return arguments[0].disabled && arguments[0].title", "a reason", ref(slider))
            assert "you are om" in title
    finally:
        view.send_signal(15)
        view.wait(60)
        view.close()


def test_a_lost_node_and_a_lost_daemon_are_seen(walk: Walk) -> None:
    walk.open("/")
    walk.browser.wait(f"{ROWS} === 4", "four rows")
    walk.cluster.nodes[3].link("down")
    lost = "return document.querySelector('tr[data-node=\"3\"] .badge').dataset.state === 'down'"
    walk.browser.wait(lost, "node 3 down")
    walk.photograph("node-lost")
    walk.home.kill_daemon()
    walk.browser.wait(
        "return document.querySelector('.banner:not([hidden])')?.textContent.includes('daemon does not run')",
        "the banner",
    )
    walk.photograph("no-daemon", is_dark=True)


def ref(element: str) -> dict[str, str]:
    """An element as an argument of a script."""
    return {"element-6066-11e4-a52e-4f735466cecf": element}
