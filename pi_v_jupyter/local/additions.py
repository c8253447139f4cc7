"""What the VM image has beyond Debian: our agent, settings, and the certificates this computer trusts."""

from __future__ import annotations

import io
import ssl
import tarfile
from pathlib import Path

NAME_SERVER = "10.0.3.3"  # QEMU's own, in the network that leads out
GUEST = Path(__file__).parent / "guest"
# Hardware, consoles and housekeeping that a VM of a few hours has no use for; each costs boot time.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "systemd-firstboot.service",
    "e2scrub_reap.service",
    "getty-static.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "serial-getty@ttyAMA0.service",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)
FILES = {
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/environment": "LANG=C.UTF-8\n",
    "etc/fstab": "/dev/vda / ext4 rw,noatime 0 0\n",
    "etc/hostname": "vm\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",  # the agent adds the VM's own name
    # Not the VM's own, which the agent writes: without one systemd would take this for a first boot.
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/resolv.conf": f"nameserver {NAME_SERVER}\n",
    "usr/local/lib/pi-v/__main__.py": "from guest.agent import main\n\nmain()\n",
    "etc/systemd/journald.conf.d/pi-v.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n",
}


def write(archive: Path, bundle: str) -> None:
    """Write the additions to the tar file `archive`. `bundle`: the CA certificates Debian has (PEM)."""
    files = {name: (text.encode(), 0o644) for name, text in FILES.items()}
    for module in GUEST.glob("*.py"):
        files[f"usr/local/lib/pi-v/guest/{module.name}"] = (module.read_bytes(), 0o644)
    files["etc/systemd/system/pi-v-agent.service"] = ((GUEST / "pi-v-agent.service").read_bytes(), 0o644)
    files["etc/ssh/sshd_config.d/pi-v.conf"] = ((GUEST / "sshd.conf").read_bytes(), 0o644)
    # Certificates this computer trusts beyond Debian's: a company's proxy, most often.
    extra = [pem for pem in _certificates(_host_bundle()) if pem not in set(_certificates(bundle))]
    if extra:
        files["etc/ssl/certs/ca-certificates.crt"] = ((bundle + "".join(extra)).encode(), 0o644)
        for number, pem in enumerate(extra):
            files[f"usr/local/share/ca-certificates/host-{number:03}.crt"] = (pem.encode(), 0o644)
    links = {f"etc/systemd/system/{unit}": "/dev/null" for unit in MASKED}
    links["etc/systemd/system/sysinit.target.wants/pi-v-agent.service"] = "../pi-v-agent.service"
    links["root/.ssh/environment"] = "/etc/environment"

    with tarfile.open(archive, "w") as tar:
        folder = tarfile.TarInfo("root/.ssh")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        tar.addfile(folder)
        for name, (data, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(member)


def _host_bundle() -> str:
    for file in (
        ssl.get_default_verify_paths().cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/cert.pem",
    ):
        if file and Path(file).is_file():
            return Path(file).read_text(errors="replace")
    return ""


def _certificates(bundle: str) -> list[str]:
    end = "-----END CERTIFICATE-----"
    blocks = (block.partition("-----BEGIN CERTIFICATE-----") for block in bundle.split(end))
    return [f"{begin}{body}{end}\n" for _, begin, body in blocks if begin]
