"""What Windows alone has: its version, the Winsock catalog, ports that are kept back, the firewall.

Source: ``WSAEnumProtocolsW`` and ``WSAPROTOCOL_INFOW``, "netsh interface ipv4 show excludedportrange" and "Windows
Firewall" in Microsoft's documentation. Of these Wine has the catalog alone.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from typing import Any, Final

from proactor_echo.cli.doctor.rows import Row, Verdict

__all__ = ["catalog_row", "excluded_ports", "firewall", "layered_providers", "windows_rows"]

#: Windows 10 1709: the first whose TCP has its keepalive times as socket options.
BUILD_1709: Final = 16299
#: The size of WSAPROTOCOL_INFOW, and where in it the length of the chain and the name are.
_ENTRY: Final = 628
_CHAIN: Final = 40
_NAME: Final = 116

_PROFILES: Final = {"DomainProfile": "domain", "StandardProfile": "private", "PublicProfile": "public"}


def windows_rows() -> list[Row]:
    """Look at this Windows; nothing elsewhere."""
    if sys.platform == "win32":
        return [version(), catalog(), kept_ports(), firewall(_firewall_profiles())]
    return []


if sys.platform == "win32":

    def version() -> Row:
        """Say which Windows it is."""
        found = sys.getwindowsversion()
        wine = _wine()
        facts = {"version": [found.major, found.minor, found.build], "wine": wine}
        text = f"Windows {found.major}.{found.minor}, build {found.build}"
        if wine is not None:
            return Row("Windows", Verdict.NOTE, f"Wine {wine}, which answers as {text}", facts)
        if found.build < BUILD_1709:
            detail = f"{text}: older than 10 1709, so that keepalive always sends 10 probes"
            return Row("Windows", Verdict.NOTE, detail, facts)
        return Row("Windows", Verdict.OK, text, facts)

    def _wine() -> str | None:
        tell = getattr(ctypes.WinDLL("ntdll"), "wine_get_version", None)
        if tell is None:
            return None
        tell.restype = ctypes.c_char_p
        return str(tell().decode())

    def catalog() -> Row:
        """Say what lies between a program and Windows' own TCP."""
        winsock = ctypes.WinDLL("ws2_32")
        size = ctypes.c_uint32()
        winsock.WSAEnumProtocolsW(None, None, ctypes.byref(size))  # says how much it wants
        buffer = ctypes.create_string_buffer(size.value)
        count = winsock.WSAEnumProtocolsW(None, buffer, ctypes.byref(size))
        if count < 0:
            return Row("Winsock catalog", Verdict.NOTE, "cannot be read", {"layered": None})
        return catalog_row(layered_providers(buffer.raw, count), count)

    def kept_ports() -> Row:
        """Say which ports nobody may bind."""
        command = ["netsh", "interface", "ipv4", "show", "excludedportrange", "protocol=tcp"]
        try:
            ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return Row("excluded ports", Verdict.NOTE, "netsh could not be asked for them", {"ranges": None})
        text = ended.stdout.decode("ascii", "replace")
        return excluded_ports(text if ended.returncode == 0 else "")

    def _firewall_profiles() -> dict[str, bool]:
        import winreg

        root = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy"
        found = {}
        for key, name in _PROFILES.items():
            try:
                with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{root}\{key}") as profile:
                    found[name] = bool(winreg.QueryValueEx(profile, "EnableFirewall")[0])
            except OSError:
                continue
        return found


def layered_providers(entries: bytes, count: int) -> list[str]:
    """Return the names of the providers that are layered over others, of ``WSAPROTOCOL_INFOW`` structures."""
    found = []
    for start in range(0, count * _ENTRY, _ENTRY):
        entry = entries[start : start + _ENTRY]
        # 0 is a layer by itself, 1 is a base provider, more is a chain through layers.
        if int.from_bytes(entry[_CHAIN : _CHAIN + 4], "little") != 1:
            found.append(entry[_NAME:].decode("utf-16-le", "replace").partition("\0")[0])
    return found


def catalog_row(layered: list[str], count: int) -> Row:
    """Say whether other programs' layers are between a socket and Windows."""
    facts: dict[str, Any] = {"providers": count, "layered": layered}
    if layered:
        detail = f"other programs are between sockets and Windows, and may fail or slow them: {', '.join(layered)}"
        return Row("Winsock catalog", Verdict.BAD, detail, facts)
    return Row("Winsock catalog", Verdict.OK, f"{count} providers, none of them layered over another", facts)


def excluded_ports(listing: str) -> Row:
    """Read what netsh prints: lines of a first and a last port, in any language."""
    ranges = [(int(first), int(last)) for first, last in re.findall(r"^\s+(\d+)\s+(\d+)", listing, re.MULTILINE)]
    facts: dict[str, Any] = {"ranges": ranges}
    if not ranges:
        return Row("excluded ports", Verdict.OK, "none is listed", facts)
    listed = ", ".join(f"{first} to {last}" if first != last else f"{first}" for first, last in ranges[:6])
    more = f" and {len(ranges) - 6} more ranges" if len(ranges) > 6 else ""
    detail = f"{listed}{more}: Windows keeps them back (Hyper-V, for one), and binding one fails with 10013"
    return Row("excluded ports", Verdict.NOTE, detail, facts)


def firewall(profiles: dict[str, bool]) -> Row:
    """Say on which kinds of networks the firewall is on."""
    facts: dict[str, Any] = {"profiles": profiles}
    on = [name for name, enabled in profiles.items() if enabled]
    if not profiles:
        return Row("firewall", Verdict.OK, "there is none that its settings tell of", facts)
    if not on:
        return Row("firewall", Verdict.OK, "is off", facts)
    rule = f'netsh advfirewall firewall add rule name="proactor-echo" dir=in action=allow program="{sys.executable}"'
    detail = f"is on for {', '.join(on)} networks: other machines reach a server only after this was allowed: {rule}"
    return Row("firewall", Verdict.NOTE, detail, facts)
