//! The endpoint and hostile clients.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::Lake;

const SECRET: &str = "the-secret-of-the-bucket";
const ENDLESS: &str = "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c WHERE a.range * b.range + c.range = -7";

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(lake: &Lake) -> Server {
        Server::start_with(lake, &[])
    }

    fn start_with(lake: &Lake, arguments: &[&str]) -> Server {
        Server::start_program(Path::new(env!("CARGO_BIN_EXE_groma-sql")), lake, arguments)
    }

    fn start_program(program: &Path, lake: &Lake, arguments: &[&str]) -> Server {
        let mut child = Command::new(program)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--timeout",
                "3",
                "--memory",
                "256",
            ])
            .args(["--waiting", "8", "--max-rows", "1000", "--lake"])
            .arg(lake.root())
            .args(arguments)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .trim_start_matches("listening on http://")
            .to_owned();
        Server { child, address }
    }

    /// Returns head and body of the answer to these bytes.
    fn exchange(&self, bytes: &[u8]) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) => (head.to_owned(), body.to_owned()),
            None => (answer, String::new()),
        }
    }

    /// Returns status and body of the answer to these bytes.
    fn send(&self, bytes: &[u8]) -> (u16, String) {
        let (head, body) = self.exchange(bytes);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.unwrap_or(0), body)
    }

    fn query(&self, sql: &str) -> (u16, String) {
        self.send(&request(sql, ""))
    }

    /// Returns head and body of the answer to a query with these parameters.
    fn ask(&self, sql: &str, parameters: &str) -> (String, String) {
        self.exchange(&request(sql, parameters))
    }

    fn is_well(&self) {
        let (status, body) = self.query("SELECT count(*) AS n FROM lab.probe1");
        assert_eq!((status, body.trim()), (200, r#"[{"n":5}]"#));
    }
}

fn request(sql: &str, parameters: &str) -> Vec<u8> {
    let head = format!(
        "POST /{parameters} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        sql.len()
    );
    [head.as_bytes(), sql.as_bytes()].concat()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lake() -> Lake {
    let lake = Lake::new();
    lake.put(
        "lab/probe1/live/date=2024-05-06/a.parquet",
        "SELECT i AS id FROM range(5) AS t(i)",
    );
    lake
}

#[test]
fn nothing_outside_the_lake_is_read_and_nothing_is_written() {
    let lake = lake();
    let server = Server::start(&lake);
    let root = lake.root().to_str().unwrap().to_owned();
    std::fs::write(lake.dir.path().join("secret"), "secret").unwrap();
    let before = std::fs::read_dir(lake.root()).unwrap().count();
    for attack in [
        "SELECT * FROM read_text('/etc/passwd')".to_owned(),
        "SELECT * FROM read_blob('/proc/self/environ')".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        "SELECT * FROM glob('/etc/*')".to_owned(),
        format!("SELECT * FROM read_text('{root}/../secret')"),
        format!("SELECT * FROM read_text('{root}/lab/../../secret')"),
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')".to_owned(),
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')".to_owned(),
        "SELECT getenv('HOME')".to_owned(),
        format!("COPY (SELECT 1) TO '{root}/evil.csv'"),
        format!("SELECT 1; COPY (SELECT 1) TO '{root}/evil.csv'"),
        format!("SELECT 1) AS a; COPY (SELECT 1) TO '{root}/evil.csv'; SELECT * FROM (SELECT 1"),
        format!("ATTACH '{root}/evil.db'"),
        "ATTACH ':memory:' AS other".to_owned(),
        "INSTALL httpfs".to_owned(),
        "LOAD httpfs".to_owned(),
        "SET enable_external_access = true".to_owned(),
        "PRAGMA enable_profiling".to_owned(),
        format!("EXPORT DATABASE '{root}/evil'"),
        "CREATE TABLE evil AS SELECT 1".to_owned(),
        "DROP VIEW lab.probe1".to_owned(),
        "CALL pragma_version()".to_owned(),
        "SELECT".to_owned(),
        String::new(),
        "\0".to_owned(),
        format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
    ] {
        let (status, body) = server.query(&attack);
        assert_eq!(status, 400, "{attack:.80}: {body:.300}");
        assert!(
            body.contains("error") && !body.contains("root:x"),
            "{body:.300}"
        );
    }
    assert_eq!(std::fs::read_dir(lake.root()).unwrap().count(), before);
    server.is_well();
}

/// Every function and table function that the engine has and that is not on our list, called or named as a table.
#[test]
fn no_function_that_is_not_on_the_list_is_answered() {
    let lake = lake();
    let server = Server::start(&lake);
    let root = lake.root().to_str().unwrap().to_owned();
    let log = format!("{root}/lab/probe1/log/date=2024-05-06/000000.json");
    let table = format!("{root}/lab/probe1/live/date=2024-05-06/a.parquet");
    let nested = |sql: &str| sql.replace('\'', "''");
    let writes = format!(
        "select * from json_execute_serialized_sql(json_serialize_sql('select write_log(''x'') from range(4000)')), \
         (select count(*) c from enable_logging(level='debug', storage_buffer_size=1, storage='file', storage_path='{log}'))"
    );
    for attack in [
        writes.clone(),
        format!("select (select count(*) from query('{}'))", nested(&writes)),
        format!("with w as ({writes}) select 1"),
        format!("select 1 where exists ({writes})"),
        format!("select * from lab.probe1 order by (select count(*) from ({writes}))"),
        format!("from enable_logging(storage='file', storage_path='{log}')"),
        format!("FROM ENABLE_LOGGING(storage='file', storage_path='{log}')"),
        format!("from main.enable_logging(storage='file', storage_path='{log}')"),
        format!("from system.main.enable_logging(storage='file', storage_path='{log}')"),
        "from query('select 1')".to_owned(),
        "from query_table('lab.probe1')".to_owned(),
        "select write_log('x')".to_owned(),
        "select 'x'.write_log()".to_owned(),
        "select list_transform([1], x -> write_log(x::varchar))".to_owned(),
        "select sum(1) over (order by current_setting('allowed_directories'))".to_owned(),
        "select current_setting('allowed_directories')".to_owned(),
        "select current_setting('home_directory')".to_owned(),
        "select getvariable('lab.probe1')".to_owned(),
        "select getenv('HOME')".to_owned(),
        "from duckdb_settings()".to_owned(),
        "from duckdb_settings".to_owned(),
        "from duckdb_logs".to_owned(),
        "from duckdb_secrets()".to_owned(),
        "from duckdb_views".to_owned(),
        "from pg_catalog.pg_views".to_owned(),
        "from information_schema.views".to_owned(),
        "from sqlite_master".to_owned(),
        "from (show databases)".to_owned(),
        "from (show variables)".to_owned(),
        "from checkpoint()".to_owned(),
        "from force_checkpoint()".to_owned(),
        "from pragma_database_size()".to_owned(),
        "select nextval('s')".to_owned(),
        "select sleep_ms(1)".to_owned(),
        "select pg_sleep(1)".to_owned(),
        "from sniff_csv('/etc/passwd')".to_owned(),
        format!("from read_parquet('{table}')"),
        format!("from '{table}'"),
        format!("from parquet_metadata('{table}')"),
        format!("with \"{table}\" as (select 1) select * from (select 1), \"{table}\""),
        "with x as (select 1) from memory.main.x".to_owned(),
        // A name of a WITH clause where the clause does not define it is one of the engine's catalog.
        "from (with duckdb_views as (select 1) select 1), duckdb_views".to_owned(),
        "with duckdb_views as (from duckdb_views) from duckdb_views".to_owned(),
        "with recursive duckdb_views as (select sql from duckdb_views union all select sql from duckdb_views) from duckdb_views".to_owned(),
        "with recursive a as (from duckdb_views), duckdb_views as (select 1) from a".to_owned(),
        "(with sqlite_master as (select '') from sqlite_master) union all (select sql from sqlite_master)".to_owned(),
        "from glob('*')".to_owned(),
        "from which_secret('s3://a', 's3')".to_owned(),
        "from arrow_scan(1, 2, 3)".to_owned(),
        "from seq_scan('lab.probe1')".to_owned(),
        "from read_duckdb('x.db')".to_owned(),
        "select ?".to_owned(),
        "select $1".to_owned(),
    ] {
        let (status, body) = server.query(&attack);
        assert_eq!(status, 400, "{attack}: {body:.300}");
        // The attack may be repeated, the lake's path is not disclosed.
        assert!(
            attack.contains(&root) || !body.contains(&root),
            "{attack}: {body}"
        );
    }
    let log = std::path::Path::new(&log);
    assert!(!log.exists() && !log.parent().unwrap().exists());
    server.is_well();
}

#[test]
fn a_server_whose_program_was_replaced_still_answers() {
    let lake = lake();
    let program = lake.dir.path().join("groma-sql");
    std::fs::copy(env!("CARGO_BIN_EXE_groma-sql"), &program).unwrap();
    let server = Server::start_program(&program, &lake, &[]);
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "a newer program").unwrap();
    server.is_well();
}

#[test]
fn the_language_of_a_query_is_answered() {
    let lake = lake();
    let server = Server::start(&lake);
    for query in [
        "with recursive c(n) as (select 1 union all select n + 1 from c where n < 3) select * from c",
        "with recursive c(n, m) using key (n) as (select 1, 1 union select n, m + 1 from c where m < 3), d as (from c) from d",
        "with a as (with b as (select 1) from b), c as materialized (from a) (from a) union all (from c) order by 1",
        "select id, count(*) filter (where id > 1) from lab.probe1 group by all having count(*) > 0 order by 1 desc nulls last limit 3 offset 1",
        "select lag(id) over (partition by id % 2 order by id rows between 1 preceding and current row) from lab.probe1 qualify row_number() over () < 3",
        "select list_transform([1, 2], lambda x: x + 1), [x for x in [1, 2] if x > 1], {'k': 1}.k, map {'a': 1}['a']",
        "select case when id between 1 and 2 then 'a' else 'b' end, id::varchar, try_cast('x' as int), coalesce(null, 1), id in (select 1) from lab.probe1",
        "select * exclude (id), 1 as one from lab.probe1 natural join (from range(5) t(id))",
        "select * from (describe lab.probe1)",
        "select * from (show all tables)",
        "select * from (summarize lab.probe1)",
        "select table_name from information_schema.tables",
        "select column_name from information_schema.columns where table_name = 'probe1'",
        "from lab.probe1 select max(id)",
        "select * from (select 1 a, 'x' b) pivot (sum(a) for b in ('x', 'y'))",
        "select * from (select 1 a, 2 b) unpivot (v for n in (a, b))",
        "select quantile_cont(id, 0.5), approx_quantile(id, 0.9), string_agg(id::varchar, ',' order by id) from lab.probe1",
        "select date_trunc('day', timestamp '2024-05-06 01:02:03'), strftime(date '2024-05-06', '%Y'), interval 1 day, extract(year from date '2024-05-06'), timestamptz '2024-05-06 00:00:00+00' at time zone 'Europe/Berlin'",
        "select regexp_extract('a1', '[0-9]'), 'a' like 'b', 'a' ilike 'A', 'a' similar to 'a', split_part('a,b', ',', 2), upper('a'), 'a' || 'b'",
        "select * from lab.probe1 using sample 2 rows",
        "select distinct on (id) id from lab.probe1 where id is not null and not (id = 1 or id = 2)",
        "select unnest([1, 2]) union all by name select 3 order by 1",
        "select * from unnest([1, 2]) with ordinality",
        "select a.id from lab.probe1 a asof join lab.probe1 b on a.id >= b.id",
        "select '{\"a\": [1]}'::json -> '$.a', json_extract('[1]', '$[0]')",
        "values (1), (2)",
    ] {
        let (status, body) = server.query(query);
        assert_eq!(status, 200, "{query}: {body:.300}");
    }
}

/// Numbers and their flag as the endpoint and the command show them.
#[test]
fn numbers_that_json_lacks_are_null_and_large_ones_exact() {
    let lake = lake();
    let server = Server::start(&lake);
    let numbers = "select 1/0 a, -1/0 b, 'nan'::double c, [0/0, 1] d, 170141183460469231731687303715884105727::hugeint e, \
                   'NaN' f, 18446744073709551615::ubigint g, 0.1 h";
    let (head, body) = server.ask(numbers, "");
    assert_eq!(
        body.trim(),
        r#"[{"a":null,"b":null,"c":null,"d":[null,1.0],"e":170141183460469231731687303715884105727,"f":"NaN","g":18446744073709551615,"h":0.1}]"#
    );
    assert!(head.to_lowercase().contains("x-not-finite: 4"), "{head}");
    let (head, body) = server.ask("select 1/0 as a, 'nan'::double b", "?format=csv");
    assert_eq!(body, "a,b\r\nInfinity,NaN\r\n", "{head}");
    let (head, _) = server.ask("select 1 as a", "");
    assert!(head.to_lowercase().contains("x-not-finite: 0"), "{head}");
}

#[test]
fn web_pages_of_other_sites_are_refused() {
    let lake = lake();
    let server = Server::start_with(
        &lake,
        &[
            "--host",
            "lake.example",
            "--allow-origin",
            "https://charts.example",
        ],
    );
    let address = server.address.clone();
    let port = address.rsplit(':').next().unwrap();
    for (headers, wanted) in [
        (format!("Host: {address}"), 200),
        (format!("Host: localhost:{port}"), 200),
        ("Host: lake.example".to_owned(), 200),
        ("Host: LAKE.example:8080".to_owned(), 200),
        ("Host: [::1]".to_owned(), 200),
        ("Host: rebound.example".to_owned(), 403),
        ("Host: localhost.rebound.example".to_owned(), 403),
        ("Host: ".to_owned(), 403),
        ("X: y".to_owned(), 403),
        (
            format!("Host: {address}\r\nOrigin: https://site.example"),
            403,
        ),
        (format!("Host: {address}\r\nOrigin: null"), 403),
        (
            format!("Host: {address}\r\nOrigin: http://localhost:1"),
            403,
        ),
        (format!("Host: {address}\r\nOrigin: http://{address}"), 200),
        (
            format!("Host: {address}\r\nOrigin: https://charts.example"),
            200,
        ),
        (
            format!("Host: {address}\r\nOrigin: https://charts.example.site.example"),
            403,
        ),
        (
            format!("Host: {address}\r\nSec-Fetch-Site: cross-site"),
            403,
        ),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\n{headers}\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nSELECT 1"
        );
        let (head, _) = server.exchange(request.as_bytes());
        assert!(
            head.starts_with(&format!("HTTP/1.1 {wanted}")),
            "{headers}: {head}"
        );
        let allows = head.to_lowercase().contains("access-control-allow-origin");
        assert_eq!(
            allows,
            wanted == 200 && headers.contains("Origin"),
            "{headers}: {head}"
        );
        assert!(!head.contains('*'), "{head}");
    }
}

