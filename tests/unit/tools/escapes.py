"""Paths that try to leave a root, or to be read as another name by someone else; a `secret` stands outside."""

from __future__ import annotations

UPS = ("..", "../..", "../../..", "a/..", "a/../..", "a/b/../../..", "./..", ".//..", "a/./..", "a/../../a/..")
OUTSIDE = ("secret", "outside/secret", "etc/passwd")
ABSOLUTE = (
    "/secret", "//secret", "///etc/passwd", "/etc/passwd", "/etc/shadow", "/proc/self/environ",
    "/proc/self/root/etc/passwd",
    "/proc/self/cwd/secret", "/proc/self/fd/0", "/proc/self/fd/3", "/proc/1/environ", "/proc/thread-self/root",
    "/dev/fd/0",
    "/dev/fd/3", "/dev/stdin", "/dev/zero", "/dev/mem", "/sys/kernel", "/tmp/../etc/passwd", "/./etc/passwd", "/",
    "/root/.ssh/id_rsa", "~", "~/secret", "~root/.ssh/id_rsa", "~/.aws/credentials", "\\etc\\passwd",
    "\\\\host\\share",
    "\\\\?\\C:\\secret", "//host/share/secret", "C:\\secret", "C:/secret", "c:secret", "file:///etc/passwd",
    "file:secret",
    "a/file.txt:stream", "a/file.txt::$DATA",
)  # fmt: skip
BACKSLASHED = (
    "..\\secret", "..\\..\\secret", "a\\..\\..\\secret", "a/..\\secret", "..\\/secret", "..\\\\secret", "a\\b",
    ".\\secret",
)  # fmt: skip
ENCODED = tuple(
    f"{up}{slash}secret"
    for up in ("%2e%2e", "%2E%2E", ".%2e", "%2e.", "%252e%252e", "%25252e%25252e", "..%00", "%c0%ae%c0%ae", "%e0%80%ae")
    for slash in ("/", "%2f", "%2F", "%5c", "%252f", "%c0%af")
)
LOOK_ALIKES = tuple(
    f"{up}{slash}secret"
    for up in ("..", "\uff0e\uff0e", "\u2024\u2024", "\u2025", "\ufe52\ufe52", ".\uff0e", "\u2026")
    for slash in ("/", "\uff0f", "\u2044", "\u2215", "\u29f8", "\uff3c", "\u2216", "\ufe68")
)
MARKED = tuple(
    f"{before}{mark}{after}"
    for mark in (
        "\0", "\n", "\r", "\t", "\x1b", "\x7f", "\u200b", "\u200d", "\u2060", "\ufeff", "\u202e", "\u2066", "\u00ad",
        "\u00a0", "\u2003", "\u3000", "\u2028", "\u2029", "\ud800", "\udcff", "\U000e0041",
    )
    for before, after in (("..", "/secret"), ("a/", "secret"), ("secret", ".txt"))
)  # fmt: skip
DOTS_AND_SPACES = (
    "...", "....", "... /secret", ".. /secret", " ../secret", "../ secret", ". /secret", " ", "a /file.txt",
    " a/file.txt",
    "a/file.txt ", "a/file.txt.", "a/file.txt. ", "a./file.txt", "a/ file.txt", "a//file.txt", "a/./file.txt",
    "./a/file.txt",
    "a/file.txt/.", "a/file.txt/..", "//a/file.txt", "a/file.txt//", ".../secret", "..../secret",
)  # fmt: skip
LINKED = (
    "link", "link/secret", "linkdir/secret", "linkdir/../secret", "a/uplink/secret", "a/uplink", "absolute", "loop",
    "loop/x",
    "chain", "chain/secret", "dangling", "dangling/x", "selflink/a/file.txt", "proc/self/environ", "proc",
    "fdlink/0", "hard",
    "fifo", "socket", "a/file.txt/x", "linkdir/new.txt", "a/uplink/new.txt", "rootlink/outside/secret",
)  # fmt: skip
CLOSED = (
    ".git/config", ".git/hooks/pre-commit", ".GIT/config", ".Git/config", ".gIt/hooks/post-checkout", "a/.git/config",
    "git~1/config", "GIT~1/config", ".g\u0131t/../.git", "\uff0egit/config", ".\uff47it/config", ".git\u200c/config",
    ".quarterdeck/undo/x.json", ".QUARTERDECK/undo/x.json", ".quarterdeck-abc.tmp", ".Quarterdeck/undo", "CON",
    "con.txt",
    "a/NUL", "aux", "COM1.log", "lpt9", "PRN.md",
)  # fmt: skip
NORMALISED = (
    "a/cafe\u0301.txt",
    "\u212bngstrom",
    "\uff41/file.txt:x",
    "a/\ufb01le.txt:",
    "\u2100/secret:",
)
TOO_MUCH = ("x" * 201, "a/" + "y" * 255, "/".join(["d"] * 17), "\u20ac" * 100, "a/" * 600 + "x")

ESCAPES = tuple(
    dict.fromkeys(
        (
            *(f"{up}/{target}" for up in UPS for target in OUTSIDE),
            *ABSOLUTE, *BACKSLASHED, *ENCODED, *LOOK_ALIKES, *MARKED, *DOTS_AND_SPACES, *LINKED, *CLOSED, *NORMALISED,
            *TOO_MUCH,
        )
    )
)  # fmt: skip

HARMLESS = tuple(path for path in ESCAPES if not path.startswith(("/", "~", "rootlink")))
"""Those to try to change: if the walk were broken, a test must not reach a file of the machine that it runs on."""
