# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the page itself, opened with the token on this computer, can use the server."""

import os
import signal
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from serving import FORM_TOKEN, TOKEN, client_of, make_test_place
from starlette.testclient import TestClient

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.serve.app import make_app
from cryoice_scipion.core.serve.safety import HEADER, inside


@pytest.fixture
def place(tmp_path):
    return make_test_place(tmp_path / "own")


@pytest.fixture
def client(place):
    return client_of(place)


def test_the_token_of_the_address_is_needed_once(place):
    client = TestClient(make_app(place), base_url="http://127.0.0.1:8950")
    assert client.get("/try").status_code == 403
    assert client.get("/try", params={"token": "wrong"}).status_code == 403
    answer = client.get("/try", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303 and "token" not in answer.headers["location"]
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
    assert client.get("/try").status_code == 200


def test_the_token_never_leads_to_another_host(client):
    url = "http://127.0.0.1:8950//evil.example/"
    answer = client.get(url, params={"token": TOKEN}, follow_redirects=False)
    assert answer.headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8950", "192.168.1.2:8950", "", "[", "localhost:x"]
)
def test_other_hosts_are_refused(client, host):
    assert client.get("/try", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8950", "127.0.0.1:8950"])
def test_both_names_of_this_computer_are_accepted(client, host):
    assert client.get("/try", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:1", "https://127.0.0.1:8950", "http://[", "null"]
)
def test_other_origins_are_refused(client, origin):
    assert client.post("/api/try", headers={"origin": origin}).status_code == 403


def test_changes_need_the_header_of_the_page(place):
    client = client_of(place)
    assert FORM_TOKEN in client.get("/try").text
    del client.headers[HEADER]
    assert client.post("/api/try").status_code == 403
    assert client.post("/api/try", headers={HEADER: "wrong"}).status_code == 403
    assert client.post("/api/try", headers={HEADER: FORM_TOKEN}).status_code == 422


def test_bodies_are_limited_before_they_are_read(client):
    answer = client.post("/api/try", content=b"x", headers={"content-length": str(1 << 40)})
    assert answer.status_code == 413 and "larger than" in answer.text
    answer = client.post("/api/try", content=iter([b"x"]))  # of unknown length
    assert answer.status_code == 411


@pytest.mark.parametrize("path", ["/try", "/static/style.css", "/api/run", "/nothing"])
def test_each_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"]
)
def test_static_files_stay_in_their_folder(client, path):
    assert client.get(path).status_code == 404


def test_paths_are_confined(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    os.symlink("/etc", folder / "link")
    assert inside(folder, "a/b.jpg") == folder.resolve() / "a" / "b.jpg"
    for name in ("../other", "/etc/passwd", "link/passwd", "a/../../x"):
        with pytest.raises(CryoIceError, match="outside the folder"):
            inside(folder, name)


def test_pages_hold_no_script_and_no_style(client):
    for page in ("try", "review", "teach"):
        text = client.get(f"/{page}").text
        scripts = 1 if page == "try" else 0  # those of the others need a run
        assert text.count("<script") == text.count("</script>") == scripts
        assert " style=" not in text and " onclick" not in text
        assert "http://" not in text and "https://" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])  # SIGHUP: the terminal is closed
def test_uploads_and_results_are_deleted_when_the_server_ends(number, tmp_path):
    words = [sys.executable, "-m", "cryoice_scipion.core", "serve", "--port", "0", "--device", "cpu"]
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own) as server:
        address = next(line.strip() for line in server.stdout if "token" in line)
        with pytest.raises(HTTPError, match="403"):  # it answers, so it handles signals
            urlopen(address.partition("?")[0], timeout=60)
        assert list(tmp_path.glob("cryoice_serve_*"))
        server.send_signal(number)
        _, errors = server.communicate(timeout=60)
    assert not list(tmp_path.glob("cryoice_serve_*")), errors
    assert server.returncode == 0 and "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_there_is_a_server_is_not_lost(number, tmp_path):
    code = (
        "import signal, sys\nfrom cryoice_scipion.core.cli import main\nfrom cryoice_scipion.core.serve import place\n"
        "class Sender:\n"
        "    def __del__(self):\n"  # in which Python ignores exceptions, as in parts of an import
        f"        signal.raise_signal({int(number)})\n"
        "make = place.make_place\n"
        "place.make_place = lambda *words: [Sender() and None, make(*words)][1]\n"
        "sys.exit(main(['serve', '--port', '0', '--device', 'cpu']))\n"
    )
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=own)
    assert done.returncode == 0 and not done.stderr
    assert not list(tmp_path.glob("cryoice_serve_*"))


def test_a_missing_extra_is_named():
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from cryoice_scipion.core.cli import main\nsys.exit(main(['serve', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "uvicorn is not installed; install the extra: pip install 'scipion-em-cryoice[serve]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"), [({"port": 99999}, "port: 99999"), ({"run": "nothing"}, "holds no screening")]
)
def test_a_wrong_option_gets_one_line(options, words, tmp_path):
    from cryoice_scipion.core.serve.server import serve

    run = tmp_path / options["run"] if "run" in options else None
    with pytest.raises(CryoIceError, match=words):
        serve(run, "default", options.get("port", 0), "cpu")