#[test]
fn slow_clients_keep_nobody_out() {
    let lake = lake();
    let server = Server::start(&lake);
    let mut slow = Vec::new();
    for number in 0..700 {
        let Ok(mut stream) = TcpStream::connect(&server.address) else {
            continue;
        };
        let begun: &[u8] = match number % 3 {
            0 => b"",
            1 => b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ",
            _ => b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nSEL",
        };
        let _ = stream.write_all(begun);
        slow.push(stream);
    }
    server.is_well();
    server.is_well();
}

#[test]
fn who_wants_too_much_is_cut_and_the_others_are_served() {
    let lake = lake();
    let server = Server::start(&lake);
    let (status, body) = server.query(ENDLESS);
    assert_eq!(status, 408, "{body}");
    for hungry in [
        "SELECT list(i) FROM range(10000000000) t(i)",
        "SELECT count(*) FROM (SELECT DISTINCT i::VARCHAR || repeat('x', 100) FROM range(100000000) t(i))",
        "SELECT repeat('x', 2000000000)",
    ] {
        let (status, body) = server.query(hungry);
        assert!(
            [400, 408].contains(&status),
            "{hungry}: {status} {body:.300}"
        );
    }
    let (status, body) = server.query("SELECT * FROM range(100000)");
    assert_eq!(
        (status, body.matches("range").count()),
        (200, 1000),
        "cut to the most rows"
    );
    server.is_well();
}

