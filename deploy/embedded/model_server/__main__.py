"""`python -m deploy.embedded.model_server --port N`: the model server alone, on loopback."""

import argparse

import uvicorn

from deploy.embedded.model_server.app import create_app
from deploy.embedded.model_server.plan import Pace


def main() -> None:
    usual = Pace()
    options = argparse.ArgumentParser(prog="python -m deploy.embedded.model_server")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--delay", type=float, default=usual.first_token_s, help="seconds")
    options.add_argument("--rate", type=float, default=usual.tokens_per_s, help="tokens a second")
    chosen = options.parse_args()
    app = create_app(Pace(chosen.delay, chosen.rate))
    # Only severe errors: the server logs a truncated response as an error. Connections are kept for longer than
    # LiteLLM keeps them (120 s): otherwise it sometimes sends into one that was just closed.
    uvicorn.run(app, host=chosen.host, port=chosen.port, log_level="critical", access_log=False,
                timeout_keep_alive=180, timeout_graceful_shutdown=1)  # fmt: skip


if __name__ == "__main__":
    main()
