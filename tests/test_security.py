"""What is served, to whom, and what leaves the machine: the app as it is configured, and behind the proxy of deploy/.

docs/security.md names these tests.
"""

import ast
import base64
import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from tests import browsing
from tests.browsing import CHROMIUM, ROOT, options

PATIENCE = 180.0
TEXT = "Mr Abernathy opened the door."
# Debian has it where only root's path leads.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
HOST, USER, PASSWORD = "density.example", "ada", "a long pass phrase"
ELSEWHERE = "http://elsewhere.example"

# Run by Python before anything else: notes whom the process, and those it starts, connect to or ask for by name.
WATCH = """
import os, sys

def watch(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        where = given[1] if event in ("socket.connect", "socket.sendto") else given[0]
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"{where[0] if isinstance(where, tuple) else where}\\n")

sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class App:
    """The app as it is served.

    Attributes:
        address: Its URL.
        calls: A file with the hosts its process asked for, a line each.
    """

    address: str
    calls: Path

    @property
    def netloc(self) -> str:
        return urlsplit(self.address).netloc

    @property
    def port(self) -> int:
        return int(self.netloc.partition(":")[2])

    def called_elsewhere(self) -> list[str]:
        """The hosts it asked for that are not this machine."""
        return [host for host in self.calls.read_text().splitlines() if not on_this_machine(host)]


def on_this_machine(host: str) -> bool:
    """Whether a host, or a socket's path, is here."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "None") or host.startswith("/")


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Settings of a process whose calls are noted, and where."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "sitecustomize.py").write_text(WATCH)
    calls = folder / "calls"
    calls.touch()
    return {"PYTHONPATH": str(folder), "CALLS": str(calls)}, calls


@pytest.fixture(scope="module")
def app(watched, tmp_path_factory) -> Iterator[App]:
    """The app, also under the name it has behind the proxy."""
    environment, calls = watched
    names = {"STREAMLIT_SERVER_ALLOWED_HOSTS": f"127.0.0.1 localhost {HOST}", "STREAMLIT_BROWSER_SERVER_ADDRESS": HOST}
    with browsing.served(tmp_path_factory.mktemp("server") / "log.txt", **environment, **names) as address:
        yield App(address, calls)


@pytest.fixture(scope="module")
def chromium(in_summary):
    """A browser; without one, its tests are left out."""
    if CHROMIUM is None:
        in_summary("left out", ["the page behind a proxy: no Chromium: apt-get install chromium"])
        pytest.skip("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def answer_in(page, address, model):
    """Opens the page, runs `TEXT` and waits for the heatmap, a prediction's part of the page, and its charts."""
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address + "?" + urlencode({"model": model, "text": TEXT}))
    page.get_by_role("button", name="Run", exact=True, disabled=False).wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text(re.compile(r"^\d+ predictions?, \d+ replays?, ")).wait_for()
    options(page).nth(3).click()
    page.get_by_test_id("stVegaLiteChart").locator("canvas, svg").first.wait_for()


def request(connection, method, path, body=None, **headers):
    """A status and the headers."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    response.read()
    return response.status, response.headers


# The app by itself


def test_the_settings_that_keep_others_out_are_the_ones_shipped():
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["server"]["enableXsrfProtection"] and settings["server"]["enableCORS"]
    assert settings["server"]["allowedHosts"] == ["127.0.0.1", "localhost"]
    assert settings["server"]["maxUploadSize"] == 5 and settings["server"]["maxMessageSize"] == 50
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["client"] == {"showErrorDetails": "none", "showErrorLinks": False, "toolbarMode": "minimal"}


def test_the_app_listens_to_this_machine_alone(app):
    ours = [(process, process.net_connections("inet")) for process in psutil.Process().children(recursive=True)]
    (listening,) = (
        [found.laddr for found in sockets if found.status == psutil.CONN_LISTEN]
        for _, sockets in ours
        if any(found.laddr == ("127.0.0.1", app.port) for found in sockets)
    )
    assert listening == [("127.0.0.1", app.port)]
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not ip_address(address.address).is_loopback:
                with pytest.raises(OSError):
                    socket.create_connection((address.address, app.port), timeout=5).close()


def joined(app):
    """The page's websocket, as a browser opens it."""
    stream = f"ws://{app.netloc}/_stcore/stream"
    return connect(stream, origin=app.address.rstrip("/"), subprotocols=["streamlit"], legacy=True)