/// The processes that this one started.
fn children(of: u32) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let parent = format!("\nPPid:\t{of}\n");
    names
        .filter(|name| {
            let status = std::fs::read_to_string(format!("/proc/{name}/status"));
            status.is_ok_and(|status| status.contains(&parent))
        })
        .collect()
}

#[test]
fn a_strangers_query_runs_without_the_servers_environment() {
    let lake = lake();
    let server = Server::start(&lake);
    let environment = |process: &str| std::fs::read(format!("/proc/{process}/environ")).unwrap();
    let has_secret = |process: &str| {
        let environment = environment(process);
        String::from_utf8_lossy(&environment).contains(SECRET)
    };
    assert!(has_secret(&server.child.id().to_string()));
    thread::scope(|scope| {
        let asked = scope.spawn(|| server.query(ENDLESS).0);
        let worker = (0..200).find_map(|_| {
            thread::sleep(Duration::from_millis(10));
            let is_worker = |process: &String| {
                let line = std::fs::read(format!("/proc/{process}/cmdline"));
                line.is_ok_and(|line| String::from_utf8_lossy(&line).contains("--cpu-seconds"))
            };
            children(server.child.id()).into_iter().find(is_worker)
        });
        assert!(!has_secret(&worker.expect("a worker runs")));
        assert_eq!(asked.join().unwrap(), 408);
    });
}

