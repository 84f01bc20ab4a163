//! Every message size that anybody sends, to our server and to our client, whole and in fragments.

use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::clients::{client, close_and_drain, tungstenite_client, tungstenite_server};
use crate::lab::{Lab, Wishes};
use crate::wire::{close, frame, open, read_to_close};
use groma_ndt7::client::Trust;
use groma_ndt7::protocol::RUNTIME;

/// From 1 KiB to the largest that is accepted, 16 MiB.
const EXPONENTS: std::ops::RangeInclusive<u32> = 10..=24;
/// The client ends each test, however slow the machine.
fn patient() -> Wishes {
    Wishes {
        runtime: RUNTIME,
        ..Wishes::default()
    }
}

/// The number of messages of a size: enough that a fast path is recognised, and two of the largest.
fn count(size: usize) -> usize {
    ((4 << 20) / size).clamp(2, 1000)
}

#[tokio::test]
async fn our_server_counts_every_message_size_to_the_byte() {
    for exponent in EXPONENTS {
        let lab = Lab::start(&patient());
        let server = lab.ws();
        let sending = spawn_blocking(move || {
            let size = 1 << exponent;
            let mut socket = tungstenite_client(server, "/ndt/v7/upload");
            let load = vec![7; size];
            for _ in 0..count(size) {
                socket.send(Message::binary(load.clone())).unwrap();
                // A text after each message shows that the end of the message was found.
                let text = r#"{"AppInfo":{"NumBytes":1,"ElapsedTime":2}}"#;
                socket.send(Message::text(text)).unwrap();
            }
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
            (size, count(size))
        });
        let (size, messages) = sending.await.unwrap();
        let result = lab.result("Upload").await;
        let server = result["ServerMeasurements"].as_array().unwrap();
        let counted = server.last().unwrap()["AppInfo"]["NumBytes"].as_u64();
        assert_eq!(counted, Some((size * messages) as u64), "2^{exponent}");
        let texts = result["ClientMeasurements"].as_array().unwrap();
        assert_eq!(texts.len(), messages, "2^{exponent}");
    }
}

#[tokio::test]
async fn our_client_counts_every_message_size_to_the_byte() {
    for exponent in EXPONENTS {
        let size = 1 << exponent;
        let (server, serving) = tungstenite_server(move |mut socket| {
            let load = vec![7; size];
            for _ in 0..count(size) {
                socket.send(Message::binary(load.clone())).unwrap();
                socket.send(Message::Ping(b"x".as_slice().into())).unwrap();
            }
            socket.send(Message::text(r#"{"TCPInfo":{}}"#)).unwrap();
            close_and_drain(socket, CloseCode::Normal);
        });
        let client = client(server.to_string(), Trust::System, false);
        let summary = client.download(|_| {}).await.unwrap();
        serving.join().unwrap();
        assert_eq!(
            summary.bytes,
            (size * count(size)) as u64,
            "2^{exponent}: {summary:?}"
        );
    }
}

#[tokio::test]
async fn fragments_with_control_frames_between_them_are_one_message() {
    for fragment in [1 << 12, 1 << 16, 1 << 20] {
        let lab = Lab::start(&patient());
        let mut stream = open(lab.ws(), "/ndt/v7/upload").await;
        let total = 1 << 24;
        let load = vec![3; fragment];
        for index in 0..total / fragment {
            let opcode = if index == 0 { 0x02 } else { 0x00 };
            let last = index == total / fragment - 1;
            let first = opcode | if last { 0x80 } else { 0 };
            stream.write_all(&frame(first, &load)).await.unwrap();
            stream.write_all(&frame(0x8A, b"pong")).await.unwrap();
        }
        stream.write_all(&close(1000)).await.unwrap();
        let (_, closed) = read_to_close(&mut stream).await;
        assert_eq!(closed.map(|(code, _)| code), Some(1000));
        let result = lab.result("Upload").await;
        let server = result["ServerMeasurements"].as_array().unwrap();
        assert_eq!(server.last().unwrap()["AppInfo"]["NumBytes"], total);
    }
}

#[tokio::test]
async fn a_byte_more_than_16_mib_is_too_much_even_in_fragments() {
    let lab = Lab::start(&patient());
    let mut stream = open(lab.ws(), "/ndt/v7/upload").await;
    stream
        .write_all(&frame(0x02, &vec![3; 1 << 24]))
        .await
        .unwrap();
    stream.write_all(&frame(0x80, b"1")).await.unwrap();
    let (_, closed) = read_to_close(&mut stream).await;
    assert_eq!(closed.map(|(code, _)| code), Some(1009));
}