def session_of(connection):
    """The id of the session that begins on a websocket."""
    connection.send(BackMsg(rerun_script={"query_string": ""}).SerializeToString())
    while True:
        message = ForwardMsg.FromString(connection.recv(PATIENCE))
        if message.HasField("new_session"):
            return message.new_session.initialize.session_id


def form(size):
    """A file of ``size`` bytes as a browser sends it."""
    before = b'--edge\r\nContent-Disposition: form-data; name="f"; filename="f.json"\r\n\r\n'
    return before + bytes(size) + b"\r\n--edge--\r\n"


def test_an_upload_needs_the_pages_token_and_keeps_to_the_limit(app):
    _, cookies = request(http.client.HTTPConnection(app.netloc), "GET", "/_stcore/health")
    token = re.search("_streamlit_xsrf=([^;]+)", cookies["Set-Cookie"])[1]
    headers = {"Content_Type": "multipart/form-data; boundary=edge", "Cookie": f"_streamlit_xsrf={token}"}

    def put(body, session, **more):
        connection, path = http.client.HTTPConnection(app.netloc), f"/_stcore/upload_file/{session}/1"
        with closing(connection):
            return request(connection, "PUT", path, body, **headers, **more)[0]

    with closing(joined(app)) as connection:
        session = session_of(connection)
        assert put(form(100), session) == 403
        assert put(form(100), session, X_Xsrftoken="2|0123|4567|89") == 403
        assert put(form(100), "another", X_Xsrftoken=token) == 400
        assert put(form(100), session, X_Xsrftoken=token) == 204
        assert put(form(5 * 2**20 + 1), session, X_Xsrftoken=token) == 413
        # With no length said beforehand; the connection may be closed before all is sent.
        with suppress(ConnectionError):
            assert put(iter([form(9 * 2**20)]), session, X_Xsrftoken=token, Transfer_Encoding="chunked") == 413
        assert put(form(100), session, X_Xsrftoken=token) == 204


def shake_hands(connection, **headers):
    """The status of a request for the page's websocket."""
    key = base64.b64encode(bytes(16)).decode()
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": key}
    status, _ = request(connection, "GET", "/_stcore/stream", **asked, **headers)
    connection.close()
    return status


def test_nothing_leaves_the_machine_while_the_page_is_used(app, chromium, tiny_folder):
    context = chromium.new_context()
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    answer_in(page, app.address, tiny_folder)
    for name in ("History", "Method"):
        page.get_by_role("link", name=name).first.click()
        page.get_by_role("heading", level=1).first.wait_for()
    context.close()
    assert {url.netloc for url in asked if url.scheme.startswith(("http", "ws"))} == {app.netloc}
    assert shake_hands(http.client.HTTPConnection(app.netloc), Origin=ELSEWHERE) == 403
    assert app.called_elsewhere() == []


def test_nothing_leaves_the_machine_where_another_sites_page_comes_before_ours(watched, tmp_path):
    environment, calls = watched
    with browsing.served(tmp_path / "log.txt", **environment) as address:
        # Streamlit would look up this machine's addresses, to see whether the page is its own.
        assert shake_hands(http.client.HTTPConnection(urlsplit(address).netloc), Origin=ELSEWHERE) == 403
    assert App(address, calls).called_elsewhere() == []


