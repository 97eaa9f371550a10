"""`python -m deploy.embedded [--check] [--sample]`: the whole of LiteMaaS on this machine. `make demo` calls it."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from deploy.embedded import sample_month
from deploy.embedded.demo import ADMIN, MODEL, USER, Demo
from deploy.embedded.processes import NotStarted, free_port, is_free
from deploy.embedded.programs import LITEMAAS, ROOT
from deploy.embedded.round_trip import check_refusal, stream_one, usage_row
from deploy.embedded.state import claimed, write_state

GATEWAY_PORT = ("LITEMAAS_DEMO_GATEWAY_PORT", 8080)
ADMIN_PORT = ("LITEMAAS_DEMO_ADMIN_PORT", 8081)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m deploy.embedded", description=__doc__)
    options.add_argument(
        "--check", action="store_true", help="make one round trip and stop; the exit code is the result"
    )
    options.add_argument("--sample", action="store_true", help="with a month of made-up calls of several teams")
    chosen = options.parse_args()
    for number in STOPPING:
        signal.signal(number, signal.default_int_handler)
    try:
        run(check=chosen.check, sample=chosen.sample)
    except NotStarted as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped before it was ready.", file=sys.stderr)
        return 1
    return 0


def run(*, check: bool, sample: bool = False) -> None:
    """Start, show, serve or check, stop. Raise NotStarted if anything fails."""
    if not LITEMAAS.exists():
        raise NotStarted(f"{LITEMAAS} is missing: `make demo` installs it.")
    folder = Path(os.environ.get("LITEMAAS_DEMO_DIR") or ROOT / ".demo").absolute()
    with claimed(folder):
        demo = Demo(folder, _port(*GATEWAY_PORT, any_free=check), _port(*ADMIN_PORT, any_free=check))
        try:
            demo.start()
            if sample:
                sample_month.fill(demo)
            stream_one(demo)
            print(f"Its row in the ledger:\n{json.dumps(usage_row(demo, demo.key['id']), indent=2)}")
            write_state(folder, demo.state())
            if check:
                print(f"A key with one call a minute, on its second: {check_refusal(demo)}")
            else:
                _serve(demo)
        finally:
            _stop(demo)
    if check:
        print("\nThe round trip went well, and everything is stopped.")


def _serve(demo: Demo) -> None:
    """Serve until Ctrl-C or SIGTERM. Raise NotStarted if a component ends by itself, or LiteLLM does not start with its
    edited configuration."""
    _print_welcome(demo)
    try:
        while True:
            demo.check_alive()
            if demo.restart_edited_litellm():
                write_state(demo.folder, demo.state())
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nStopping ...", flush=True)


def _print_welcome(demo: Demo) -> None:
    key, url = demo.key["key"], demo.gateway.url
    data = '{"model": "demo-chat", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
    people = f"log in as {ADMIN}, {USER} or anybody; no passwords: this provider is the demo's own"
    print(f"""
  Portal       {demo.admin.url}/
               {people if demo.identity_provider else "no logins: oidc-provider-mock is not installed"}
  Playground   {demo.admin.url}/playground?model={MODEL}
               as {USER}, who is subscribed to it
  Gateway      {url}/v1
  Admin API    {demo.admin.url}/docs
  Admin token  {demo.admin_token}
  API key      {key}
  LiteLLM      {demo.litellm.url}, by {demo.litellm.config}
  Metrics      {demo.gateway.metrics_url} of the gateway, {demo.admin.metrics_url} of the admin API
  Logs         {demo.folder}

curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{data}'

Serving until Ctrl-C.""", flush=True)  # fmt: skip


def _stop(demo: Demo) -> None:
    # A second Ctrl-C must not leave some components running.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    demo.stop()


def _port(variable: str, usual: int, *, any_free: bool) -> int:
    if any_free:
        return free_port()
    wanted = os.environ.get(variable) or str(usual)
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise NotStarted(f"{variable} is {wanted!r}, which is not a port.")
    if not is_free(int(wanted)):
        raise NotStarted(f"Port {wanted} is taken: name another, as in {variable}={free_port()} make demo.")
    return int(wanted)


if __name__ == "__main__":
    sys.exit(main())
