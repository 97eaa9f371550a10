"""What the JDK's client sends over http://: it offers HTTP/2 by an upgrade, in the head of every request."""

import asyncio
import json
from pathlib import Path

from clients.catalogue import BY_NAME
from clients.programs import Program
from clients.recording import FOLDER
from clients.tasks import Task

FILE = FOLDER / "jdk.json"
KEY = "sk-recorded"
HOST = "gateway.example"


async def record_jdk(home: Path) -> int:
    """The number of requests of one chat call; head and body are kept in FILE."""
    client = BY_NAME["jdk"]
    requests: list[tuple[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = await reader.readexactly(int(head.lower().partition("content-length:")[2].split()[0]))
        requests.append((head, body.decode()))
        writer.write(
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 38\r\n\r\n" + b'{"error":{"code":"none","message":""}}'
        )
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        program = await Program(client, home).start()
        await program.do(Task(name="plain", url=f"http://{address}", key=KEY, model="demo-chat", max_tokens=16))
        await program.stop()
    ((head, body),) = requests
    kept = {"head": head.replace(address, HOST).replace(KEY, "(secret)"), "body": body}
    FILE.write_text(
        json.dumps({"client": "java.net.http.HttpClient", "version": client.version} | kept, indent=1) + "\n"
    )
    return len(requests)
