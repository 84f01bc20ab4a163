"""Tests of the Python SDK. Its values are those of the Rust crates: both read contracts/vectors.

    python3 -m unittest discover -s sdk/python/tests
"""

import errno
import json
import os
import socket
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import groma  # noqa: E402

VECTORS = HERE.parents[2] / "contracts/vectors"
MANIFEST = """
manifest = 2
name = "echo"
results = ["okay", "error"]
[consent]
policy_version = "2"
[[datatype]]
name = "echo1"
schema = "echo1.json"
[[client_metadata]]
key = "client_name"
max_length = 8
pattern = "[a-z]+"
"""


def vectors(name):
    return json.loads((VECTORS / name).read_text())


class Lab(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        (self.dir / "experiment.toml").write_text(MANIFEST)
        (self.dir / "echo1.json").write_text("[]")
        self.manifest = groma.Manifest(self.dir / "experiment.toml")

    def experiment(self, **settings):
        return groma.Experiment(self.manifest, self.dir / "spool/echo", "host_1", **settings)

    def files(self, pattern="**/*"):
        return sorted(str(path.relative_to(self.dir)) for path in (self.dir / "spool").glob(pattern) if path.is_file())


class Values(Lab):
    def test_uuids_are_those_of_the_rust_crate(self):
        for vector in vectors("uuid.json"):
            self.assertEqual(groma.uuid_from_cookie(vector["prefix"], vector["cookie"]), vector["uuid"])

    def test_names_are_those_of_the_rust_crate(self):
        names = vectors("names.json")
        for name in names["experiments"]["allowed"]:
            self.assertEqual(groma._name(name, "name"), name)
        for name in names["experiments"]["refused"]:
            with self.assertRaises(ValueError, msg=name):
                groma._name(name, "name")
        experiment = self.experiment()
        for name in names["files"]["allowed"]:
            with experiment.admit() as test:
                self.assertTrue(test.finish("okay", {}, name=name).exists())
        for name in names["files"]["refused"]:
            with experiment.admit() as test, self.assertRaises(groma.Error, msg=name):
                test.finish("okay", b"x", name=name)

    def test_a_policy_is_accepted_as_by_the_rust_crate(self):
        for vector in vectors("consent.json"):
            self.manifest.own_policy = vector["own"]
            self.manifest.policy_version = "-".join([vector["own"], *vector["tags"]])
            self.assertEqual(self.manifest.accepts(vector["sent"]), vector["accepted"], vector)

    def test_tcp_and_udp_sockets_have_the_cookie_of_the_kernel(self):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        with listener, socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(listener.getsockname())
            client.send(b"hello")
            _, peer = listener.recvfrom(100)
            with groma.connected_udp(listener, peer) as udp:
                client.send(b"again")
                self.assertEqual(udp.recv(100), b"again")
                uuids = {groma.uuid_of("host_1", sock) for sock in (tcp, listener, udp)}
        self.assertEqual(len(uuids), 3)
        for uuid in uuids:
            self.assertRegex(uuid, r"^host_1_[0-9A-F]{16}$")

    def test_a_prefix_of_another_boot_or_with_a_slash_is_refused(self):
        path = self.dir / "prefix"
        path.write_text("host_1553815964\n")
        self.assertEqual(groma.read_prefix(path), "host_1553815964")
        (self.dir / "prefix.boot_id").write_text("another\n")
        with self.assertRaisesRegex(groma.Error, "before this machine booted"):
            groma.read_prefix(path)
        path.write_text("../host\n")
        with self.assertRaisesRegex(groma.Error, "which is not"):
            groma.read_prefix(path)


class Tests(Lab):
    def test_a_result_is_a_durable_file_and_nothing_else_is_left(self):
        experiment = self.experiment()
        with socket.create_server(("127.0.0.1", 0)) as sock, experiment.admit({"policy_version": "2"}) as test:
            uuid = test.connection(sock)
            self.assertEqual(test.server_metadata, [{"Name": "policy_version", "Value": "2"}])
            path = test.finish("okay", {"UUID": uuid})
        self.assertEqual(json.loads(path.read_text()), {"UUID": uuid})
        self.assertRegex(str(path), rf"/spool/echo/echo1/\d{{4}}/\d\d/\d\d/echo1-.*{uuid}\.json$")
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        self.assertEqual(self.files(), ["spool/datatypes/echo1.json", str(path.relative_to(self.dir))])
        self.assertIn('groma_experiment_tests_total{experiment="echo",result="okay"} 1', experiment.metrics_text())

    def test_a_name_is_never_replaced(self):
        experiment = self.experiment()
        for renameat2 in (None, lambda *_: -1):
            with experiment.admit() as test:
                path = test.finish("okay", b"first", name=f"taken-{renameat2 is None}")
            libc = mock.Mock(renameat2=renameat2)
            with mock.patch.object(groma, "_libc", libc if renameat2 else groma._libc), \
                    mock.patch("ctypes.get_errno", return_value=errno.EINVAL if renameat2 else errno.EEXIST), \
                    experiment.admit() as test, self.assertRaisesRegex(groma.Error, "taken"):
                test.finish("okay", b"second", name=path.name)
            self.assertEqual(path.read_bytes(), b"first")

    def test_consent_metadata_and_the_number_of_tests(self):
        experiment = self.experiment(require_policy=True, max_tests=1)
        query = [("policy_version", "2"), ("client_name", "probe"), ("client_name", "twice"), ("access_token", "secret"),
                 ("other", "x")]
        with experiment.admit(query) as test:
            self.assertEqual(test.client_metadata, [{"Name": "client_name", "Value": "probe"}])
            with self.assertRaises(groma.Refused) as refused:
                experiment.admit(query)
            self.assertEqual((refused.exception.reason, refused.exception.http_status), ("busy", 503))
        with self.assertRaises(groma.Refused) as refused:
            experiment.admit({"policy_version": "1"})
        self.assertEqual(refused.exception.http_status, 403)
        text = experiment.metrics_text()
        self.assertIn('{experiment="echo",result="aborted"} 1', text)
        self.assertIn('refusals_total{experiment="echo",reason="policy"} 1', text)
        self.assertIn('metadata_dropped_total{experiment="echo",reason="duplicate"} 1', text)
        self.assertNotIn("secret", text)

    def test_a_write_that_fails_stops_admission_until_the_spool_works(self):
        experiment = self.experiment()
        with experiment.admit() as test, mock.patch("os.fsync", side_effect=OSError(errno.EIO, "Input/output error")):
            with self.assertRaisesRegex(groma.Error, "Input/output error"):
                test.finish("okay", {})
            with self.assertRaises(groma.Refused) as refused:
                experiment.admit()
            self.assertEqual(refused.exception.reason, "spool_failed")
            time.sleep(1.2)  # a probe, which fails too
            self.assertEqual(experiment.spool.refusal(), "spool_failed")
        for _ in range(100):
            if experiment.spool.refusal() is None:
                break
            time.sleep(0.1)
        with experiment.admit() as test:
            test.finish("okay", {})
        self.assertEqual(len(self.files("echo/echo1/**/*")), 1)

    def test_the_publisher_stops_admission_while_it_renews_its_file(self):
        experiment = self.experiment()
        stop = self.dir / "spool/echo/.admission-stopped"
        stop.touch()
        self.assertEqual(experiment.spool.refusal(), "disk_full")
        os.utime(stop, (time.time() - 91,) * 2)
        self.assertIsNone(experiment.spool.refusal())

    def test_abandoned_files_go_and_those_of_living_writers_stay(self):
        experiment = self.experiment()
        with experiment.admit():
            (self.dir / "spool/echo/.tmp/.tmp-1-1-1").write_text("half")
            self.assertEqual(len(self.files("echo/.tmp/*")), 2)
            self.experiment()
            self.assertEqual(len(self.files("echo/.tmp/*")), 1)
        self.assertEqual(self.files("echo/.tmp/*"), [])

    def test_drain_refuses_new_tests_and_waits_for_running_ones(self):
        experiment = self.experiment()
        test = experiment.admit()
        threading.Timer(0.2, test.finish, ["okay"]).start()
        self.assertTrue(experiment.drain(30))
        with self.assertRaises(groma.Refused) as refused:
            experiment.admit()
        self.assertEqual(refused.exception.reason, "draining")

    def test_the_admin_address_serves_metrics_and_readiness(self):
        experiment = self.experiment()
        host, port = experiment.serve_admin("127.0.0.1:0")
        def get(path):
            try:
                return urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10).read().decode()
            except urllib.error.HTTPError as error:
                return error.code
        self.assertIn('groma_experiment_active_tests{experiment="echo"} 0.0', get("/metrics"))
        self.assertEqual(get("/ready"), "ready\n")
        (self.dir / "spool/echo/.admission-stopped").touch()
        self.assertEqual(get("/ready"), 503)
        self.assertEqual(get("/other"), 404)


    def test_text_that_is_not_unicode_is_dropped_and_no_error_keeps_a_place(self):
        experiment = self.experiment(max_tests=1)
        for query in ({"\ud800": "x"}, {"client_name": "\ud800"}, {"policy_version": "\ud800"}):
            with experiment.admit(query) as test:
                self.assertEqual(test.client_metadata, [], query)
        with self.assertRaises(AttributeError):
            experiment.admit([("client_name", 5)])
        with experiment.admit() as test:
            test.finish("okay", {})

    def test_slow_clients_of_a_page_leave_descriptors_to_tests_and_ipv6_works(self):
        host, port = self.experiment().serve_admin("[::1]:0")
        slow = [socket.create_connection((host, port)) for _ in range(100)]
        try:
            time.sleep(0.5)
            open_here = len(os.listdir("/proc/self/fd"))
            self.assertLess(open_here, 100 + 32 + 40)
        finally:
            for sock in slow:
                sock.close()

    def test_only_results_of_the_manifest_can_be_recorded(self):
        experiment = self.experiment()
        with self.assertRaisesRegex(groma.Error, "no result 'oops'"), experiment.admit() as test:
            test.finish("oops", {})
        self.assertIn('{experiment="echo",result="aborted"} 1', experiment.metrics_text())
        self.assertEqual(self.files("echo/**/*"), [])

    def test_the_environment_describes_the_installation_and_the_policy_is_public(self):
        (self.dir / "prefix").write_text("host_1\n")
        (self.dir / "description.json").write_text('{"policy": {"version": "2-tcpinfo1"}}')
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        experiment = groma.Experiment.from_environment({
            "GROMA_MANIFEST": str(self.dir / "experiment.toml"), "GROMA_DATADIR": str(self.dir / "spool/echo"),
            "GROMA_UUID_PREFIX_FILE": str(self.dir / "prefix"), "GROMA_POLICY_VERSION": "2-tcpinfo1",
            "GROMA_REQUIRE_POLICY": "1", "GROMA_DESCRIPTION_FILE": str(self.dir / "description.json"),
            "GROMA_LISTEN": "127.0.0.1", "GROMA_PORT_POLICY": str(port)})
        url = f"http://127.0.0.1:{port}/.well-known/groma/experiment.json"
        version = json.load(urllib.request.urlopen(url, timeout=10))["policy"]["version"]
        with self.assertRaises(groma.Refused):
            experiment.admit({"policy_version": "2"})
        with experiment.admit({"policy_version": version}) as test:
            self.assertEqual(test.server_metadata[0]["Value"], "2-tcpinfo1")
        with self.assertRaisesRegex(groma.Error, "GROMA_DATADIR is not set"):
            groma.Experiment.from_environment({})