def test_another_sites_page_gets_no_websocket(app):
    def status(**headers):
        return shake_hands(http.client.HTTPConnection(app.netloc), **headers)

    assert status(Origin=app.address.rstrip("/")) == 101
    assert status(Origin=ELSEWHERE) == 403
    # A name of another's that was made to mean this machine.
    assert status(Origin=ELSEWHERE, Host=urlsplit(ELSEWHERE).netloc) == 403


def test_a_call_elsewhere_would_have_been_noted(watched, tmp_path):
    calls = tmp_path / "calls"
    # Connecting a datagram socket sends nothing; the address is one kept for documents.
    code = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **watched[0], "CALLS": str(calls)}, check=False)
    assert App("", calls).called_elsewhere() == ["192.0.2.1"]


# Behind the proxy


@dataclass(frozen=True)
class Proxy:
    """nginx with the site of deploy/, and what it says."""

    secure: int
    plain: int
    certificate: Path

    @property
    def address(self) -> str:
        return f"https://{HOST}:{self.secure}/"

    @property
    def pin(self) -> str:
        """The SHA-256 of the certificate's public key, as browsers are told which they may trust."""
        public = ("openssl", "x509", "-in", self.certificate, "-noout", "-pubkey")
        plain = subprocess.run(public, check=True, capture_output=True).stdout
        key = subprocess.run(
            ("openssl", "pkey", "-pubin", "-outform", "der"), input=plain, check=True, capture_output=True
        )
        return base64.b64encode(hashlib.sha256(key.stdout).digest()).decode()

    def connection(self) -> http.client.HTTPSConnection:
        """To this machine, by the site's name and its certificate."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.wrap_socket, wrap = lambda sock, **options: wrap(sock, server_hostname=HOST), context.wrap_socket
        return http.client.HTTPSConnection("127.0.0.1", self.secure, context=context)

    def request(self, method, path, body=None, **headers):
        return request(self.connection(), method, path, body, Host=f"{HOST}:{self.secure}", **headers)


def free_port():
    """One that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def certificate(folder):
    """A key, and a certificate of the site's name signed with it."""
    key, signed = folder / "key.pem", folder / "certificate.pem"
    named = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    made = ("-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", signed)
    subprocess.run(["openssl", "req", "-x509", *made, *named], check=True, capture_output=True)
    return key, signed


def configured(text, changes):
    """The site's settings with others for this machine; each is there once, comments aside."""
    for there, here in changes.items():
        text, count = re.subn(rf"^([^#\n]*){re.escape(there)}", rf"\g<1>{here}", text, flags=re.MULTILINE)
        assert count == 1, there
    return text


@pytest.fixture(scope="module")
def proxy(app, tmp_path_factory, in_summary) -> Iterator[Proxy]:
    """The site of deploy/nginx.conf on ports of its own, started."""
    if NGINX is None or shutil.which("openssl") is None:
        reason = "no nginx, or no openssl: apt-get install nginx openssl"
        in_summary("left out", [f"every test behind a proxy: {reason}"])
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("nginx")
    secure, plain = free_port(), free_port()
    key, signed = certificate(folder)
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True).stdout
    (folder / "passwords").write_text(f"{USER}:{hashed}")
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "server 127.0.0.1:8501;": f"server {app.netloc};",
        "/etc/ssl/certs/density.pem": signed,
        "/etc/ssl/private/density.key": key,
        "/etc/nginx/density.htpasswd": folder / "passwords",
    }
    site = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    (folder / "site.conf").write_text(configured(site, changes))
    # Where it is root's, its workers would be nobody's, who has no way to the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    kept = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    http_block = f"http {{ access_log off; {kept} include {folder}/site.conf; }}"
    (folder / "nginx.conf").write_text(f"{user} daemon off; pid {folder}/pid; events {{}} {http_block}")
    log = folder / "error.log"
    server = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", log])
    try:
        wait_until_taken(secure, server, log)
        yield Proxy(secure, plain, signed)
    finally:
        server.terminate()
        server.wait(PATIENCE)


