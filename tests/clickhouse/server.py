"""ClickHouse's engine behind as much of its HTTP interface as clickhouse-connect uses: a stand-in for a server.

Run by the Python of an environment that has chdb-core: `server.py FOLDER` prints its port on 127.0.0.1. The engine
(parsing, tables, merges, results) is ClickHouse's own; users, quotas, replication and the server's HTTP are not here.
"""

import gzip
import re
import sys
import tempfile
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

# Parameters of the interface that are no settings of a query.
OWN = {"query", "database", "default_format", "session_id", "query_id", "user", "password", "compress", "decompress"}
# Of the interface, and of what the embedded engine cannot do.
IGNORED = OWN | {
    "client_protocol_version", "send_progress_in_http_headers", "wait_end_of_query", "role", "session_timeout",
    "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close", "buffer_size",
}  # fmt: skip
INSERT = re.compile(r"\s*INSERT INTO\s+(?P<table>\S+)\s*\((?P<columns>[^)]*)\)\s*FORMAT\s+(?P<format>\w+)\s*$", re.S)
lock = Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: else each answer waits for an acknowledgement.
    wbufsize = 1 << 16
    session: Session

    def do_GET(self) -> None:
        self._answer(*self._run(b""))

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self._chunks()
        )
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._answer(*self._run(body))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _run(self, body: bytes) -> tuple[int, bytes, str]:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            whole = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            for part in whole.iter_parts():
                name = part.get_param("name", header="content-disposition")
                parameters[str(name)] = part.get_payload(decode=True).decode()
            body = b""
        sql = parameters.get("query", "")
        insert = INSERT.match(sql)
        if insert is None and (insert := INSERT.match(body.partition(b"\n")[0].decode(errors="replace"))):
            # The statement is the first line, and its data follow.
            body = body.partition(b"\n")[2]
        if insert is None and body:
            sql = f"{sql}\n{body.decode()}" if sql else body.decode()
        values = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
        settings = {n: v for n, v in parameters.items() if n not in IGNORED and not n.startswith("param_")}
        with lock:
            try:
                for name, value in settings.items():
                    self.session.query(f"SET {name} = '{value}'")
                if insert is not None:
                    return 200, self._insert(insert, body), "TabSeparated"
                form = re.search(r"\bFORMAT\s+(\w+)\s*;?\s*$", sql)
                sql = sql[: form.start()] if form else sql
                name = form.group(1) if form else parameters.get("default_format", "TabSeparated")
                return 200, self.session.query(sql, name, params=values).bytes(), name
            except Exception as exc:
                return 500, str(exc).encode(), "TabSeparated"
            finally:
                for name in settings:
                    self.session.query(f"SET {name} = DEFAULT")

    def _insert(self, insert: "re.Match[str]", body: bytes) -> bytes:
        with tempfile.NamedTemporaryFile(suffix=".tsv") as file:
            file.write(body)
            file.flush()
            table, columns, form = insert["table"], insert["columns"], insert["format"]
            bare = table.strip("`").split(".")[-1].strip("`")
            sql = f"SELECT name, type FROM system.columns WHERE table = '{bare}' AND database = currentDatabase()"
            found = self.session.query(sql, "TabSeparatedRaw")
            types = dict(line.split("\t", 1) for line in str(found).splitlines())
            names = [name.strip().strip("`") for name in columns.split(",")]
            shape = ", ".join(f"{name} {types[name]}" for name in names).replace("'", "\\'")
            self.session.query(f"INSERT INTO {table} ({columns}) SELECT * FROM file('{file.name}', {form}, '{shape}')")
        return b""

    def _answer(self, status: int, body: bytes, form: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Format", form)
        self.send_header("X-ClickHouse-Summary", "{}")
        if status != 200:
            code = re.search(rb"Code: (\d+)", body)
            self.send_header("X-ClickHouse-Exception-Code", code.group(1).decode() if code else "1")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Quiet."""


def main() -> None:
    Handler.session = Session(str(Path(sys.argv[1])))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
