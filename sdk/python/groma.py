"""The Groma SDK for experiments in Python: one file, standard library only, Python 3.11 or later, Linux.

Copy this file beside your server. The manifest describes the experiment; `groma up --experiment DIR` describes the
installation by environment variables: GROMA_MANIFEST, GROMA_DATADIR, GROMA_UUID_PREFIX_FILE, GROMA_EVENT_SOCKET,
GROMA_POLICY_VERSION, GROMA_REQUIRE_POLICY, GROMA_MAX_TESTS, GROMA_ADMIN_ADDRESS, GROMA_LISTEN and one GROMA_PORT_<NAME>
per port. A port named `policy` shows the policy of the server at `/.well-known/groma/experiment.json`.

A server admits each test, names its connection, and finishes it with a result; sdk/python/README.md has an example.
"""

import bisect
import contextlib
import ctypes
import datetime
import errno
import fcntl
import functools
import json
import logging
import os
import re
import select
import socket
import stat
import sys
import threading
import time
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

log = logging.getLogger("groma")

INVALID_UUID = "INVALID_UUID"

_NAME = re.compile(r"[a-z][a-z0-9]{0,63}", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9:._-]{1,255}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,180}", re.ASCII)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SO_COOKIE = 57  # asm-generic/socket.h


class Error(Exception):
    """The experiment cannot start, or a result cannot be written; the text names the file or the field."""


class Refused(Exception):
    """A test is not admitted. `reason` is one of `Refused.REASONS`."""

    REASONS = {"draining": "the server has stopped", "busy": "the most tests that are allowed are running",
               "policy": "the policy_version of this server was not sent as accepted",
               "disk_full": "the disk is full", "spool_failed": "results cannot be written into the spool"}

    def __init__(self, reason):
        super().__init__(self.REASONS[reason])
        self.reason = reason
        # After 503, M-Lab's clients try the next server.
        self.http_status = 403 if reason == "policy" else 503


def read_prefix(path):
    """Returns the UUID prefix in a file. A prefix of an earlier boot is an error, because UUIDs would repeat."""
    path = Path(path)
    try:
        prefix = path.read_text().rstrip()
        beside = path.with_name(path.name + ".boot_id")
        made_in = beside.read_text().strip() if beside.exists() else None
    except OSError as error:
        raise Error(f"cannot read UUID prefix file {path}: {error.strerror}") from error
    if not _PREFIX.fullmatch(prefix) or prefix.startswith(".") or ".." in prefix:
        raise Error(f"UUID prefix file {path} holds {prefix[:64]!r}, which is not <name>_<boot time>")
    if made_in and made_in != Path("/proc/sys/kernel/random/boot_id").read_text().strip():
        raise Error(f"UUID prefix file {path} was made before this machine booted; create it again at every boot")
    return prefix


