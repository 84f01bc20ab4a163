//! Experiments that `groma up` hosts from their manifests: their tests become rows without code of the platform.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::groma::{groma, program, run, run_json, told, wait_for};
use crate::lab::{Lab, PATIENCE, measure, show};

/// Copies the files of an example, without the directories in it.
fn copy_of_example(name: &str, root: &Path) -> PathBuf {
    let source = groma_tests::workspace().join("examples").join(name);
    let copy = root.join(name);
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Builds the programs of the Rust example, and returns their directory.
fn rust_example() -> PathBuf {
    let profile = program().parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", "groma-throughput-example"])
        .arg("--target-dir")
        .arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(groma_tests::workspace()).status();
    assert!(built.unwrap().success(), "the example does not build");
    profile.to_owned()
}

/// Changes the command of a manifest.
fn set_command(dir: &Path, from: &str, to: &str) {
    let path = dir.join("experiment.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn port(lab: &Lab, experiment: &str, name: &str) -> String {
    let address = lab.experiment(experiment)[name].as_str();
    let address = address.unwrap_or_else(|| panic!("no {experiment}/{name}"));
    address.rsplit(':').next().unwrap().to_owned()
}

/// Runs a client, and returns the UUID at the end of what it prints.
fn uuid_from(client: &mut Command) -> String {
    let output = run(client);
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn both_examples_beside_ndt7_become_rows_that_every_tool_finds() {
    if !groma_tests::python_for_the_sdk() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let latency = copy_of_example("latency-python", dir.path());
    let throughput = copy_of_example("throughput-rust", dir.path());
    let programs = rust_example();
    let server = programs.join("throughput-server");
    let given = "../../target/release/throughput-server";
    set_command(&throughput, given, server.to_str().unwrap());
    let root = dir.path().join("lab");
    let lab = Lab::start_with(
        &root,
        "200ms",
        &[
            "--experiment",
            "ndt7",
            "--experiment",
            latency.to_str().unwrap(),
            "--experiment",
            throughput.to_str().unwrap(),
            "--port",
            "latency/echo=0",
            "--port",
            "latency/policy=0",
            "--port",
            "throughput/data=0",
            "--port",
            "throughput/policy=0",
            "--require-policy",
        ],
    );
    assert!(
        lab.admin("/ready").contains("200 OK"),
        "{}",
        lab.admin("/ready")
    );
    let client = latency.join("client.py");
    let echo = port(&lab, "latency", "echo");
    let mut echoed = Command::new("python3");
    echoed.arg(client).args(["127.0.0.1", "--port", &echo]);
    echoed.args(["--accept-policy", &lab.policy("latency")]);
    let data = format!("127.0.0.1:{}", port(&lab, "throughput", "data"));
    let mut downloaded = Command::new(programs.join("throughput-client"));
    downloaded.args([&data, &lab.policy("throughput")]);
    let printed = measure(&format!("ws://{}", lab.address("ws")), "download");
    let tests = [
        ("latency.latency1", uuid_from(&mut echoed), false),
        ("throughput.throughput1", uuid_from(&mut downloaded), true),
        (
            "ndt.ndt7",
            printed["tests"][0]["uuid"].as_str().unwrap().to_owned(),
            true,
        ),
    ];
    for (table, uuid, is_tcp) in &tests {
        lab.row_of(uuid);
        let report = wait_for(&format!("the trace of {table}"), PATIENCE, || {
            let report = show(&root, uuid)?;
            let traced = report["trace"]["stage"] == "loaded";
            (traced == *is_tcp).then_some(report)
        });
        assert_eq!(report["rows"][0]["table"], *table, "{report}");
    }
    let at = root.to_str().unwrap();
    let found = run_json(&mut groma(["find", "--dir", at, "--json"]));
    for (table, uuid, _) in &tests {
        let all = found["tests"].as_array().unwrap();
        let found = all.iter().find(|it| it["id"] == **uuid);
        let found = found.unwrap_or_else(|| panic!("{table} {uuid}: {all:?}"));
        let named = format!(
            "{}.{}",
            found["experiment"].as_str().unwrap(),
            found["datatype"].as_str().unwrap()
        );
        assert_eq!(named, *table);
    }
    for (table, uuid, _) in &tests {
        by_duckdb(&root.join("lake"), table, uuid);
        by_groma_sql(&root.join("lake"), table, uuid);
    }
    let metrics = lab.admin("/metrics");
    for experiment in ["latency", "throughput", "ndt"] {
        let sample = format!("groma_publish_pending_files{{experiment=\"{experiment}\"");
        assert!(metrics.contains(&sample), "{sample} is not in {metrics}");
    }
    let described = metrics.matches("# TYPE groma_publish_pending_files ");
    assert_eq!(described.count(), 1, "{metrics}");
    lab.ask_to_end();
    assert!(lab.ended().success());
}

/// A reader without any of our code.
fn by_duckdb(lake: &Path, table: &str, uuid: &str) {
    let Some(python) = std::env::var_os("GROMA_PYTHON") else {
        return groma_tests::skip("GROMA_PYTHON names no Python with duckdb");
    };
    let files = format!(
        "{}/{}/**/*.parquet",
        lake.display(),
        table.replace('.', "/")
    );
    let query = format!(
        "import duckdb; print(duckdb.sql(\"select count(*) from read_parquet('{files}') where id = '{uuid}'\").fetchall()[0][0])"
    );
    let output = run(Command::new(python).args(["-c", &query]));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "1",
        "{}",
        told(&output)
    );
}

fn by_groma_sql(lake: &Path, table: &str, uuid: &str) {
    let Some(program) = std::env::var_os("GROMA_SQL") else {
        return groma_tests::skip("GROMA_SQL names no groma-sql");
    };
    let query = format!("select count(*) as n from {table} where id = '{uuid}'");
    let output = run(Command::new(program)
        .args(["--lake", lake.to_str().unwrap(), "--format", "json"])
        .arg(query));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains('1'),
        "{}",
        told(&output)
    );
}

/// A program that a power cut left has the ports of the next start.
#[test]
fn a_left_program_does_not_keep_its_ports() {
    if !groma_tests::python_for_the_sdk() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "exec python3 -c 'import os, socket, time; s = socket.create_server((os.environ[\"GROMA_LISTEN\"], \
         int(os.environ[\"GROMA_PORT_POLICY\"]))); time.sleep(600)'\n";
    let experiment = small(dir.path(), "left", script);
    set_command(&experiment, "start_seconds = 1", "ready_port = \"policy\"");
    let root = dir.path().join("lab");
    let at = experiment.to_str().unwrap();
    let flags = ["--experiment", at, "--port", "left/echo=0"];
    let lab = Lab::start_with(&root, "200ms", &flags);
    let policy = port(&lab, "left", "policy");
    lab.kill();
    let fixed = format!("left/policy={policy}");
    let flags = [&flags[..], &["--port", &fixed]].concat();
    let lab = Lab::start_with(&root, "200ms", &flags);
    assert!(
        lab.log()
            .contains("ending the experiment of an earlier run")
    );
    assert!(lab.admin("/ready").contains("200 OK"), "{}", lab.log());
    lab.ask_to_end();
    assert!(lab.ended().success());
}

/// A small experiment with a program that the test chooses.
fn small(root: &Path, name: &str, script: &str) -> PathBuf {
    let dir = copy_of_example("latency-python", root);
    let own = root.join(name);
    fs::rename(dir, &own).unwrap();
    set_command(&own, "name = \"latency\"", &format!("name = \"{name}\""));
    set_command(
        &own,
        "command = [\"python3\", \"server.py\"]",
        "command = [\"sh\", \"run.sh\"]",
    );
    set_command(&own, "ready_path = \"/ready\"", "start_seconds = 1");
    // The port of the policy is not what these tests are about.
    set_command(&own, "port = 8422", "port = 0");
    fs::write(own.join("run.sh"), script).unwrap();
    own
}

fn refused(arguments: &[&str]) -> String {
    let output = run(&mut groma(
        ["up", "--json"]
            .into_iter()
            .chain(arguments.iter().copied()),
    ));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(output.stdout.is_empty(), "{}", told(&output));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn conflicts_and_missing_parts_are_reported_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let script = format!("touch {}/started; sleep 600", root.display());
    let one = small(root, "one", &script);
    let two = small(root, "two", &script);
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    let (lab, one_dir, two_dir) = (at(&root.join("lab")), at(&one), at(&two));
    let both = [
        "--dir",
        &lab,
        "--admin-port",
        "0",
        "--experiment",
        &one_dir,
        "--experiment",
    ];
    let with = |last: &[&str]| refused(&[&both[..], last].concat());
    assert!(with(&[&two_dir]).contains("one/echo and two/echo both want UDP port"));
    assert!(with(&[&one_dir]).contains("the name one"));
    let unknown = with(&[&two_dir, "--port", "two/echo=0", "--port", "two/none=1"]);
    assert!(unknown.contains("two/none"), "{unknown}");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let choice = format!("two/echo={}", taken.local_addr().unwrap().port());
    let busy = with(&[&two_dir, "--port", &choice]);
    assert!(busy.contains("two/echo: cannot listen on"), "{busy}");
    fs::remove_file(two.join("latency1.json")).unwrap();
    let schema = with(&[&two_dir, "--port", "two/echo=0"]);
    assert!(
        schema.contains("latency1.json") && schema.contains("line "),
        "{schema}"
    );
    set_command(&two, "title = ", "titel = ");
    let field = with(&[&two_dir]);
    assert!(
        field.contains("title: this key is missing") && field.contains("groma manifest check"),
        "{field}"
    );
    set_command(&one, "name = \"latency1\"", "name = \"tcpinfo\"");
    let same = refused(&[&both[..5], &[&one_dir]].concat());
    assert!(same.contains("has a datatype tcpinfo too"), "{same}");
    // The file is there, and is not a program.
    set_command(&one, "\"sh\"", "\"./run.sh\"");
    assert!(with(&[&one_dir]).contains("there is no program ./run.sh"));
    assert!(!root.join("started").exists());
}

#[test]
fn a_program_that_fails_is_started_again_and_a_left_one_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    // It fails twice, and then runs.
    let script = "echo run >> runs; echo \"hello \\033[31mthere\"; echo $$ > pid\n\
         [ $(wc -l < runs) -gt 2 ] || exit 3\n\
         sleep 600 & echo $! > child; wait\n";
    let experiment = small(root, "flaky", script);
    let lab_dir = root.join("lab");
    let flags = [
        "--experiment",
        experiment.to_str().unwrap(),
        "--port",
        "flaky/echo=0",
    ];
    let lab = Lab::start_with(&lab_dir, "200ms", &flags);
    let child = wait_for("the third run", PATIENCE, || {
        fs::read_to_string(experiment.join("child"))
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    });
    let log = lab.log();
    assert!(
        log.contains("ended with code 3") && log.contains("flaky"),
        "{log}"
    );
    assert!(
        log.contains("hello") && !log.contains("\u{1b}[31mthere"),
        "{log}"
    );
    let ready = lab.admin("/ready");
    assert!(
        ready.contains("503") && ready.contains("experiment flaky"),
        "{ready}"
    );
    // A power cut leaves the program, and the next start ends it.
    lab.kill();
    let is_alive = |number: i32| {
        let is_there = Pid::from_raw(number).is_some_and(|pid| test_kill_process(pid).is_ok());
        let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        is_there && !state.contains(") Z ")
    };
    assert!(is_alive(child));
    let lab = Lab::start_with(&lab_dir, "200ms", &flags);
    wait_for("the end of the left child", PATIENCE, || {
        (!is_alive(child)).then_some(())
    });
    let second = wait_for("the next run", PATIENCE, || {
        let number: i32 = fs::read_to_string(experiment.join("child"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        (number != child).then_some(number)
    });
    lab.ask_to_end();
    assert!(lab.ended().success());
    wait_for("the end of the child", PATIENCE, || {
        (!is_alive(second)).then_some(())
    });
}

#[test]
fn the_manifests_of_the_examples_have_no_problems() {
    for name in ["latency-python", "throughput-rust"] {
        let dir = groma_tests::workspace().join("examples").join(name);
        let checked: Value = run_json(&mut groma([
            "manifest",
            "check",
            dir.to_str().unwrap(),
            "--json",
        ]));
        assert_eq!(checked["ok"], true, "{checked}");
    }
}

#[test]
fn an_experiment_of_groma_new_becomes_rows() {
    if !groma_tests::python_for_the_sdk() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("pings");
    let at = experiment.to_str().unwrap();
    let output = run(&mut groma(["new", "pings", "--dir", at]));
    assert!(output.status.success(), "{}", told(&output));
    let mut flags = vec!["--experiment", at, "--require-policy"];
    flags.extend(["--port", "pings/test=0", "--port", "pings/policy=0"]);
    flags.extend(["--controller", "City Library"]);
    let lab = Lab::start_with(&dir.path().join("lab"), "200ms", &flags);
    let ports = ["test", "policy"].map(|name| port(&lab, "pings", name));
    let client = |answer: &[u8]| {
        let stdin = dir.path().join("answer");
        fs::write(&stdin, answer).unwrap();
        let mut command = Command::new("python3");
        command.arg(experiment.join("client.py")).arg("127.0.0.1");
        command.args(["--port", &ports[0], "--policy-port", &ports[1]]);
        command.stdin(fs::File::open(stdin).unwrap());
        command
    };
    let output = run(&mut client(b"n\n"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{}", told(&output));
    assert!(text.contains("Controller: City Library"), "{text}");
    let output = run(client(b"n\n").args(["--accept-policy", "0"]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("refused"), "{}", told(&output));
    let uuid = uuid_from(&mut client(b"y\n"));
    let row = lab.row_of(&uuid);
    assert_eq!(row["raw"]["RoundTrips"], 10, "{row}");
    lab.ask_to_end();
    assert!(lab.ended().success());
}
