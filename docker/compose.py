"""Write docker-compose.yml for a number of nodes: `python3 docker/compose.py 5 > docker-compose.yml`.

With `--gpu`, every ClientApp and the ServerApp (which scores the model) are given the host's GPUs.

Each node is two containers (SuperNode, ClientApp) with a network, credentials, state and speech of its
own, which no `--scale` can give; so the file is written, for any number of nodes, by this script. It
needs nothing but Python.
"""

import sys

HEAD = """\
# A federation of {nodes} nodes on one host: docker compose up --detach
# Written by docker/compose.py, here for {nodes} nodes; for another number of them:
#   python3 docker/compose.py 5 > docker-compose.yml
# docs/deploy.md says what every part is for.

x-part: &part
  image: ${{MURMURATION_IMAGE:-murmuration:latest}}
  restart: unless-stopped
  init: true
  stop_grace_period: 30s
  read_only: true
  tmpfs: [/tmp]
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  mem_limit: ${{PART_MEMORY:-1g}}
  cpus: ${{PART_CPUS:-2.0}}
  logging: {{driver: json-file, options: {{max-size: 10m, max-file: "5"}}}}
  healthcheck: &health
    # grpcio's health protocol; a part that stays silent is ended, and started again by its restart policy
    test: ["CMD", "python", "-m", "cli.deploy.probes", "127.0.0.1:8099", "--end-after", "4"]
    interval: 15s
    timeout: 15s
    retries: 3
    start_period: 60s

services:
  # --- Once: credentials, each part's own in a volume of its own ---
  setup:
    <<: *part
    build: &build
      context: .
      dockerfile: docker/Dockerfile
      args:
        # With defaults, since v1 gives the build an empty text for what is not set
        BASE_IMAGE: ${{BASE_IMAGE:-python:3.11-slim-bookworm}}
        TORCH_INDEX_URL: ${{TORCH_INDEX_URL-https://download.pytorch.org/whl/cpu}}
        PIP_INDEX_URL: ${{PIP_INDEX_URL:-}}
        PIP_EXTRA_INDEX_URL: ${{PIP_EXTRA_INDEX_URL:-}}
        PIP_TRUSTED_HOST: ${{PIP_TRUSTED_HOST:-}}
        PIP_NO_INDEX: ${{PIP_NO_INDEX:-}}
        EXTRAS: ${{EXTRAS:-}}
    user: "0:0"
    restart: "no"
    cap_add: [CHOWN, DAC_OVERRIDE, FOWNER]
    network_mode: none
    healthcheck: {{disable: true}}
    # To renew certificate and authority before their time: docker compose run --rm -e RENEW=1 setup
    entrypoint: ["/app/docker/setup.sh", "{nodes}", superlink, localhost, "${{BACKEND:-172.30.91}}.10"]
    volumes:
      - superlink-credentials:/credentials/superlink
      - proxy-credentials:/credentials/proxy
      - serverapp-credentials:/credentials/serverapp
      - operator-credentials:/credentials/operator
{setup_volumes}
  superlink:
    <<: *part
    command: >-
      flower-superlink --isolation process --database /state/superlink.db
      --host ${{BACKEND:-172.30.91}}.10 --port 8000
      --fleet-api-address ${{BACKEND:-172.30.91}}.138:9093
      --enable-supernode-auth --superexec-auth-secret-file /credentials/superexec.secret
      --ssl-ca-certfile /credentials/ca.crt --ssl-certfile /credentials/server.crt
      --ssl-keyfile /credentials/server.key --health-server-address 127.0.0.1:8099
    environment: {{FLWR_LOG_LEVEL: WARNING}}  # or it writes a line for each poll, 0.1 GB a day
    volumes: ["superlink-credentials:/credentials:ro", "superlink-state:/state"]
    depends_on: {{setup: {{condition: service_completed_successfully}}}}
    networks:
      backend: {{ipv4_address: "${{BACKEND:-172.30.91}}.10"}}
      door: {{ipv4_address: "${{BACKEND:-172.30.91}}.138", aliases: [fleet-api]}}
    # Never publish 8000.

  # --- What nodes reach as superlink:9092: it refuses what is too large before the SuperLink takes it ---
  proxy:
    <<: *part
    image: ${{MURMURATION_PROXY_IMAGE:-murmuration-proxy:latest}}
    build:
      context: .
      dockerfile: docker/proxy.Dockerfile
      args: {{PROXY_IMAGE: "${{PROXY_IMAGE:-nginx:1.28}}"}}
    healthcheck:
      test: ["CMD", "bash", "-c", "exec 3<> /dev/tcp/127.0.0.1/9092"]
      interval: 5s
      timeout: 5s
      retries: 3
      start_period: 10s
    volumes: ["proxy-credentials:/etc/murmuration/proxy:ro"]
    depends_on: {{superlink: {{condition: service_healthy}}}}
    networks:
      door: {{}}
      fleet: {{aliases: [superlink]}}
    # For nodes on other machines: ports: ["9092:9092"].

  serverapp:
    <<: *part
    mem_limit: ${{SERVERAPP_MEMORY:-4g}}
{gpu}    command: >-
      flower-superexec --runtime-api-address ${{BACKEND:-172.30.91}}.10:8000
      --root-certificates /credentials/ca.crt
      --superexec-auth-secret-file /credentials/superexec.secret --health-server-address 127.0.0.1:8099
    volumes:
      - serverapp-credentials:/credentials:ro
      - runs:/state
      - ${{MODELS:-models}}:/state/models:ro
    depends_on: {{superlink: {{condition: service_healthy}}}}
    networks: [backend]

  # --- Once: admit the nodes ---
  register: &operator
    <<: *part
    restart: "no"
    healthcheck: {{disable: true}}
    entrypoint: ["/app/docker/register.sh", "${{BACKEND:-172.30.91}}.10:8000"]
    volumes: ["operator-credentials:/credentials", "operator:/state"]
    depends_on: {{superlink: {{condition: service_healthy}}, proxy: {{condition: service_healthy}}}}
    networks: [backend]

  # --- Every 5 minutes: unhealthy (docker compose ps) from 7 days before the certificate's end ---
  doctor:
    <<: *part
    entrypoint: [sleep, infinity]
    healthcheck:
      test: [CMD, murmur, doctor, --superlink, "superlink:9092", --authority, /credentials/ca.crt]
      interval: 5m
      timeout: 60s
      retries: 2
      start_period: 60s
    volumes: ["operator-credentials:/credentials:ro"]
    depends_on: {{proxy: {{condition: service_healthy}}}}
    networks: [fleet]

  # --- docker compose run --rm run [--recipe FILE] [--set key=value ...] ---
  run:
    <<: *operator
    profiles: [run]
    entrypoint: [murmur, deploy, run, --set, training.min-nodes={nodes}]
    depends_on: {{register: {{condition: service_completed_successfully}}}}

"""

