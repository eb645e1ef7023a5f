"""A certificate authority of the lab's own, so that every client verifies the API server as in production."""

import subprocess
from pathlib import Path

from lab.console import LabError

_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {common_name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def create(folder: Path, addresses: list[str], names: list[str]) -> None:
    """Write ca.crt, server.crt/.key and the service accounts' signing key sa.key; kept when already there."""
    if (folder / "server.crt").exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    alternatives = ",".join([*(f"IP:{address}" for address in addresses), *(f"DNS:{name}" for name in names)])
    _request(folder, "ca", "virtualserver-lab", alternatives, "-extensions", "authority")
    signed = ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"), "-extensions", "server"]
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(folder / "sa.key"))
    _openssl("pkey", "-in", str(folder / "sa.key"), "-pubout", "-out", str(folder / "sa.pub"))
    _request(folder, "server", "kube-apiserver", alternatives, *signed)


def _request(folder: Path, name: str, common_name: str, names: str, *options: str) -> None:
    config = folder / f"{name}.cnf"
    config.write_text(_CONFIG.format(common_name=common_name, names=names))
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / f"{name}.key")]
    files = ["-config", str(config), "-out", str(folder / f"{name}.crt")]
    _openssl("req", "-x509", "-days", "3650", *key, *files, *options)


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise LabError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-300:]}")
