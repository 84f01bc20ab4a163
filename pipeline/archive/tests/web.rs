//! Objects on a web server: presigned URLs, redirects, and unsolicited answers.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use groma_archive::{Opening, Store, open};

const NAME: &str = "lab/probe1/2024/05/06/20240506T070809.000000Z-probe1-mlab1-lga0t-lab.tgz";
const SECRET: &str = "X-Amz-Signature=SECRET";

/// A server that gives the answer of a closure to each request, of which it gets method and target.
fn serve(
    answer: impl Fn(&str, &str) -> String + Send + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    // Ends with the program.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let mut words = first.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            seen.lock().unwrap().push(format!("{method} {target}"));
            let _ = stream.write_all(answer(method, target).as_bytes());
        }
    });
    (address, asked)
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn redirect(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

fn opened(base: &str) -> Box<dyn Store> {
    let opening = Opening {
        stall: Duration::from_secs(5),
        variables: Vec::new(),
        ..Opening::to_read()
    };
    open(base, &opening).unwrap()
}

fn error_of(store: &dyn Store) -> String {
    match store.open(NAME) {
        Ok(_) => panic!("it opened"),
        Err(error) => format!("{error} {error:?}"),
    }
}

#[test]
fn a_presigned_url_is_asked_with_its_signature_which_nothing_shows() {
    let (address, asked) = serve(|method, target| {
        let is_signed = method == "GET" && target.ends_with(SECRET);
        if is_signed {
            ok("rows")
        } else {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
    });
    let store = opened(&format!("http://{address}/bucket?{SECRET}"));
    let mut body = String::new();
    store.open(NAME).unwrap().read_to_string(&mut body).unwrap();
    assert_eq!(body, "rows");
    assert_eq!(store.size(NAME).unwrap(), Some(4));
    assert!(!store.url(NAME).contains("SECRET"));
    assert_eq!(
        asked.lock().unwrap()[0],
        format!("GET /bucket/{NAME}?{SECRET}")
    );
    let wrong = opened(&format!("http://{address}/bucket?X-Amz-Signature=SECRET2"));
    let error = error_of(&*wrong);
    assert!(
        error.contains("403") && !error.contains("SECRET"),
        "{error}"
    );
}

#[test]
fn redirects_are_followed_within_a_host_alone() {
    let (other, never) = serve(|_, _| ok("of another host"));
    let (address, _) = serve(move |_, target| match target {
        target if target.starts_with("/moved/") => redirect("/here/x"),
        "/here/x" => ok("rows"),
        target if target.starts_with("/loop/") => redirect(target),
        _ => redirect(&format!("http://{other}/x?{SECRET}")),
    });
    let mut body = String::new();
    let moved = opened(&format!("http://{address}/moved"));
    moved.open(NAME).unwrap().read_to_string(&mut body).unwrap();
    assert_eq!(body, "rows");
    for base in ["elsewhere", "loop"] {
        let error = error_of(&*opened(&format!("http://{address}/{base}?{SECRET}")));
        assert!(error.contains("redirects to"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    assert!(never.lock().unwrap().is_empty());
}

#[test]
fn an_answer_304_is_an_error_that_names_it() {
    let (address, _) =
        serve(|_, _| "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned());
    let error = error_of(&*opened(&format!("http://{address}/bucket")));
    assert!(error.contains("304 Not Modified"), "{error}");
    assert!(error.contains(&address.to_string()), "{error}");
}

#[cfg(feature = "s3")]
#[test]
fn without_credentials_no_metadata_service_is_asked() {
    let mut opening = Opening {
        variables: Vec::new(),
        ..Opening::to_read()
    };
    let Err(error) = open("s3://bucket/x", &opening) else {
        panic!("it opened");
    };
    let error = error.to_string();
    assert!(
        error.contains("credentials") && error.contains("AWS_ACCESS_KEY_ID"),
        "{error}"
    );
    for name in [
        "AWS_SKIP_SIGNATURE",
        "AWS_ACCESS_KEY_ID",
        "GROMA_S3_INSTANCE_ROLE",
    ] {
        opening.variables = vec![(name.to_owned(), "true".to_owned())];
        if name == "AWS_ACCESS_KEY_ID" {
            let secret = ("AWS_SECRET_ACCESS_KEY".to_owned(), "x".to_owned());
            opening.variables.push(secret);
        }
        assert!(open("s3://bucket/x", &opening).is_ok(), "{name}");
    }
}

#[cfg(feature = "s3")]
#[test]
fn a_bucket_that_answers_304_is_an_error_that_names_it() {
    let (address, _) =
        serve(|_, _| "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned());
    let opening = Opening {
        stall: Duration::from_secs(5),
        variables: [
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_SKIP_SIGNATURE", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        ..Opening::to_read()
    };
    let store = open("s3://bucket/x", &opening).unwrap();
    for error in [
        store.open(NAME).err().map(|error| error.to_string()),
        store.size(NAME).err().map(|error| error.to_string()),
        store.list("").err().map(|error| error.to_string()),
    ] {
        let error = error.unwrap();
        assert!(error.contains("304 Not Modified"), "{error}");
    }
}
