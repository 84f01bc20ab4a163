//! Credentials of the role of an instance or of a container, requested over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use groma_archive::{Opening, open};

const KEY: &str = "ASIAROLE";
const ROLES: &str = "/latest/meta-data/iam/security-credentials";
const SESSION: &str = "session-of-the-role";

/// A metadata service and an empty store in one. It records the credentials of requests to the store.
struct Keeper {
    address: SocketAddr,
    /// `authorization` and `x-amz-security-token` of each request to the store.
    asked: Arc<Mutex<Vec<[String; 2]>>>,
}

impl Keeper {
    fn start() -> Keeper {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::default();
        let of_thread = Arc::clone(&asked);
        // Ends with the program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // The client may be gone.
                let _ = answer(&stream.unwrap(), &of_thread);
            }
        });
        Keeper { address, asked }
    }
}

fn answer(stream: &TcpStream, asked: &Mutex<Vec<[String; 2]>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let role = format!(
        r#"{{"AccessKeyId":"{KEY}","SecretAccessKey":"a-secret","Token":"{SESSION}","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    let (status, body) = match path.trim_end_matches('/') {
        "/latest/api/token" => (200, "of-the-instance".to_owned()),
        ROLES if header("x-aws-ec2-metadata-token") == "of-the-instance" => {
            (200, "node".to_owned())
        }
        path if path == format!("{ROLES}/node") => (200, role),
        "/container" if header("authorization") == "of-the-container" => (200, role),
        path if path.starts_with("/latest") || path == "/container" => {
            (403, "no such role".to_owned())
        }
        _ => {
            let with = [header("authorization"), header("x-amz-security-token")];
            asked.lock().unwrap().push(with);
            (404, String::new())
        }
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn opening(keeper: &Keeper, variables: &[(&str, String)]) -> Opening {
    let mut all = vec![(
        "AWS_ENDPOINT_URL".to_owned(),
        format!("http://{}", keeper.address),
    )];
    all.extend(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    Opening {
        variables: all,
        stall: Duration::from_secs(2),
        ..Opening::to_write()
    }
}

#[test]
fn the_role_of_an_instance_or_a_container_signs() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "of-the-container").unwrap();
    let keeper = Keeper::start();
    let host = format!("http://{}", keeper.address);
    let instance = [("AWS_METADATA_ENDPOINT", host.clone())];
    let container = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("{host}/container"),
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.to_str().unwrap().to_owned(),
        ),
    ];
    for variables in [&instance[..], &container] {
        let store = open("s3://archive", &opening(&keeper, variables)).unwrap();
        assert_eq!(store.stat("a/b").unwrap(), None);
        let asked = std::mem::take(&mut *keeper.asked.lock().unwrap());
        assert_eq!(asked.len(), 1, "{asked:?}");
        let [authorization, session] = &asked[0];
        assert!(
            authorization.contains(&format!("Credential={KEY}/")),
            "{authorization}"
        );
        assert_eq!(session, SESSION);
    }
}

#[test]
fn a_role_that_is_refused_is_an_error_without_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "of-another-container").unwrap();
    let keeper = Keeper::start();
    let variables = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("http://{}/container", keeper.address),
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.to_str().unwrap().to_owned(),
        ),
    ];
    let store = open("s3://archive", &opening(&keeper, &variables)).unwrap();
    let error = store.stat("a/b").unwrap_err().to_string();
    assert!(error.contains("403"), "{error}");
    assert!(!error.contains("of-another-container"), "{error}");
    assert_eq!(*keeper.asked.lock().unwrap(), Vec::<[String; 2]>::new());
}
