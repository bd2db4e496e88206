"""`advisor web`: where it listens, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from advisor.interfaces.cli.main import run
from advisor.interfaces.web import http_server

ROOT = Path(__file__).parents[3]


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_told_with_what_to_type(taken, capsys):
    assert run(["web", "--port", str(taken)]) == 2
    said = capsys.readouterr().err
    assert f"port {taken} is in use" in said
    assert "--port 0" in said


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--host", "203.0.113.7"], "no address"), (["--port", "70000"], "65535")]
)
def test_an_address_that_cannot_be_is_a_wrong_request(arguments, words, capsys):
    assert run(["web", *arguments]) == 2
    assert words in capsys.readouterr().err


ALONE = ("127.0.0.1", "127.8.8.8", "::1", "localhost")


@pytest.mark.parametrize("host", [*ALONE, "0.0.0.0", "::", "box"])
def test_only_this_machines_own_addresses_need_no_token(host):
    assert http_server.is_loopback(host) == (host in ALONE)


def test_a_short_token_of_ones_own_is_refused(monkeypatch, capsys):
    monkeypatch.setenv(http_server.TOKEN, "short")
    assert run(["web", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert http_server.TOKEN in capsys.readouterr().err


def test_without_the_extra_it_is_said_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(http_server.importlib.util, "find_spec", lambda name: None)
    assert run(["web"]) == 2
    assert "advisor[web]" in capsys.readouterr().err


def test_the_document_is_printed_and_nothing_is_served(capsys):
    assert run(["web", "--json"]) == 0
    assert "/api/recommend" in json.loads(capsys.readouterr().out)["paths"]


@pytest.mark.slow
def test_it_serves_without_torch_and_ends_with_all_it_started(tmp_path):
    own = os.environ | {"PYTHONPATH": str(ROOT), "ADVISOR_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "advisor", "web", "--port", "0"]
    with subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True) as server:
        line = server.stderr.readline()
        address = line.split()[-1]
        with urllib.request.urlopen(address, timeout=60) as page:
            assert b"Which fine-tuning method" in page.read()
        family = psutil.Process(server.pid).children(recursive=True)
        assert "torch" not in Path(f"/proc/{server.pid}/maps").read_text()
        server.send_signal(signal.SIGINT)
        said = server.stderr.read()
        assert server.wait(60) == 130
    assert said.strip().splitlines()[-1].startswith("Interrupted")
    psutil.wait_procs(family, timeout=20)
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
