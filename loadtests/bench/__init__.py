"""The same load through nothing, nginx, Envoy, Portkey's gateway, LiteLLM's proxy and our gateway: `make bench`.

`__main__` reads the options, `plan` says what a run measures, `stages` measures it, `results` keeps it, `tables` and
`charts` show it, `page` puts it into docs/performance.md. Everything runs on loopback: the proxy on one core, client,
model server, Postgres and Redis on another one.
"""
