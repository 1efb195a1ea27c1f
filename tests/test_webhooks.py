"""Webhooks are signed as Standard Webhooks has it, and sent once, to nobody else, with an end to the waiting."""
import asyncio
import ssl
import subprocess
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from aioapp.webhooks import sender, signature
from tests.receivers import KEY, SECRET, broken, receiver, silent, taken
from tests.upstreams import Connection, Flood


@pytest.mark.parametrize("body", [b"{}", '{"a":"wörld . ☃"}'.encode(), b"1.2"])
def test_a_signature_is_the_one_that_the_reference_makes(body: bytes) -> None:
    at = time.time()
    headers = signature.headers_of(body, id="msg_1", at=at, secret=KEY)
    moment = datetime.fromtimestamp(at, UTC)
    assert headers["webhook-signature"] == Webhook(SECRET).sign("msg_1", moment, body.decode())
    Webhook(SECRET).verify(body, dict(headers))


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_is_read_as_it_is_handed_out(size: int) -> None:
    assert signature.secret_of("whsec_" + b64encode(bytes(size)).decode()) == bytes(size)


@pytest.mark.parametrize("text", [
    "", "whsec_", "A" * 32, "whsec_" + "A" * 28, "whsec_" + "A" * 92, "whsec_é" + "A" * 31])
def test_what_is_no_secret_is_told_without_its_text(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        signature.secret_of(text)
    assert "24 to 64 bytes" in str(raised.value) and "AAAA" not in str(raised.value)


async def test_what_a_receiver_takes_is_sent_once_under_its_id() -> None:
    async with receiver() as to, sender.open_sender(to.url, secret=KEY) as send:
        assert await send("msg_1", b'{"type":"t","timestamp":"now","data":{}}') is None
        assert to.messages == [{"id": "msg_1", "type": "t", "timestamp": "now", "data": {}}]


async def test_a_redirect_is_not_followed() -> None:
    async with receiver() as other:
        async def elsewhere(connection: Connection) -> None:
            await connection.answer(307, b"", Location=other.url)

        async with receiver(elsewhere) as to, sender.open_sender(to.url, secret=KEY) as send:
            assert await send("msg_1", b"{}") == "it answered with status 307"
            assert other.server.seen == []


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    flood = Flood()
    async with receiver(flood) as to, sender.open_sender(to.url, secret=KEY) as send:
        assert await send("msg_1", b"{}") is None
        await asyncio.wait_for(to.server.seen[0].gone.wait(), 5)
    assert flood.sent < 2**23


async def test_who_does_not_answer_in_time_or_at_all_is_told_of_without_the_url() -> None:
    async with receiver(broken, silent, taken) as to:
        async with sender.open_sender(f"{to.url}?token=canary", secret=KEY, timeout=0.05) as send:
            assert await send("msg_1", b"{}") == "it answered with status 500"
            assert await send("msg_1", b"{}") == "it cannot be reached: TimeoutError"
    async with sender.open_sender(f"{to.url}?token=canary", secret=KEY) as send:
        why = await send("msg_1", b"{}")
    assert why is not None and why.startswith("it cannot be reached: Client") and "canary" not in why


async def test_a_receiver_whose_certificate_nobody_vouches_for_is_sent_nothing(tmp_path: Path) -> None:
    signed, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", signed],
        check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(signed, key)
    async with receiver() as to:
        server = await asyncio.start_server(to.server.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/hooks"
        async with sender.open_sender(url, secret=KEY) as send:
            assert await send("msg_1", b"{}") == "it cannot be reached: ClientConnectorCertificateError"
        server.close()
        assert to.server.seen == []
