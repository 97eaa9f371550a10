"""The model servers as child processes: nginx for whole answers, the paced server for streams."""

import os
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Final

from deploy.embedded.component import Component, answers
from deploy.embedded.processes import Child, free_port
from loadtests.bench import installed
from loadtests.bench.answers import ANSWER, HEALTH_PATH, MODEL_INFO, MODEL_INFO_PATH

ROOT: Final = Path(__file__).parents[2]

# `return` answers before a body has arrived, which a proxy may take for an error: of a long one, the mirror reads all
# first, and the static file that is not found makes the answer.
FIXED_ANSWERS: Final = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    default_type application/json;
    location = {info_path} {{ return 200 '{info}'; }}
    location = {health_path} {{ return 200 '"alive"'; }}
    location / {{
      if ($content_length ~ "^\\d{{1,4}}$") {{ return 200 '{answer}'; }}
      root {folder}/none;
      mirror /_body;
      error_page 404 405 =200 @answer;
    }}
    location = /_body {{ internal; return 204; }}
    location @answer {{ return 200 '{answer}'; }}
  }}
"""
SETTINGS: Final = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/bodies;
  proxy_temp_path {folder}/proxied;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {servers}
}}
"""


class NginxServer(Component):
    """One nginx worker with these `server` and `upstream` blocks."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def blocks(self) -> str:
        """What stands in `http`."""

    def launch(self) -> None:
        program = installed.nginx()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "nginx.conf"
        # As root it would change to an account that cannot enter the folder.
        user = "user root;" if os.getuid() == 0 else ""
        settings.write_text(SETTINGS.format(user=user, folder=self.folder, servers=self.blocks()))
        argv = [str(program), "-p", str(self.folder), "-c", str(settings), "-e", str(self.folder / "nginx.log")]
        self.child = Child("nginx", argv, log=self.folder / "nginx.out")

    def is_ready(self) -> bool:
        return answers(f"{self.url}{HEALTH_PATH}")


class FixedAnswers(NginxServer):
    """A model server in C: one JSON answer, for whatever is asked."""

    def blocks(self) -> str:
        return FIXED_ANSWERS.format(
            port=self.port,
            folder=self.folder,
            answer=ANSWER,
            info=MODEL_INFO,
            info_path=MODEL_INFO_PATH,
            health_path=HEALTH_PATH,
        )


class PacedServer(Component):
    """The model server of streams."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        argv = [sys.executable, "-m", "loadtests.bench.paced_server", str(self.port)]
        self.child = Child("The paced model server", argv, log=self.folder / "paced_server.log", cwd=ROOT)

    def is_ready(self) -> bool:
        return answers(f"{self.url}{HEALTH_PATH}")
