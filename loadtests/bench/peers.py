"""The proxies of others, each as its own documentation runs it, with one worker."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.embedded import litellm_venv
from deploy.embedded.component import Component, answers
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.processes import Child, bare_environment, free_port
from loadtests.bench import installed
from loadtests.bench.answers import HEALTH_PATH
from loadtests.bench.model_servers import NginxServer
from loadtests.bench.targets import Target

LIMITED_KEYS: Final = Path(__file__).parents[1] / "litellm_limits" / "limited_keys.py"
HUGE: Final = 2_000_000_000
# Half of what a 32-bit number holds, at every second: the limit is checked and never reached.
ENVOY_TOKENS: Final = 2_000_000_000
MANY: Final = 1_000_000

NGINX_BLOCKS: Final = """
  upstream model_server {{ server {address}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://model_server;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
"""


class Peer:
    """A component in front of whatever model server it is launched with."""

    def __init__(self, name: str, version: Callable[[], str], make: Callable[[str], tuple[Component, Target]]) -> None:
        self.name = name
        self.version = version
        self._make = make
        self._component: Component | None = None
        self._target: Target | None = None

    def launch(self, model_server_url: str) -> None:
        self._component, self._target = self._make(model_server_url)
        self._component.launch()

    def wait(self) -> None:
        if self._component is None:
            raise RuntimeError("launch() comes before wait()")
        self._component.wait()

    def targets(self) -> Sequence[Target]:
        if self._component is None or self._target is None:
            raise RuntimeError("launch() comes before targets()")
        return [Target(self.name, self._target.url, self._target.headers, self._component.pid)]

    def stop(self) -> None:
        if self._component is not None:
            self._component.discard()


class NginxProxy(NginxServer):
    """`proxy_pass` with connections that are kept."""

    def __init__(self, folder: Path, model_server_url: str) -> None:
        super().__init__(folder)
        self._address = model_server_url.removeprefix("http://")

    def blocks(self) -> str:
        return NGINX_BLOCKS.format(address=self._address, port=self.port)


class Envoy(Component):
    """One thread, with its local rate limit."""

    def __init__(self, folder: Path, model_server_url: str) -> None:
        self.folder = folder.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        host, _, port = model_server_url.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))

    def launch(self) -> None:
        program = installed.envoy()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "envoy.json"
        settings.write_text(json.dumps(envoy_settings(self.port, self._upstream)))
        argv = [str(program), "-c", str(settings), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
        self.child = Child("Envoy", argv, log=self.folder / "envoy.log", env=bare_environment(self.folder))

    def is_ready(self) -> bool:
        return answers(f"{self.url}{HEALTH_PATH}")


def envoy_settings(port: int, upstream: tuple[str, int]) -> dict[str, Any]:
    """A listener with the local rate limit, and a cluster without the usual bound of 1,024 requests."""
    limit = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": ENVOY_TOKENS, "tokens_per_fill": ENVOY_TOKENS, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager_type = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "model_server", "timeout": "0s"}}
    manager = {
        "@type": f"type.googleapis.com/{manager_type}",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.local_ratelimit", "typed_config": limit},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    connection_manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    endpoint = {"endpoint": {"address": _address(*upstream)}}
    bounds = {"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY, "max_retries": 3}
    cluster = {
        "name": "model_server",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [bounds]},
        "load_assignment": {"cluster_name": "model_server", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {
        "name": "bench",
        "address": _address("127.0.0.1", port),
        "filter_chains": [{"filters": [connection_manager]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


class Portkey(Component):
    """Portkey's gateway on Node; it has no keys and no limits without their service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        node, script = installed.portkey()
        env = bare_environment(self.folder) | {"NODE_ENV": "production"}
        argv = [str(node), str(script), f"--port={self.port}", "--headless"]
        self.child = Child("Portkey's gateway", argv, log=self.folder / "portkey.log", env=env)

    def is_ready(self) -> bool:
        return answers(self.url)


def portkey_headers(model_server_url: str) -> Mapping[str, str]:
    """They say where a call goes."""
    return {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{model_server_url}/v1",
        "authorization": "Bearer not-checked",
    }


def all_peers(folder: Path) -> dict[str, Peer]:
    """By their names in tables; each is installed when it is launched first."""

    def nginx(url: str) -> tuple[Component, Target]:
        proxy = NginxProxy(folder / "nginx", url)
        return proxy, Target("", proxy.url)

    def envoy(url: str) -> tuple[Component, Target]:
        proxy = Envoy(folder / "envoy", url)
        return proxy, Target("", proxy.url)

    def portkey(url: str) -> tuple[Component, Target]:
        proxy = Portkey(folder / "portkey")
        return proxy, Target("", proxy.url, portkey_headers(url))

    def litellm(url: str) -> tuple[Component, Target]:
        proxy = LiteLLM(folder / "litellm", url, custom_auth=LIMITED_KEYS)
        return proxy, Target("", proxy.url, {"authorization": f"Bearer sk-tpm-{HUGE}-bench"})

    def envoy_version() -> str:
        return installed.version([str(installed.envoy()), "--version"]).rpartition("version: ")[2].split("/")[1]

    def portkey_version() -> str:
        script = installed.portkey()[1]
        return str(json.loads((script.parents[1] / "package.json").read_text())["version"])

    def litellm_version() -> str:
        python = litellm_venv.install(folder / "litellm-install.log")
        program = "import importlib.metadata as m; print(m.version('litellm'))"
        return installed.version([str(python), "-c", program])

    def nginx_version() -> str:
        return installed.version([str(installed.nginx()), "-v"]).rpartition("/")[2]

    peers = (
        Peer("nginx", nginx_version, nginx),
        Peer("Envoy", envoy_version, envoy),
        Peer("Portkey", portkey_version, portkey),
        Peer("LiteLLM", litellm_version, litellm),
    )
    return {peer.name: peer for peer in peers}
