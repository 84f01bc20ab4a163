//! The HTTP endpoint: one request per connection, each query in a worker.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::format::Format;
use crate::worker::{Outcome, Workers};

/// Longest head of a request, in bytes.
const HEAD_BYTES: u64 = 16 << 10;
/// Longest query, in bytes.
const QUERY_BYTES: u64 = 64 << 10;
/// Connections at one time; more are closed at once.
const CONNECTIONS: usize = 512;
/// How long a client may take to send or to read a piece.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who runs, who waits, who is connected.
struct Turns {
    state: Mutex<State>,
    freed: Condvar,
    running: usize,
    waiting: usize,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: usize,
    connected: usize,
}

impl Turns {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; `false` when too many wait already.
    fn take(&self) -> bool {
        let mut state = self.lock();
        if state.running >= self.running && state.waiting >= self.waiting {
            return false;
        }
        state.waiting += 1;
        while state.running >= self.running {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.running += 1;
        true
    }

    fn give_back(&self) {
        self.lock().running -= 1;
        self.freed.notify_one();
    }
}

/// Serves until the process ends.
pub fn serve(
    listen: SocketAddr,
    workers: Workers,
    running: usize,
    waiting: usize,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let turns = Arc::new(Turns {
        state: Mutex::default(),
        freed: Condvar::new(),
        running: running.max(1),
        waiting,
    });
    let workers = Arc::new(workers);
    for stream in listener.incoming() {
        // A client that is gone already is nobody's error.
        let Ok(stream) = stream else {
            continue;
        };
        if turns.lock().connected >= CONNECTIONS {
            continue;
        }
        turns.lock().connected += 1;
        let (turns, workers) = (Arc::clone(&turns), Arc::clone(&workers));
        thread::spawn(move || {
            // What fails here fails for this client alone, who sees a closed connection.
            let _ = talk(stream, &workers, &turns);
            turns.lock().connected -= 1;
        });
    }
    Ok(())
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    is_cut: bool,
    body: Vec<u8>,
}

impl Response {
    fn error(status: &'static str, message: &str) -> Response {
        let mut body = serde_json::json!({"error": message.trim()})
            .to_string()
            .into_bytes();
        body.push(b'\n');
        Response {
            status,
            content_type: "application/json",
            is_cut: false,
            body,
        }
    }
}

fn talk(stream: TcpStream, workers: &Workers, turns: &Turns) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let response = match request(&stream) {
        Err(error) => Response::error("400 Bad Request", &format!("{error:#}")),
        Ok((sql, format)) if turns.take() => {
            let outcome = workers.run(&sql, format);
            turns.give_back();
            respond(outcome, format)
        }
        Ok(_) => Response::error(
            "503 Service Unavailable",
            "too many queries wait; try again",
        ),
    };
    let Response {
        status,
        content_type,
        is_cut,
        body,
    } = response;
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nX-Truncated: {is_cut}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    Ok(())
}

/// The query and the format of a `POST`.
fn request(stream: &TcpStream) -> anyhow::Result<(String, Format)> {
    let mut reader = BufReader::new(stream.take(HEAD_BYTES + QUERY_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line).context("read the request")?;
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    anyhow::ensure!(method == "POST", "send the query as the body of a POST");
    let format = match target.split_once('?').map(|(_, query)| query) {
        Some("format=csv") => Format::Csv,
        None | Some("format=json" | "") => Format::Json,
        Some(_) => anyhow::bail!("the format is json or csv"),
    };
    let mut length = None;
    let mut head_bytes = line.len() as u64;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).context("read the request")?;
        head_bytes += header.len() as u64;
        anyhow::ensure!(
            head_bytes <= HEAD_BYTES && !header.is_empty(),
            "the head is too long or cut"
        );
        if header.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let length = length.context("the request has no Content-Length")?;
    anyhow::ensure!(
        length <= QUERY_BYTES,
        "a query has at most {QUERY_BYTES} bytes"
    );
    let mut body = vec![0; usize::try_from(length)?];
    reader.read_exact(&mut body).context("read the query")?;
    Ok((String::from_utf8(body).context("read the query")?, format))
}

fn respond(outcome: anyhow::Result<Outcome>, format: Format) -> Response {
    match outcome {
        Ok(Outcome::Answer { body, is_cut }) => Response {
            status: "200 OK",
            content_type: if format == Format::Csv {
                "text/csv"
            } else {
                "application/json"
            },
            is_cut,
            body,
        },
        Ok(Outcome::Refused(message)) => Response::error("400 Bad Request", &message),
        Ok(Outcome::TooLong) => Response::error(
            "408 Request Timeout",
            "the query took too long and was ended",
        ),
        Ok(Outcome::TooLarge) => {
            Response::error("413 Content Too Large", "the answer is too large")
        }
        Err(error) => Response::error("500 Internal Server Error", &format!("{error:#}")),
    }
}