def uuid_of(prefix, sock):
    """Returns the UUID of a TCP socket or a connected UDP socket: the prefix and the kernel's socket cookie."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
    except OSError as error:
        log.error("cannot read the socket cookie: %s; nothing can be joined to this test", error)
        return INVALID_UUID
    return uuid_from_cookie(prefix, int.from_bytes(raw, sys.byteorder))


def uuid_from_cookie(prefix, cookie):
    """Returns `<prefix>_<16 upper-case hex digits of the cookie>`."""
    return f"{prefix}_{cookie:016X}"


def connected_udp(listener, peer):
    """Returns a UDP socket at the address of `listener` that gets the datagrams of `peer` only.

    The new socket has a cookie of its own, so each test has a UUID. `listener` needs SO_REUSEADDR. Datagrams of other
    peers that arrive before the connect stay in the new socket: read it with `recvfrom` and skip other addresses.
    """
    sock = socket.socket(listener.family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            only_v6 = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        sock.bind(listener.getsockname())
        sock.connect(peer)
    except OSError:
        sock.close()
        raise
    return sock


class Manifest:
    """The parts of a manifest that an experiment needs while it runs."""

    def __init__(self, path):
        path = Path(path)
        try:
            manifest = tomllib.loads(path.read_text())
            self.name = _name(manifest["name"], "name")
            self.results = list(manifest["results"])
            consent = manifest["consent"]
            self.own_policy = self.policy_version = str(consent["policy_version"])
            self.schemas = {}
            for datatype in manifest["datatype"]:
                self.schemas[_name(datatype["name"], "datatype")] = (path.parent / datatype["schema"]).read_text()
            self.rules = {
                rule["key"]: (int(rule["max_length"]), re.compile(rule["pattern"], re.ASCII))
                for rule in manifest.get("client_metadata", [])
            }
        except KeyError as error:
            raise Error(f"manifest {path} has no {error.args[0]}; run `groma manifest check {path}`") from error
        except (OSError, ValueError, re.error) as error:
            raise Error(f"cannot read manifest {path}: {error}; run `groma manifest check {path}`") from error
        if "access_token" in self.rules:
            raise Error(f"manifest {path}: client metadata must not allow access_token")

    def accepts(self, version):
        """Whether a client that sends this version accepted at least the policy of this server."""
        def tags(text):
            rest = text.removeprefix(self.own_policy)
            return None if rest == text or (rest and rest[0] != "-") else rest.split("-")[1:]
        sent, wanted = tags(version), tags(self.policy_version)
        return sent is not None and "" not in sent and set(wanted or ()) <= set(sent)

    def client_metadata(self, query, dropped):
        """Returns the allowed pairs as `[{"Name": …, "Value": …}]`; calls `dropped(reason)` for each other one."""
        kept = {}
        for key, value in query:
            if key in ("access_token", "policy_version"):
                continue
            longest, pattern = self.rules.get(key, (0, None))
            # JSON can hold lone surrogates, which are not text.
            if len(key.encode(errors="replace")) > 64:
                dropped("length")
            elif key.startswith("server_") or not pattern:
                dropped("key")
            elif len(value.encode(errors="replace")) > longest:
                dropped("length")
            elif not pattern.fullmatch(value) or value.encode(errors="replace").decode() != value:
                dropped("value")
            elif key in kept:
                dropped("duplicate")
            elif len(kept) == 32:
                dropped("count")
            else:
                kept[key] = value
        return [{"Name": key, "Value": value} for key, value in kept.items()]


def _name(text, field):
    if not _NAME.fullmatch(str(text)):
        raise ValueError(f"{field}: {text!r} is not a lower-case letter followed by lower-case letters and digits")
    return text


class Spool:
    """The directory of one experiment: each file in it is complete and durable, or not there."""

    ROOM_BYTES, STOP_SECONDS = 256 * 1024, 90

    def __init__(self, directory, datatypes):
        self.dir, self.datatypes, self.fault = Path(directory), list(datatypes), None
        self._made, self._own_volume = set(), set()
        self._lock, self._serial = threading.Lock(), 0
        try:
            for datatype in self.datatypes:
                self._probe(datatype)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.broken(error)  # start without admission, until there is room

    def refusal(self):
        """Returns the reason to admit no test, or None."""
        if self.fault:
            return self.fault
        with contextlib.suppress(OSError):
            renewed = os.lstat(self.dir / ".admission-stopped").st_mtime
            if abs(time.time() - renewed) <= self.STOP_SECONDS:
                return "disk_full"
        return None

    def reserve(self, size=None):
        """Takes blocks and an inode for one result on each volume. Returns the reservations by directory."""
        rooms = {}
        try:
            for datatype, temporary in ((datatype, self._temporary(datatype)) for datatype in self.datatypes):
                # A test that begins before midnight may be filed under the next date.
                for seconds in (0, 3600):
                    date = time.strftime("%Y/%m/%d", time.gmtime(time.time() + seconds))
                    self._create_dirs(self.dir / datatype / date)
                if temporary not in rooms:
                    rooms[temporary] = _Unnamed(self, temporary)
                    os.posix_fallocate(rooms[temporary].fd, 0, size or self.ROOM_BYTES)
        except OSError as error:
            for room in rooms.values():
                room.discard()
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise Refused("busy") from error
            self.broken(error)
            raise Refused(self.fault) from error
        return rooms

    def write(self, rooms, datatype, date, name, body):
        """Writes a result into its reservation and gives it its name, durably. Returns the path."""
        if not _FILE_NAME.fullmatch(name) or name.startswith(".") or ".." in name:
            raise Error(f"cannot write result {name!r}: only A-Z a-z 0-9 : . _ -, no leading dot, no two dots in a row")
        if not 1970 <= date.year <= 2099:
            raise Error(f"cannot write result {name!r} under {date}: the year must be 1970 to 2099")
        folder, temporary = self.dir / datatype / date.strftime("%Y/%m/%d"), self._temporary(datatype)
        waits = [0.1, 0.2, 0.4, 0.8, 1.6]
        while True:
            try:
                if temporary not in rooms:
                    rooms[temporary] = _Unnamed(self, temporary)
                self._create_dirs(folder)
                return rooms[temporary].commit(folder / name, body)
            except FileExistsError:
                raise Error(f"cannot write result {folder / name}: the name is taken") from None
            except OSError as error:
                if error.errno in (*_FULL, errno.EMFILE, errno.ENFILE) and waits:
                    time.sleep(waits.pop(0))
                    continue
                self.broken(error)
                raise Error(f"cannot write result {folder / name}: {error.strerror}") from error

    def clear_abandoned(self):
        """Removes files that dead writers left unfinished; a living writer holds a lock on its own."""
        for temporary in {self._temporary(datatype) for datatype in self.datatypes}:
            for entry in os.scandir(temporary):
                if entry.name == ".rename-lock" or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)

    def write_schemas(self, schemas):
        """Writes `<spool>/datatypes/<datatype>.json` where it is missing or differs."""
        folder = self.dir.parent / "datatypes"
        self._create_dirs(folder, self.dir.parent)
        for datatype, text in schemas.items():
            path = folder / f"{datatype}.json"
            if path.exists() and path.read_text() == text:
                continue
            room = _Unnamed(self, folder)
            room.write(text.encode())
            os.replace(room.path, path)
            room.discard()
            _sync_dir(folder)

    def broken(self, error):
        """Stops admission until a probe write succeeds."""
        with self._lock:
            new = self.fault is None
            self.fault = "disk_full" if error.errno in _FULL else "spool_failed"
        if new:
            log.error("results cannot be written, no new tests: %s", error)
            threading.Thread(target=self._wait_until_it_works, name="spool-probe", daemon=True).start()

    def _wait_until_it_works(self):
        while True:
            time.sleep(1)
            try:
                for datatype in self.datatypes:
                    self._probe(datatype)
            except OSError as error:
                log.debug("results still cannot be written: %s", error)
                continue
            self.fault = None
            log.info("results can be written again")
            return

    def _probe(self, datatype):
        """Creates the directories of a datatype and finds out whether it is on a volume of its own."""
        folder = self.dir / datatype
        self._made.clear()
        self._create_dirs(folder)
        for own in (False, True):
            (self._own_volume.add if own else self._own_volume.discard)(datatype)
            _mkdir(self._temporary(datatype), 0o700)
            room = _Unnamed(self, self._temporary(datatype))
            probe = folder / self._next_name()
            try:
                # As much as a result takes: a few bytes would fit on a disk that is full for a result.
                room.commit(probe, bytes(self.ROOM_BYTES))
                os.unlink(probe)
                return
            except OSError as error:
                if error.errno != errno.EXDEV or own:
                    raise
            finally:
                room.discard()

    def _temporary(self, datatype):
        return (self.dir / datatype if datatype in self._own_volume else self.dir) / ".tmp"

    def _next_name(self):
        with self._lock:
            self._serial += 1
            return f".tmp-{os.getpid()}-{time.time_ns()}-{self._serial}"

    def _create_dirs(self, folder, base=None):
        """Creates a directory below the spool, and makes each level durable once."""
        base = base or self.dir.parent
        for level in [*reversed([above for above in folder.parents if base in above.parents]), folder]:
            if level in self._made and level.is_dir():
                continue
            _mkdir(level, 0o755)
            _sync_dir(level.parent)
            self._made.add(level)


class _Unnamed:
    """A locked temporary file that becomes a result, or is removed."""

    def __init__(self, spool, temporary):
        self.path = temporary / spool._next_name()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def write(self, body):
        view, offset = memoryview(body), 0
        while offset < len(view):
            offset += os.pwrite(self.fd, view[offset:], offset)
        os.ftruncate(self.fd, len(view))
        os.fsync(self.fd)

    def commit(self, path, body):
        self.write(body)
        _rename_new(self.path, path)
        self.path = None
        _sync_dir(path.parent)
        return path

    def discard(self):
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.path = None
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h
_turn = threading.Lock()


def _rename_new(source, target):
    """Renames without replacing: renameat2, or where the file system lacks it, a checked rename under a lock."""
    renamed = _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
    if renamed == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
        raise OSError(number, os.strerror(number), str(target))
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with _turn, open(os.open(source.parent / ".rename-lock", flags, 0o600), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.rename(source, target)


def _mkdir(path, mode):
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        found = os.lstat(path) if mode == 0o700 else os.stat(path)  # nobody may redirect a private directory by a link
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def _sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Announcer:
    """Announces admitted connections to the recorder from a thread; never blocks a test.

    After every connect it sends running tests again, and those that ended in the last ten minutes.
    """

    KEEP_ENDED_SECONDS = 600
    MOST = 16_384

    def __init__(self, path):
        self.path = Path(path)
        self.connected, self.dropped = False, 0
        self._lines = {}  # number: [line, when the test ended]
        self._next = self._sent = 0
        self._lock = threading.Lock()
        self._stop_at = None
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, uuid, test_id, policy_version):
        """Announces a connection. Returns its number for `ended`."""
        now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
        line = dict(Event=2, Timestamp=now, UUID=uuid, ID=None, TestID=test_id, PolicyVersion=policy_version)
        with self._lock:
            if len(self._lines) >= self.MOST:
                ended = (number for number, (_, end) in self._lines.items() if end)
                number = next(ended, next(iter(self._lines)))
                del self._lines[number]
                self.dropped += number >= self._sent
            number, self._next = self._next, self._next + 1
            self._lines[number] = [json.dumps(line, separators=(",", ":")).encode() + b"\n", None]
        self._call()
        return number

    def ended(self, number):
        """Records that the test of an announcement has ended."""
        with self._lock, contextlib.suppress(KeyError):
            self._lines[number][1] = time.monotonic()

    def close(self):
        """Sends the remaining announcements, for a second at most, and ends the thread."""
        self._stop_at = time.monotonic() + 1
        self._call()
        self._thread.join(2)

    def _call(self):
        with contextlib.suppress(OSError):  # a full pipe has already woken the thread
            self._wake.send(b"\1")

    def _run(self):
        pause = 0.05
        while not self._stop_at:
            try:
                with self._open() as sock:
                    pause, self.connected = 0.05, True
                    self._serve(sock)
            except OSError as error:
                log.debug("cannot announce admitted tests at %s: %s", self.path, error)
                pause = min(pause * 2, 1.0)
            self.connected = False
            self._expire()
            self._wait(pause)

    def _open(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        folder = os.open(self.path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            # The detour keeps the address below the 108 bytes of struct sockaddr_un, unix(7).
            sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
            sock.setblocking(False)
            return sock
        except OSError:
            sock.close()
            raise
        finally:
            os.close(folder)

    def _serve(self, sock):
        outgoing, following = b"", 0
        while True:
            if not outgoing:
                with self._lock:
                    batch = [number for number in self._lines if number >= following][:100]
                    outgoing = b"".join(self._lines[number][0] for number in batch)
                following = batch[-1] + 1 if batch else following
            if self._stop_at and (not outgoing or time.monotonic() > self._stop_at):
                return
            ready = self._wait(1 if self._stop_at else 10, sock, select.POLLIN | (select.POLLOUT if outgoing else 0))
            if ready & (select.POLLIN | select.POLLHUP | select.POLLERR) and not sock.recv(65536):
                raise ConnectionResetError("the recorder closed the socket")
            if ready & select.POLLOUT:
                outgoing = outgoing[sock.send(outgoing):]
                if not outgoing:
                    self._sent = max(self._sent, following)
            self._expire()

    def _wait(self, seconds, sock=None, events=0):
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if sock:
            poll.register(sock, events)
        ready = dict(poll.poll(seconds * 1000))
        with contextlib.suppress(BlockingIOError):
            while self._woken.fileno() in ready and self._woken.recv(256):
                pass
        return ready.get(sock.fileno(), 0) if sock else 0

    def _expire(self):
        with self._lock:
            limit = time.monotonic() - self.KEEP_ENDED_SECONDS
            old = [number for number, (_, end) in self._lines.items() if end and end < limit and number < self._sent]
            for number in old:
                del self._lines[number]


class _Metrics:
    BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 11, 13, 15, 30, 60)

    def __init__(self, manifest):
        self.experiment, self.results = manifest.name, set(manifest.results)
        self._lock = threading.Lock()
        self._durations, self._seconds = [0] * (len(self.BUCKETS) + 1), 0.0
        dropped = ["key", "value", "length", "duplicate", "count", "policy"]
        families = {
            "tests": ("Tests that ended", "result", [*manifest.results, "aborted"]),
            "errors": ("Operations that failed", "operation", ["write_result", "socket_cookie"]),
            "refusals": ("Tests that were not admitted", "reason", Refused.REASONS),
            "metadata_dropped": ("Pairs of client metadata that the manifest does not allow", "reason", dropped),
            "bytes": ("Bytes of the measured traffic, as seen by the server", "direction", ["sent", "received"]),
        }
        # A rate over a counter needs its zero, so every known label exists from the start.
        self._counts = {name: (text, key, dict.fromkeys(values, 0)) for name, (text, key, values) in families.items()}

    def add(self, family, value, count=1):
        with self._lock:
            counts = self._counts[family][2]
            counts[value] = counts.get(value, 0) + count

    def test_ended(self, result, seconds):
        if result not in self.results and result != "aborted":
            raise Error(f"the manifest declares no result {result!r}; add it to `results`")
        self.add("tests", result)
        with self._lock:
            self._durations[bisect.bisect_left(self.BUCKETS, seconds)] += 1
            self._seconds += seconds

    def text(self, gauges):
        """Returns everything in the Prometheus text format, version 0.0.4."""
        label, lines = f'experiment="{self.experiment}"', []
        with self._lock:
            for family, (text, key, counts) in self._counts.items():
                name = f"groma_experiment_{family}_total"
                lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
                lines += [f'{name}{{{label},{key}="{value}"}} {count}' for value, count in counts.items()]
            name, total = "groma_experiment_test_duration_seconds", 0
            lines += [f"# HELP {name} Time from admission to the end of the test", f"# TYPE {name} histogram"]
            for bound, count in zip([*self.BUCKETS, "+Inf"], self._durations):
                total += count
                lines.append(f'{name}_bucket{{{label},le="{bound}"}} {total}')
            lines += [f"{name}_sum{{{label}}} {self._seconds}", f"{name}_count{{{label}}} {total}"]
        for name, (text, value) in gauges.items():
            name = f"groma_experiment_{name}"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name}{{{label}}} {float(value)}"]
        return "\n".join(lines) + "\n"


class Experiment:
    """One experiment in one process; its methods may be called from any thread."""

    def __init__(self, manifest, data_dir, prefix, event_socket=None, require_policy=False, max_tests=64):
        self.manifest, self.prefix = manifest, prefix
        self.require_policy, self.max_tests = require_policy, max_tests
        self.metrics = _Metrics(manifest)
        self._active, self._draining = 0, False
        self._lock = threading.Condition()
        data_dir = Path(data_dir)
        try:
            data_dir.parent.mkdir(parents=True, exist_ok=True)
            seen = data_dir / ".tmp"
            self._last_seen = seen.stat().st_mtime if seen.exists() else 0
            self.spool = Spool(data_dir, manifest.schemas)
            self.spool.clear_abandoned()
            self.spool.write_schemas(manifest.schemas)
        except OSError as error:
            raise Error(f"cannot write into spool {error.filename or data_dir}: {error.strerror}") from error
        self.announcer = Announcer(event_socket) if event_socket else None

    @classmethod
    def from_environment(cls, environment=os.environ):
        """Makes the experiment that the environment describes; see the top of this file."""
        for name in ("GROMA_DATADIR", "GROMA_UUID_PREFIX_FILE"):
            if not environment.get(name):
                raise Error(f"{name} is not set; start the server with `groma up --experiment DIR`")
        manifest = Manifest(environment.get("GROMA_MANIFEST") or "experiment.toml")
        manifest.policy_version = environment.get("GROMA_POLICY_VERSION") or manifest.policy_version
        experiment = cls(
            manifest, environment["GROMA_DATADIR"], read_prefix(environment["GROMA_UUID_PREFIX_FILE"]),
            event_socket=environment.get("GROMA_EVENT_SOCKET"),
            require_policy=environment.get("GROMA_REQUIRE_POLICY") == "1",
            max_tests=int(environment.get("GROMA_MAX_TESTS") or 64),
        )
        if environment.get("GROMA_ADMIN_ADDRESS"):
            experiment.serve_admin(environment["GROMA_ADMIN_ADDRESS"])
        if environment.get("GROMA_PORT_POLICY") and environment.get("GROMA_DESCRIPTION_FILE"):
            text = Path(environment["GROMA_DESCRIPTION_FILE"]).read_text()
            address = f"{environment.get('GROMA_LISTEN') or '0.0.0.0'}:{environment['GROMA_PORT_POLICY']}"
            _serve(address, {"/.well-known/groma/experiment.json": lambda: (200, text)})
        return experiment

    def admit(self, query=()):
        """Returns a `Test`, or raises `Refused`. `query`: what the client sent, as a dict or as pairs."""
        try:
            return self._admit(list(query.items() if hasattr(query, "items") else query))
        except Refused as refusal:
            self.metrics.add("refusals", refusal.reason)
            raise

    def _admit(self, pairs):
        if self._draining:
            raise Refused("draining")
        if reason := self.spool.refusal():
            raise Refused(reason)
        sent = next((value for key, value in pairs if key == "policy_version"), None)
        accepted = sent is not None and self.manifest.accepts(sent)
        if self.require_policy and not accepted:
            raise Refused("policy")
        with self._lock:
            if self._active >= self.max_tests:
                raise Refused("busy")
            self._active += 1
        try:
            client = self.manifest.client_metadata(pairs, functools.partial(self.metrics.add, "metadata_dropped"))
            rooms = self.spool.reserve()
        except BaseException:
            self._left()
            raise
        if sent is not None and not accepted:
            self.metrics.add("metadata_dropped", "policy")
        return Test(self, rooms, client, self.manifest.policy_version if accepted else "not-sent")

    def clock_is_implausible(self):
        """Whether the clock shows a time before 2026, after 2099, or before a time that it has shown already."""
        now = time.time()
        year = datetime.datetime.fromtimestamp(now, datetime.UTC).year
        return not 2026 <= year <= 2099 or self._last_seen > now + 60

    def drain(self, seconds=10):
        """Refuses new tests and waits for the running ones. Returns whether all of them ended in time."""
        self._draining = True
        with self._lock:
            ended = self._lock.wait_for(lambda: self._active == 0, seconds)
        if self.announcer:
            self.announcer.close()
        return ended

    def metrics_text(self):
        """Returns the metrics of the experiment in the Prometheus text format."""
        fault = self.spool.refusal()
        gauges = {"active_tests": ("Running tests, until their result is written", self._active),
                  "saturation_ratio": ("Share of the tests that may run at one time", self._active / self.max_tests),
                  "disk_full": ("Whether tests are refused because the disk is full", fault == "disk_full"),
                  "spool_failed": ("Whether tests are refused because a write failed", fault == "spool_failed")}
        if link := self.announcer:
            gauges["recorder_connected"] = ("Whether the connection recorder hears of admitted tests", link.connected)
            gauges["announcements_dropped"] = ("Admitted connections that were never announced", link.dropped)
        return self.metrics.text(gauges)

    def serve_admin(self, address):
        """Serves /metrics, /health and /ready from a thread. Returns the (host, port) that was bound."""
        def ready():
            fault = "draining" if self._draining else self.spool.refusal()
            return (503, f"{Refused.REASONS[fault]}\n") if fault else (200, "ready\n")
        metrics = lambda: (200, self.metrics_text())
        return _serve(address, {"/metrics": metrics, "/health": lambda: (200, "ok\n"), "/ready": ready})

    def _left(self):
        with self._lock:
            self._active -= 1
            self._lock.notify_all()


def _serve(address, pages):
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self):
            code, text = pages.get(self.path, lambda: (404, "not found\n"))()
            kind = "application/json" if text.startswith("{") else "text/plain; version=0.0.4; charset=utf-8"
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments):
            log.debug("http: %s", arguments[0] % arguments[1:])

    host, _, port = address.rpartition(":")
    server = _Server((host.strip("[]"), int(port)), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server.server_address[:2]


class _Server(ThreadingHTTPServer):
    """Serves at most 32 connections, so that slow clients leave descriptors to tests."""

    def __init__(self, address, handler):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.Semaphore(32)
        super().__init__(address, handler)

    def verify_request(self, request, address):
        return self._slots.acquire(blocking=False)

    def process_request_thread(self, request, address):
        try:
            super().process_request_thread(request, address)
        finally:
            self._slots.release()


class Test:
    """An admitted test. Use it in a `with` statement: without `finish` it is counted as `aborted`."""

    def __init__(self, experiment, rooms, client_metadata, policy_version):
        self.client_metadata = client_metadata
        self.server_metadata = [{"Name": "policy_version", "Value": policy_version}]
        if experiment.clock_is_implausible():
            self.server_metadata.append({"Name": "clock", "Value": "implausible"})
        self.uuids, self._announced = [], []
        self._experiment, self._rooms, self._policy_version = experiment, rooms, policy_version
        self._began, self._ended = time.monotonic(), False

    def connection(self, sock):
        """Adds a connection to the test and announces it. Returns its UUID. Call it right after `admit`."""
        uuid = uuid_of(self._experiment.prefix, sock)
        if uuid == INVALID_UUID:
            self._experiment.metrics.add("errors", "socket_cookie")
        if uuid not in self.uuids:
            self.uuids.append(uuid)
            announcer = self._experiment.announcer
            if announcer and uuid != INVALID_UUID:
                first = next(known for known in self.uuids if known != INVALID_UUID)
                self._announced.append(announcer.announce(uuid, first, self._policy_version))
        return uuid

    def bytes(self, sent, received):
        """Adds bytes that were measured since the last call to the metrics."""
        self._experiment.metrics.add("bytes", "sent", sent)
        self._experiment.metrics.add("bytes", "received", received)

    def finish(self, outcome, result=None, datatype=None, name=None):
        """Ends the test under one of the manifest's results and writes its file. Returns the file's path, or None.

        `result`: the row of the datatype, an object for JSON, or bytes. `datatype`: the manifest's first by default.
        `name`: the file's name, which must never repeat; by default `<datatype>-<time>.<uuid>.json`.
        """
        if self._ended:
            raise RuntimeError("this test was finished before")
        experiment = self._experiment
        experiment.metrics.test_ended(outcome, time.monotonic() - self._began)  # raises for an undeclared outcome
        self._ended = True
        try:
            if result is None:
                return None
            return self._write(result, datatype or next(iter(experiment.manifest.schemas)), name)
        except Error:
            experiment.metrics.add("errors", "write_result")
            raise
        finally:
            self._release()

    def _write(self, result, datatype, name):
        if datatype not in self._experiment.manifest.schemas:
            raise Error(f"cannot write the result: the manifest declares no datatype {datatype!r}")
        now = datetime.datetime.now(datetime.UTC)
        if name is None:
            named = self.uuids and self.uuids[0] != INVALID_UUID
            unique = self.uuids[0] if named else f"{self._experiment.prefix}_{os.getpid()}_{time.monotonic_ns()}"
            name = f"{datatype}-{now.strftime('%Y%m%dT%H%M%S.%f')}Z.{unique}.json"
        body = result if isinstance(result, bytes) else json.dumps(result, allow_nan=False).encode() + b"\n"
        return self._experiment.spool.write(self._rooms, datatype, now.date(), name, body)

    def _release(self):
        for room in self._rooms.values():
            room.discard()
        self._rooms = {}
        for number in self._announced:
            self._experiment.announcer.ended(number)
        self._experiment._left()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended or self.finish("aborted")