def wait_until_taken(port, server, log):
    """Returns once ``server`` listens; raises with its log if it ended or never does."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {log.read_text()}") from None
            time.sleep(0.05)


def credentials(password=PASSWORD):
    return {"Authorization": f"Basic {base64.b64encode(f'{USER}:{password}'.encode()).decode()}"}


def test_behind_the_proxy_nothing_is_shown_without_the_password(proxy):
    for path in ("/", "/_stcore/health", "/_stcore/stream", "/static/js/index.js", "/media/x"):
        assert proxy.request("GET", path)[0] == 401
        assert proxy.request("GET", path, **credentials("another"))[0] == 401
    assert shake_hands(proxy.connection(), Host=f"{HOST}:{proxy.secure}") == 401
    assert proxy.request("GET", "/_stcore/health", **credentials())[0] == 200
    status, headers = request(http.client.HTTPConnection("127.0.0.1", proxy.plain), "GET", "/?a=b", Host=HOST)
    assert (status, headers["Location"]) == (301, f"https://{HOST}/?a=b")


def test_behind_the_proxy_every_answer_has_its_guards(proxy):
    for given, status in (({}, 401), (credentials(), 200)):
        found, headers = proxy.request("GET", "/", **given)
        assert found == status
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "object-src 'none'" in policy
        assert (
            "unsafe-eval" not in policy and "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
        )
        assert not re.search(r"\d", headers["Server"])


def test_behind_the_proxy_another_sites_page_and_a_large_upload_are_refused(proxy):
    def status(origin):
        return shake_hands(proxy.connection(), Host=f"{HOST}:{proxy.secure}", Origin=origin, **credentials())

    assert status(proxy.address.rstrip("/")) == 101
    assert status(ELSEWHERE) == status(f"https://{HOST}.elsewhere.example:{proxy.secure}") == 403
    assert status(f"http://{HOST}:{proxy.secure}") == 403
    body, headers = form(7 * 2**20), {**credentials(), "Content_Type": "multipart/form-data; boundary=edge"}
    assert proxy.request("PUT", "/_stcore/upload_file/a/1", body, **headers)[0] == 413


@pytest.mark.browser
def test_behind_the_proxy_the_page_answers_and_breaks_none_of_its_rules(proxy, chromium, tiny_folder):
    # One for which the site's name is this machine, and which trusts its certificate. Where errors of certificates were
    # ignored instead, every connection began twice, and Chromium once gave up on a request (ERR_TOO_MANY_RETRIES).
    asked = [f"--host-resolver-rules=MAP {HOST} 127.0.0.1", f"--ignore-certificate-errors-spki-list={proxy.pin}"]
    trusting = chromium.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", *asked])
    page = trusting.new_page(http_credentials={"username": USER, "password": PASSWORD})
    sockets, complaints = [], []
    page.on("websocket", lambda opened: sockets.append(opened.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(proxy.address, wait_until="commit")
    page.locator("#first-view .text span").nth(1).wait_for(timeout=PATIENCE * 1000)
    page.locator("#first-view").wait_for(state="detached", timeout=PATIENCE * 1000)
    answer_in(page, proxy.address, tiny_folder)
    for name in ("History", "Method"):
        page.get_by_role("link", name=name).first.click()
        page.get_by_role("heading", level=1).first.wait_for()
    trusting.close()
    assert set(sockets) == {f"wss://{HOST}:{proxy.secure}/_stcore/stream"}
    assert complaints == []


# What is read


def test_nothing_that_is_read_is_run():
    """No pickle and its kin, nothing evaluated, and torch loads no file of its own format."""
    modules, calls = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, {"eval", "exec"}
    paths = [ROOT / "app.py", *(path for folder in ("density", "pages") for path in (ROOT / folder).rglob("*.py"))]
    assert len(paths) > 50
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    named = {alias.name.partition(".")[0] for alias in node.names}
                case ast.ImportFrom():
                    named = {(node.module or "").partition(".")[0]}
                case _:
                    named = set()
            assert not named & modules, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in calls and called != "torch.load", f"{path}:{node.lineno}"
