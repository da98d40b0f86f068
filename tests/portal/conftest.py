"""A control plane over TLS in this process, and Chromium with a virtual authenticator in front of it."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, sync_playwright

from enclave import pki
from tests.api.conftest import Databases, new_database, postgres  # noqa: F401
from tests.api.world import World, any_ca
from tests.portal.visit import Visit

CHROMIUM = "/usr/bin/chromium"


class PortalWorld(World):
    """As `World`, over HTTPS under the name that passkeys belong to. `spki` is what Chromium is told to trust."""

    def __init__(self, url: str, folder: Path, **settings: object) -> None:
        super().__init__(url, **settings)
        self.url = f"https://localhost:{self.port}"
        self.settings = self.control.settings = self.settings.model_copy(update={"portal_origins": self.url})
        cert, key = pki.issue(any_ca().parent, "control", ["localhost", "127.0.0.1"], folder)
        config = uvicorn.Config(
            self.app, host="127.0.0.1", port=self.port, log_level="warning", timeout_graceful_shutdown=2,
            ssl_certfile=str(cert), ssl_keyfile=str(key),
        )  # fmt: skip
        config.load()
        assert config.ssl is not None
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        public = x509.load_pem_x509_certificate(cert.read_bytes()).public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.spki = base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.fixture(scope="module")
def world(new_database: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalWorld]:  # noqa: F811
    world = PortalWorld.inhabited(new_database, tmp_path_factory.mktemp("pki"), portal_session_code=True)
    yield world
    world.close()


@pytest.fixture(scope="module")
def browser(world: PortalWorld) -> Iterator[Browser]:
    """One Chromium for a module. It trusts the one key of this test's server, and no other bad certificate."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[f"--ignore-certificate-errors-spki-list={world.spki}", "--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visit(world: PortalWorld, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens browsers of their own, each with its own cookies and authenticator, on a phone's screen by default."""
    opened: list[Visit] = []

    def make(**options: object) -> Visit:
        opened.append(Visit(world, browser, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