#[test]
fn two_hundred_at_once_are_answered_or_refused() {
    let lake = lake();
    let server = Server::start(&lake);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let asked: Vec<_> = (0..200)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    server
                        .query(&format!("SELECT {number} AS n, count(*) FROM lab.probe1"))
                        .0
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    let (answered, refused) = (count(200), count(503));
    assert_eq!(answered + refused, 200, "{statuses:?}");
    assert!(answered >= 10, "two run and eight wait: {answered}");
    server.is_well();
}

#[test]
fn malformed_requests_are_refused() {
    let lake = lake();
    let server = Server::start(&lake);
    for (bytes, wanted) in [
        (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], 405),
        (b"POST /other HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"POST /?format=exe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nSELECT 1",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nHost: other.example\r\nContent-Length: 8\r\n\r\nSELECT 1",
            400,
        ),
        (
            b"POST http://other.example/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nSELECT 1",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\nContent-Length: 9\r\n\r\nSELECT 1",
            400,
        ),
        (
            b"POST /?format=csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\nSELECT 1 AS n",
            200,
        ),
    ] {
        assert_eq!(
            server.send(bytes).0,
            wanted,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    let mut long = b"POST / HTTP/1.1\r\n".to_vec();
    long.extend(std::iter::repeat_n(&b"X-Padding: aaaaaaaaaaaaaaaa\r\n"[..], 100_000).flatten());
    assert_eq!(server.send(&long).0, 431);
}
