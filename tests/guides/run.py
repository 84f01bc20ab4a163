"""Runs every command of a guide, in the order in which the guide has them.

    tests/guides/run.py GROMA GUIDE [GROMA_SQL]

Run as root: it makes a network namespace with a loopback interface, and a mount namespace with empty directories in place of
those that guides name (/srv, /var/spool, /var/lib, /var/local). The commands of all `sh` blocks run there as they are
printed, except for placeholders in capitals, which are replaced. A command that does not end by itself is a service: it
must become ready. It gets SIGTERM when a later `##` section starts another service, or when the guide is done.

Prints each command with its result, and fails with the first that goes wrong. The last command of an `sh fails` block must
fail. A block below the comment `<!-- not run: REASON -->` is printed with the reason and skipped.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

INSIDE = "GROMA_GUIDE_INSIDE"
EMPTY = ["/srv", "/var/spool", "/var/lib", "/var/local"]
SERVICES = re.compile(r"^groma (up|ndt7|publish|tcp-info(?! decode)|(load|seal|mirror) .*--(follow|every))\b")
# A service is ready when it prints that, or when it has run for some seconds.
READY = {"groma up": "Ctrl-C stops it", "groma ndt7": "phase=ready", "groma publish": "phase=ready"}
PATIENCE_S = 120


def main():
    groma, guide, *rest = map(os.path.abspath, sys.argv[1:])
    if os.environ.get(INSIDE) != "1":
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--net", sys.executable, __file__, groma, guide, *rest])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for directory in EMPTY:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    with tempfile.TemporaryDirectory() as work:
        programs = os.path.join(work, "bin")
        os.mkdir(programs)
        for name, program in (("groma", groma), ("groma-sql", rest[0] if rest else None)):
            if program:
                os.symlink(program, os.path.join(programs, name))
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
        os.chdir(work)
        Guide(guide, bool(rest)).run()


class Guide:
    def __init__(self, path, has_sql):
        self.path, self.has_sql = path, has_sql
        self.services = []
        self.uuid = None

    def run(self):
        count, section_of_services = 0, None
        try:
            for section, reason, must_fail, command in commands(open(self.path).read()):
                if not reason and command.startswith("groma-sql") and not self.has_sql:
                    reason = "groma-sql was not given"
                if reason:
                    print(f"not run: {command}: {reason}", flush=True)
                    continue
                if SERVICES.match(command) and section != section_of_services:
                    self.stop()
                    section_of_services = section
                self.execute(command, must_fail)
                count += 1
        except BaseException:
            for process, _ in self.services:
                process.kill()
            raise
        self.stop()
        print(f"{os.path.basename(self.path)}: {count} commands work")

    def stop(self):
        for process, _ in self.services:
            process.send_signal(signal.SIGTERM)
        for process, command in self.services:
            if code := process.wait(PATIENCE_S):
                sys.exit(f"ended with {code}: {command}")
        self.services = []

    def execute(self, command, must_fail):
        wanted = self.fill_in(command)
        if SERVICES.match(command):
            return self.start(wanted)
        done = None
        for _ in range(PATIENCE_S):
            done = subprocess.run(["bash", "-c", wanted], text=True, capture_output=True, timeout=PATIENCE_S)
            # A row needs some seconds; the reader of a guide would ask again.
            if must_fail or done.returncode == 0 or not wanted.startswith(("groma show", "groma find", "groma-sql")):
                break
            time.sleep(1)
        if (done.returncode != 0) != must_fail:
            sys.exit(f"{'did not fail' if must_fail else 'failed'}: {wanted}\n{done.stdout}{done.stderr}")
        print(f"ok: {wanted}", flush=True)
        found = re.search(r'[A-Za-z0-9.-]+_\d+_[0-9A-F]{16}', done.stdout)
        self.uuid = self.uuid or (found and found.group())

    def start(self, command):
        log = tempfile.NamedTemporaryFile("r", suffix=".log", dir=".", delete=False)
        output = open(log.name, "w")
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], stdout=output, stderr=subprocess.STDOUT)
        words = next((words for start, words in READY.items() if command.startswith(start)), None)
        for _ in range(600 if words else 30):
            time.sleep(0.1)
            if process.poll() is not None:
                sys.exit(f"ended at once: {command}\n{open(log.name).read()}")
            if words and words in open(log.name).read():
                break
        self.services.append((process, command))
        print(f"ok: {command}: runs", flush=True)

    def fill_in(self, command):
        """Replaces the placeholders of a guide."""
        command = re.sub(r"\bHOST:PORT\b", "127.0.0.1:8080" if "ws://" in command else "127.0.0.1:4443 --no-verify", command)
        command = re.sub(r"\bHOST\b", "127.0.0.1", command)
        if re.search(r"\bUUID\b", command):
            if not self.uuid:
                sys.exit(f"no command before printed a UUID: {command}")
            command = re.sub(r"\bUUID\b", self.uuid, command)
        return command


def commands(text):
    """Yields (section, reason not to run it or None, whether it must fail, command) of all `sh` blocks."""
    for found in re.finditer(r"(?:<!-- not run: (.*?) -->\s*)?```sh( fails)?\n(.*?)```", text, re.DOTALL):
        comment, fails, block = found.groups()
        section = text.rfind("\n## ", 0, found.start())
        lines = [re.sub(r"(^|\s+)#.*$", "", line).strip() for line in re.sub(r"\\\n\s*", "", block).splitlines()]
        lines = [line for line in lines if line]
        for number, command in enumerate(lines, 1):
            yield section, comment, bool(fails) and number == len(lines), command


if __name__ == "__main__":
    if shutil.which("unshare") is None:
        sys.exit("unshare is missing")
    main()
