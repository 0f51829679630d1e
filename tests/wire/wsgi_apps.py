"""A Flask and a tiny Django application, and a bare one that misbehaves, for test_wsgi_apps."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import django
import flask
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = b"0123456789abcdef" * 2048
CHUNKS = 3200
seen = {"chunks": 0, "closed": 0, "stuck": 0}
release = threading.Event()

flask_app = flask.Flask(__name__)


@flask_app.get("/about/<name>")
def about(name: str) -> Any:
    request, environ = flask.request, flask.request.environ
    return {
        "name": name,
        "scheme": request.scheme,
        "root": request.root_path,
        "proxy": environ.get("HTTP_PROXY"),
        "user": environ.get("REMOTE_USER"),
        "x": environ.get("HTTP_X_USER"),
    }


@flask_app.post("/count")
def count() -> Any:
    digest = hashlib.sha256()
    while piece := flask.request.stream.read(65_536):
        digest.update(piece)
    return digest.hexdigest()


@flask_app.post("/form")
def form() -> Any:
    return {"note": flask.request.form["note"], "size": len(flask.request.files["file"].read())}


@flask_app.get("/download")
def download() -> Any:
    def chunks() -> Iterator[bytes]:
        try:
            for _ in range(CHUNKS):
                seen["chunks"] += 1
                yield CHUNK
        finally:
            seen["closed"] += 1

    return flask.Response(chunks(), mimetype="application/octet-stream")


@flask_app.get("/seen")
def what_was_seen() -> Any:
    return seen


@flask_app.get("/fail")
def fail() -> Any:
    raise LookupError("a bug in the application")


def bare(environ: dict[str, Any], start_response: Any) -> Any:
    """Never returns until it is told to at /stuck; else splits its response, or breaks it in the middle."""
    if environ["PATH_INFO"] == "/stuck":
        seen["stuck"] += 1
        release.wait(60)
    if environ["PATH_INFO"] == "/split":
        start_response("200 OK", [("X-Name", "a\r\nSet-Cookie: evil=1")])
        return [b"split"]
    start_response("200 OK", [])
    return broken() if environ["PATH_INFO"] == "/broken" else [b"bare"]


def broken() -> Iterator[bytes]:
    yield b"begun"
    raise LookupError("in the middle")


def django_hello(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse({"name": name, "secure": request.is_secure(), "path": request.path})


def django_echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def django_stream(_request: HttpRequest) -> Any:
    return StreamingHttpResponse(iter([b"one ", b"two ", b"three"]))


urlpatterns = [path("hello/<name>", django_hello), path("echo", django_echo), path("stream", django_stream)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="for tests only", USE_TZ=True)
django.setup()
django_app = get_wsgi_application()