class Announcements(Lab):
    def setUp(self):
        super().setUp()
        self.path = self.dir / ("long" * 30) / "events.sock"
        self.path.parent.mkdir()
        self.listen()

    def listen(self):
        folder = os.open(self.path.parent, os.O_PATH)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(f"/proc/self/fd/{folder}/events.sock")
        self.server.listen()
        self.server.settimeout(30)
        os.close(folder)

    def test_the_line_is_that_of_the_rust_crate(self):
        vector = vectors("admission.json")
        clock = mock.Mock()
        clock.datetime.now.return_value.isoformat.return_value = vector["timestamp"].replace("Z", "+00:00")
        announcer = groma.Announcer(self.path)
        self.addCleanup(announcer.close)
        with mock.patch.object(groma, "datetime", clock):
            announcer.announce(vector["uuid"], vector["test_id"], vector["policy_version"])
        connection, _ = self.server.accept()
        with connection:
            self.assertEqual(connection.makefile().readline(), vector["line"])

    def test_running_tests_are_announced_again_to_a_restarted_recorder(self):
        experiment = self.experiment(event_socket=self.path)
        self.addCleanup(experiment.drain)
        with socket.create_server(("127.0.0.1", 0)) as sock, experiment.admit({"policy_version": "2"}) as test:
            uuid = test.connection(sock)
            for _ in range(2):
                connection, _ = self.server.accept()
                with connection:
                    line = json.loads(connection.makefile().readline())
                self.assertEqual((line["UUID"], line["TestID"], line["PolicyVersion"]), (uuid, uuid, "2"))
                self.server.close()
                self.path.unlink()
                self.listen()


if __name__ == "__main__":
    unittest.main()
