//! A server of answers that a test thinks up, for what no emulator does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use groma_archive::Opening;
use groma_archive::remote::google::Api;
use serde_json::Value;

use crate::client::Client;

/// A received request: method, path with its query, and the whole text.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A client of a server that answers by this function, and what it was asked: methods and paths.
pub(crate) fn client(
    mut answer: impl FnMut(&Asked) -> (u16, Value) + Send + 'static,
) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(asked) = read(&mut stream) else {
                continue;
            };
            let line = format!("{} {}", asked.method, asked.path);
            told.lock().unwrap().push(line);
            let (status, body) = answer(&asked);
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    let client = Client {
        api: Api::open(&host, &Opening::to_read()).unwrap(),
        project: "p".to_owned(),
        second: Duration::from_millis(1),
        again: false,
    };
    (client, log)
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| {
                let value = line.strip_prefix("content-length:")?;
                value.trim().parse().ok()
            });
            if bytes.len() >= head.len() + 4 + length.unwrap_or(0) {
                let mut words = head.split(' ');
                return Some(Asked {
                    method: words.next()?.to_owned(),
                    path: words.next()?.to_owned(),
                    text: text.into_owned(),
                });
            }
        }
        match stream.read(&mut some).ok()? {
            0 => return None,
            size => bytes.extend_from_slice(&some[..size]),
        }
    }
}