NODE = """\
  supernode-{i}:
    <<: *part
    command: >-
      flower-supernode --isolation process --superlink superlink:9092
      --root-certificates /credentials/ca.crt --auth-supernode-private-key /credentials/node-{i}.key
      --superexec-auth-secret-file /credentials/superexec.secret
      --host 0.0.0.0 --port 9094 --health-server-address 127.0.0.1:8099
      --node-config '${{NODE_{i}_CONFIG:-partition-id={part} num-partitions={nodes}}}'
    volumes: ["node-{i}-credentials:/credentials:ro", "node-{i}-state:/state"]
    depends_on: {{register: {{condition: service_completed_successfully}}}}
    networks: [fleet, node-{i}]
  clientapp-{i}:
    <<: *part
    mem_limit: ${{CLIENTAPP_MEMORY:-4g}}
{gpu}    command: >-
      murmur deploy clientapp --supernode supernode-{i}:9094 --secret /credentials/superexec.secret
      --approved /credentials/approved --health 127.0.0.1:8099
    volumes:
      - node-{i}-clientapp-credentials:/credentials:ro
      - node-{i}-apps:/state
      - ${{NODE_{i}_DATA:-node-{i}-data}}:/data:ro
      - ${{MODELS:-models}}:/state/models:ro
    # Not "healthy": a SuperNode made anew is refused for up to a minute, and tries again until it is let in
    depends_on: [supernode-{i}]
    networks: [node-{i}]

"""


GPU = """\
    deploy:
      resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}
"""


def compose(nodes: int, gpu: str = "") -> str:
    """The compose file for so many nodes; `gpu` are the lines that give a part the host's GPUs."""
    numbers = range(1, nodes + 1)
    setup = "".join(
        f"      - node-{i}-credentials:/credentials/node-{i}\n"
        f"      - node-{i}-clientapp-credentials:/credentials/clientapp-{i}\n"
        for i in numbers
    )
    text = HEAD.format(nodes=nodes, setup_volumes=setup, gpu=gpu)
    text += "".join(NODE.format(i=i, part=i - 1, nodes=nodes, gpu=gpu) for i in numbers)
    text += "networks:\n  # Runtime and Control API: only the server's own parts\n"
    text += "  backend:\n    internal: true\n"
    text += '    ipam: {config: [{subnet: "${BACKEND:-172.30.91}.0/25"}]}\n'
    text += "  # From the proxy to the SuperLink, and nobody else\n"
    text += "  door:\n    internal: true\n"
    text += '    ipam: {config: [{subnet: "${BACKEND:-172.30.91}.128/25"}]}\n'
    text += "  # gRPC between nodes and proxy\n  fleet: {}\n"
    text += "  # A node's SuperNode and its ClientApp, which has no way out\n"
    text += "".join(f"  node-{i}: {{internal: true}}\n" for i in numbers)
    parts = ("superlink", "proxy", "serverapp", "operator")
    shared = (*(f"{part}-credentials" for part in parts), "superlink-state", "runs", "operator", "models")
    kinds = ("credentials", "clientapp-credentials", "state", "apps", "data")
    own = tuple(f"node-{i}-{kind}" for i in numbers for kind in kinds)
    return text + "\nvolumes:\n" + "".join(f"  {name}: {{}}\n" for name in shared + own)


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--gpu"]
    if len(given) != 1 or not given[0].isdecimal() or int(given[0]) < 1:
        sys.exit("usage: python3 docker/compose.py NODES [--gpu] > docker-compose.yml")
    sys.stdout.write(compose(int(given[0]), GPU if "--gpu" in sys.argv else ""))
