"""A stand-in for clef: it answers `account_list` and `account_signTransaction` at a socket, and asks nobody."""

from __future__ import annotations

import json
import socketserver
import threading
from pathlib import Path


class Clef:
    """One account. `willing` says whether its user agrees; `signed` counts how often."""

    def __init__(self, path: Path, account) -> None:
        self.path, self.account, self.willing, self.signed = path, account, True, 0
        clef = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                text = b""
                while part := self.request.recv(65_536):
                    text += part
                    try:
                        question = json.loads(text)
                    except ValueError:
                        continue  # not all of it yet
                    text = b""
                    answer = {"jsonrpc": "2.0", "id": question["id"], **clef.answer(question)}
                    self.request.sendall(json.dumps(answer).encode() + b"\n")

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Clef:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, question: dict) -> dict:
        if question["method"] == "account_list":
            return {"result": [self.account.address]}
        if question["method"] != "account_signTransaction":
            return {"error": {"code": -32601, "message": "the method does not exist"}}
        if not self.willing:
            return {"error": {"code": -32000, "message": "Request denied"}}
        (transaction,) = question["params"]
        assert transaction.pop("from") == self.account.address
        self.signed += 1
        signed = self.account.sign_transaction(transaction)
        return {"result": {"raw": "0x" + bytes(signed.raw_transaction).hex(), "tx": {}}}
