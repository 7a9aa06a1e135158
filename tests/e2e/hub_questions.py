"""Asks a daemon through the newest `huggingface_hub`, in a process of its own; prints JSON.

`python hub_questions.py SOCKET`, with that library on PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx2
import huggingface_hub as hub

URL = "http://intentd"


def connect(socket: str) -> None:
    """Send requests for one host name to the socket; downloads from the Hub still work."""
    hub.set_client_factory(
        lambda: httpx2.Client(mounts={URL: httpx2.HTTPTransport(uds=socket)}, timeout=30)
    )
    hub.set_async_client_factory(
        lambda: httpx2.AsyncClient(mounts={URL: httpx2.AsyncHTTPTransport(uds=socket)}, timeout=30)
    )


def ask(token: str) -> dict[str, Any]:
    """Every question that the tests compare."""
    client = hub.InferenceClient(model=f"{URL}/", token=token)
    named = hub.InferenceClient(model=f"{URL}/models/org/name", token=token)
    zero_shot = client.zero_shot_classification("play some jazz", ["music", "the weather"])
    return {
        "version": hub.__version__,
        "zero_shot": [dict(element) for element in zero_shot],
        "text": [dict(element) for element in client.text_classification("sum this up")],
        "named": [dict(element) for element in named.text_classification("sum this up")],
        "top_1": [dict(e) for e in client.text_classification("sum this up", top_k=1)],
        "async": asyncio.run(ask_async(token)),
        "error": find_error(client),
    }


async def ask_async(token: str) -> list[dict[str, Any]]:
    """The same through the asynchronous client."""
    async with hub.AsyncInferenceClient(model=f"{URL}/", token=token) as client:
        elements = await client.zero_shot_classification("play some jazz", ["music", "the weather"])
        return [dict(element) for element in elements]


def find_error(client: Any) -> str:
    """What the client says of a request that is refused."""
    try:
        client.text_classification(" ")
    except hub.errors.HfHubHTTPError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    connect(sys.argv[1])
    sys.stdout.write(json.dumps(ask(sys.argv[2])))
