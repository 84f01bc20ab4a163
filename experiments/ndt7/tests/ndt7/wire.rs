//! A peer that writes bytes by hand, sharing no code with the server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const MASK: [u8; 4] = [1, 2, 3, 4];

/// The head of a request that is accepted, with another target, with or instead of some headers (an empty value leaves
/// a header out).
pub(crate) fn head(method: &str, target: &str, changes: &[(&str, &str)]) -> String {
    let mut headers = vec![
        ("Host", "localhost"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "net.measurementlab.ndt.v7"),
    ];
    for (name, value) in changes {
        headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{method} {target} HTTP/1.1\r\n{}\r\n", lines.concat())
}

/// Sends a request and reads the head of its reply; nothing after it.
pub(crate) async fn ask(server: SocketAddr, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let reply = read_head(&mut stream).await;
    (stream, reply)
}

/// The head of a reply, and not a byte more.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => reply.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(reply).unwrap()
}

/// Opens a test.
pub(crate) async fn open(server: SocketAddr, target: &str) -> TcpStream {
    let (stream, reply) = ask(server, &head("GET", target, &[])).await;
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    stream
}

/// A masked frame whose first byte is `first`.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            bytes.push(0x80 | 0x7E);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 0x7F);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

pub(crate) fn close(code: u16) -> Vec<u8> {
    frame(0x88, &code.to_be_bytes())
}

/// One frame of the server: its first byte and its payload. `None` at the end of the connection.
pub(crate) async fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let length = match stream.read_u8().await.ok()? {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        length => u64::from(length),
    };
    assert!(length <= 1 << 20, "a server's message is at most 1 MiB");
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((first, payload))
}

/// All frames up to and with the close frame, and its code and reason if there was one.
pub(crate) async fn read_to_close(
    stream: &mut TcpStream,
) -> (Vec<(u8, Vec<u8>)>, Option<(u16, String)>) {
    let mut frames = Vec::new();
    while let Some((first, payload)) = read_frame(stream).await {
        if first == 0x88 {
            let code = payload
                .first_chunk()
                .map_or(1005, |code| u16::from_be_bytes(*code));
            let reason = payload.get(2..).unwrap_or_default().to_vec();
            return (frames, Some((code, String::from_utf8(reason).unwrap())));
        }
        frames.push((first, payload));
    }
    (frames, None)
}
