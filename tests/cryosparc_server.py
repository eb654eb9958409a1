# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the HTTP side of cryoSPARC 5: as much of its interface as an External Job needs.

It is not cryoSPARC. Its answers follow the models in cryosparc-tools 5.0, whose real client talks to it.
"""

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NOW = "2026-01-01T00:00:00Z"
STREAM, JSON = "application/octet-stream", "application/json"
DATASET = "application/x-cryosparc-dataset"
#: name: (method, path, query parameters, type of the body, name of the answer's model)
ROUTES = {
    "login": ("post", "/login", (), "application/x-www-form-urlencoded", "Token"),
    "users.me": ("get", "/users/me", (), None, "User"),
    "config.get_version": ("get", "/config/version", (), None, None),
    "projects.find_one": ("get", "/projects/{project_uid}", (), None, "Project"),
    "projects.get_directory": ("get", "/projects/{project_uid}/directory", (), None, None),
    "jobs.create": ("post", "/jobs/{project_uid}/{workspace_uid}", ("type", "title", "description"), JSON, "Job"),
    "jobs.find_one": ("get", "/jobs/{project_uid}/{job_uid}", (), None, "Job"),
    "jobs.load_output": ("get", "/jobs/{project_uid}/{job_uid}/outputs/{output_name}", ("slots", "version"), None,
                         DATASET),
    "jobs.add_external_input": ("post", "/jobs/{project_uid}/{job_uid}/inputs/{input_name}", (), JSON, "Job"),
    "jobs.add_external_output": ("post", "/jobs/{project_uid}/{job_uid}/outputs/{output_name}", (), JSON, "Job"),
    "jobs.connect": ("post", "/jobs/{project_uid}/{job_uid}/connect/{input_name}",
                     ("source_job_uid", "source_output_name"), None, "Job"),
    "jobs.mark_running": ("post", "/jobs/{project_uid}/{job_uid}/running", ("status",), None, "Job"),
    "jobs.mark_completed": ("post", "/jobs/{project_uid}/{job_uid}/completed", (), None, "Job"),
    "jobs.mark_failed": ("post", "/jobs/{project_uid}/{job_uid}/failed", ("error",), None, "Job"),
    "jobs.save_output": ("put", "/jobs/{project_uid}/{job_uid}/outputs/{output_name}", ("version",), DATASET, "Job"),
    "jobs.add_event_log": ("post", "/jobs/{project_uid}/{job_uid}/events", ("type",), JSON, "TextEvent"),
    "jobs.add_image_log": ("post", "/jobs/{project_uid}/{job_uid}/images", ("text", "flags"), JSON, "ImageEvent"),
    "assets.upload": ("post", "/assets/{project_uid}/{job_uid}", ("filename", "format"), STREAM, "GridFSAsset"),
}  # fmt: skip


class Server:
    """One project with finished jobs, and the External Jobs that a client creates in it."""

    def __init__(self, folder, outputs):
        """Take the project folder, and the datasets of finished jobs: job -> output -> type and dataset."""
        self.folder, self.finished = folder, outputs
        self.calls, self.saved, self.log, self.images = [], {}, [], []
        self.status, self.error, self.spec = "building", "", {"inputs": {}, "outputs": {}}

    def job(self, uid):
        external = uid == "J99"
        spec = {"type": "snowflake" if external else "blob_picker_gpu", "ui_tile_width": 1, "ui_tile_height": 1,
                "resource_spec": {}}  # fmt: skip
        if external:
            spec.update(self.spec)
        else:
            spec["outputs"] = {name: {"type": kind, "title": name} for name, (kind, _) in self.finished[uid].items()}
        return {"uid": uid, "project_uid": "P3", "spec": spec, "job_dir": uid, "job_dir_size_last_updated": NOW,
                "uid_num": int(uid[1:]), "project_uid_num": 3, "status_num": 0, "build_errors": [],
                "status": self.status if external else "completed"}  # fmt: skip

    def answer(self, name, found, query, body):
        """Return the content of an answer, or raise a KeyError for what is not there."""
        self.calls.append(name)
        uid = found.get("job_uid", "")
        if name == "login":
            form = parse_qs(body.decode())
            return {"access_token": f"token of {form['username'][0]}", "token_type": "bearer"}
        if name == "users.me":
            return {"name": "user", "first_name": "A", "last_name": "User"}
        if name == "config.get_version":
            return "v5.0.3"
        if name == "projects.find_one":
            return {"uid": found["project_uid"], "project_dir": str(self.folder), "owner_user_id": "0", "title": "",
                    "size_last_updated": NOW, "uid_num": 3}  # fmt: skip
        if name == "projects.get_directory":
            return str(self.folder)
        if name == "jobs.load_output":
            return self.finished[uid][found["output_name"]][1]
        return self.change(name, found, query, body) or self.job(uid or "J99")

    def change(self, name, found, query, body):
        event = {"project_uid": "P3", "job_uid": "J99"}
        if name == "jobs.add_external_input":
            self.before_run()
            self.spec["inputs"][found["input_name"]] = json.loads(body)
        elif name == "jobs.add_external_output":
            self.before_run()
            given = json.loads(body)
            assert given["passthrough"] in self.spec["inputs"]
            self.spec["outputs"][found["output_name"]] = given
        elif name == "jobs.connect":
            source = {"job_uid": query["source_job_uid"], "output": query["source_output_name"]}
            self.spec["inputs"][found["input_name"]]["connections"] = [source]
        elif name in ("jobs.mark_running", "jobs.mark_completed", "jobs.mark_failed"):
            self.status, self.error = name.split("_")[1], query.get("error", "")
        elif name == "jobs.save_output":
            assert self.status == "running" and found["output_name"] in self.spec["outputs"]
            self.saved[found["output_name"]] = body
        elif name == "jobs.add_event_log":
            self.log.append((query.get("type", "text"), json.loads(body)))
            return {**event, "type": query.get("type", "text"), "text": json.loads(body)}
        elif name == "assets.upload":
            self.images.append(body)
            return {"fileid": f"{len(self.images):024d}", "filename": query["filename"], "filetype": query["format"]}
        elif name == "jobs.add_image_log":
            self.log.append(("image", query["text"]))
            return {**event, "type": "image", "text": query["text"]}
        return None

    def before_run(self):
        assert self.status == "building"


def schema():
    """Return the OpenAPI document from which the client makes its functions."""
    paths = {}
    for name, (method, path, query, body, model) in ROUTES.items():
        parameters = [{"name": one, "in": "path", "required": True} for one in re.findall(r"{([^}]*)}", path)]
        parameters += [{"name": one, "in": "query", "required": False} for one in query]
        content = {model: {}} if model == DATASET else {JSON: {"schema": _schema_of(model)}}
        endpoint = {"summary": name, "parameters": parameters, "responses": {"200": {"content": content},
                    "404": {"content": {JSON: {"schema": {}}}}}}  # fmt: skip
        if body:
            endpoint["requestBody"] = {"content": {body: {"schema": {"title": _TITLES.get(name, "body")}}}}
        paths.setdefault(path, {})[method] = endpoint
    return {"info": {}, "paths": paths, "components": {}}


_TITLES = {"jobs.add_event_log": "text", "jobs.add_image_log": "images", "jobs.create": "params"}


def _schema_of(model):
    return {"$ref": f"#/components/schemas/{model}"} if model else {"type": "string"}


def route(method, path):
    """Return the name of the function at a path, and the values in the path."""
    for name, (its_method, pattern, *_) in ROUTES.items():
        found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern), path)
        if found and its_method == method:
            return name, found.groupdict()
    raise KeyError(path)


class Handler(BaseHTTPRequestHandler):
    """Pass requests on to the stand-in."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Stay quiet."""

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while not parts or parts[-1]:
            parts.append(self.rfile.read(int(self.rfile.readline(), 16)))
            self.rfile.readline()
        return b"".join(parts)

    def send(self, status, kind, data):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def any(self):
        body, url = self.body(), urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = url.path.replace("/api/cmd", "", 1)
        try:
            if path == "/openapi.json":
                content = schema()
            else:
                name, found = route(self.command.lower(), path)
                content = self.server.stand_in.answer(name, found, query, body)
        except (KeyError, AssertionError) as error:
            self.send(404, JSON, json.dumps({"message": f"refused: {error!r}"}).encode())
            return
        if hasattr(content, "fields"):  # a dataset
            self.send(200, DATASET, content.dumps())
        else:
            self.send(200, JSON, json.dumps(content).encode())

    do_GET = do_POST = do_PUT = any


@contextlib.contextmanager
def running(server):
    """Serve on a free port of this machine; yield the address."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.stand_in = server
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
