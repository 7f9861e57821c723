"""The example app with another model than speech, end to end in Flower's simulation."""

import re
import sys

import pytest

from privacy import read_ledger
from recipes import checkout
from tests.processes import kill_all_of, run_command

APP = checkout() / "examples" / "text_app"
ROUNDS = 10
# Flower's engine with the app's two parts, as `flwr run` would start them, without a SuperLink.
PROGRAM = """
import sys
from dataclasses import replace

from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from text_app import client_app, server_app

server = ServerApp()

@server.main()
def main(grid, context):
    server_app.main(grid, replace(context, run_config={"nodes": 4, "ledger": sys.argv[1]}))

run_simulation(server, client_app.app, 4, backend_config={"client_resources": {"num_cpus": 1}})
"""


def test_it_has_at_most_80_lines():
    lines = [line for file in APP.rglob("*.py") for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) <= 80


@pytest.mark.federation
def test_it_learns_under_its_epsilon_and_every_release_is_in_the_ledger(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    try:
        done = run_command(sys.executable, "-c", PROGRAM, ledger, home=tmp_path, cwd=APP)
    finally:
        kill_all_of(tmp_path)  # Ray's processes too, should the run have failed
    assert done.returncode == 0, done.stdout
    accuracy, epsilon = re.search(r"accuracy (\S+) .*epsilon (\S+)", done.stdout).groups()
    assert float(accuracy) > 0.5
    assert 7 < float(epsilon) <= 8
    assert [entry.round for entry in read_ledger(ledger)] == list(range(1, ROUNDS + 1))
