//! The messages that are allowed after the upgrade, and those that the server sends.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::lab::{Lab, Wishes};
use crate::wire::{MASK, close, frame, head, open, read_frame, read_head, read_to_close};

fn check_done(closed: Option<&(u16, String)>, name: &str) {
    let expected = (1000, "Done sending".to_owned());
    assert_eq!(closed, Some(&expected), "{name}");
}

/// A measurement has everything in it, every time.
fn check_measurement(measurement: &Value) {
    for (object, fields) in [
        ("AppInfo", &["NumBytes", "ElapsedTime"][..]),
        ("ConnectionInfo", &["Client", "Server", "UUID", "StartTime"]),
        (
            "BBRInfo",
            &["BW", "MinRTT", "PacingGain", "CwndGain", "ElapsedTime"],
        ),
        (
            "TCPInfo",
            &[
                "State",
                "BytesAcked",
                "BytesReceived",
                "MinRTT",
                "SndWnd",
                "ElapsedTime",
            ],
        ),
    ] {
        for field in fields {
            assert!(
                !measurement[object][field].is_null(),
                "{object}.{field}: {measurement}"
            );
        }
    }
}

#[tokio::test]
async fn a_download_is_load_with_measurements_in_between() {
    let lab = Lab::start(&Wishes::default());
    let mut stream = open(
        lab.ws(),
        "/ndt/v7/download?client_name=test&access_token=secret",
    )
    .await;
    let client = stream.local_addr().unwrap().to_string();
    let (frames, closed) = read_to_close(&mut stream).await;
    stream.write_all(&close(1000)).await.unwrap();
    check_done(closed.as_ref(), "close frame");
    assert!(
        read_frame(&mut stream).await.is_none(),
        "the server closes TCP"
    );

    let load: Vec<usize> = of_kind(&frames, 0x82).map(Vec::len).collect();
    assert!(load.starts_with(&[8192; 16]));
    assert!(load.iter().all(|size| size.is_power_of_two()));
    let texts: Vec<Value> = of_kind(&frames, 0x81)
        .map(|text| {
            assert!(text.ends_with(b"}\n"));
            serde_json::from_slice(text).unwrap()
        })
        .collect();
    let mut previous = None;
    for (first, payload) in &frames {
        if previous == Some(0x81) {
            let digits = payload.len() == 19 && payload.iter().all(u8::is_ascii_digit);
            assert!(*first == 0x89 && digits, "a ping follows each measurement");
        }
        previous = Some(*first);
    }
    let [.., (0x81, _), (0x89, _)] = frames.as_slice() else {
        panic!("the last measurement stands just before the close frame");
    };

    let (name, result) = lab.results(1).await.remove(0);
    let data = &result["Download"];
    assert_eq!(data["ServerMeasurements"].as_array().unwrap(), &texts);
    texts.iter().for_each(check_measurement);
    let last = &texts[texts.len() - 1];
    assert!(last["TCPInfo"]["ElapsedTime"].as_i64().unwrap() >= 700_000);
    assert_eq!(last["ConnectionInfo"]["Client"], client);
    let uuid = data["UUID"].as_str().unwrap();
    assert_eq!(last["ConnectionInfo"]["UUID"], uuid);
    assert!(
        name.starts_with("ndt7-download-") && name.ends_with(&format!("Z.{uuid}.json")),
        "{name}"
    );
    assert_eq!(data["ClientMeasurements"], Value::Null);
    assert_eq!(
        data["ClientMetadata"].to_string(),
        r#"[{"Name":"client_name","Value":"test"}]"#
    );
    let server_metadata = data["ServerMetadata"].to_string();
    assert!(
        server_metadata.contains(r#"{"Name":"congestion_control","Value":""#),
        "{server_metadata}"
    );
    let line = r#"ndt7_client_test_results_total{protocol="ndt7+ws",direction="download",result="okay-with-rate"} 1"#;
    lab.metric(line).await;
    lab.metric("netx_current_open_conns 0").await;
}

fn of_kind(frames: &[(u8, Vec<u8>)], kind: u8) -> impl Iterator<Item = &Vec<u8>> {
    frames
        .iter()
        .filter(move |(first, _)| *first == kind)
        .map(|(_, payload)| payload)
}

#[tokio::test]
async fn an_upload_is_counted_and_measured() {
    let lab = Lab::start(&Wishes::default());
    let stream = open(lab.ws6(), "/ndt/v7/upload").await;
    let (mut input, mut output) = stream.into_split();
    let message = frame(0x82, &vec![7; 1 << 16]);
    let sending = tokio::spawn(async move { while output.write_all(&message).await.is_ok() {} });
    // The reader stops at the close frame; dropping it then lets the writer fail.
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut input, &mut bytes)
        .await
        .ok();
    drop(input);
    sending.await.unwrap();

    let result = lab.results(1).await.remove(0).1;
    assert_eq!(result["ServerIP"], "::1");
    let measurements = result["Upload"]["ServerMeasurements"]
        .as_array()
        .unwrap()
        .clone();
    measurements.iter().for_each(check_measurement);
    let last = &measurements[measurements.len() - 1];
    let received = last["AppInfo"]["NumBytes"].as_i64().unwrap();
    assert!(received >= 1 << 16, "{received}");
    assert!(last["TCPInfo"]["BytesReceived"].as_i64().unwrap() >= received);
}

#[tokio::test]
async fn violations_are_answered_with_their_code() {
    let lab = Lab::start(&Wishes::default());
    let too_long = {
        let mut bytes = vec![0x82, 0xFF];
        bytes.extend(((1u64 << 24) + 1).to_be_bytes());
        bytes.extend(MASK);
        bytes
    };
    let cases = [
        ("message over 16 MiB", too_long, 1009),
        ("no mask", vec![0x82, 1, 0], 1002),
        ("unknown opcode", frame(0x83, b"x"), 1002),
        ("reserved bit", frame(0xC2, b"x"), 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("long ping", frame(0x89, &[b'x'; 126]), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("close frame of one byte", frame(0x88, b"x"), 1002),
        ("close code that must not be sent", close(1006), 1002),
        (
            "close reason that is no UTF-8",
            frame(0x88, &[3, 232, 0xFF]),
            1007,
        ),
    ];
    let count = cases.len() * 2;
    for path in ["/ndt/v7/download", "/ndt/v7/upload"] {
        for (name, bytes, code) in &cases {
            let mut stream = open(lab.ws(), path).await;
            stream.write_all(bytes).await.unwrap();
            let (_, closed) = read_to_close(&mut stream).await;
            assert_eq!(closed, Some((*code, String::new())), "{path} {name}");
        }
    }
    lab.results(count).await;
    for direction in ["download", "upload"] {
        lab.metric(&format!(
            "ndt7_client_test_results_total{{protocol=\"ndt7+ws\",direction=\"{direction}\",result=\"error-with-rate\"}} {}",
            cases.len()
        ))
        .await;
    }
}

#[tokio::test]
async fn a_message_of_16_mib_is_taken() {
    let lab = Lab::start(&Wishes {
        runtime: Duration::from_secs(2),
        ..Wishes::default()
    });
    let mut stream = open(lab.ws(), "/ndt/v7/upload").await;
    stream
        .write_all(&frame(0x82, &vec![0; 1 << 24]))
        .await
        .unwrap();
    let (_, closed) = read_to_close(&mut stream).await;
    check_done(closed.as_ref(), "close frame");
    let result = lab.result("Upload").await;
    let last = result["ServerMeasurements"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert_eq!(last["AppInfo"]["NumBytes"], 1 << 24);
}

#[tokio::test]
async fn what_a_client_may_say_in_a_download_does_not_disturb_it() {
    let lab = Lab::start(&Wishes::default());
    let measurement = br#"{"Origin":"client","AppInfo":{"NumBytes":1,"ElapsedTime":2}}"#;
    let cases: [(&str, Vec<Vec<u8>>, usize); 6] = [
        (
            "measurements",
            vec![frame(0x81, measurement), frame(0x81, measurement)],
            2,
        ),
        (
            "garbage",
            vec![
                frame(0x81, measurement),
                frame(0x81, b"{garbage"),
                frame(0x81, measurement),
            ],
            1,
        ),
        ("no UTF-8", vec![frame(0x81, b"{\"\xff\":1}")], 0),
        (
            "pongs",
            vec![frame(0x8A, b""), frame(0x8A, b"no number")],
            0,
        ),
        (
            "load",
            vec![frame(0x82, &vec![0; 70_000]), frame(0x81, measurement)],
            1,
        ),
        (
            "fragments",
            vec![
                frame(0x01, &measurement[..9]),
                frame(0x80, &measurement[9..]),
            ],
            1,
        ),
    ];
    for (count, (name, frames, kept)) in cases.iter().enumerate() {
        let mut stream = open(lab.ws(), "/ndt/v7/download").await;
        stream.write_all(&frames.concat()).await.unwrap();
        let (_, closed) = read_to_close(&mut stream).await;
        stream.write_all(&close(1000)).await.unwrap();
        check_done(closed.as_ref(), name);
        let result = lab.results(count + 1).await.pop().unwrap().1;
        let client = &result["Download"]["ClientMeasurements"];
        assert_eq!(
            client.as_array().map_or(0, Vec::len),
            *kept,
            "{name}: {client}"
        );
    }
    for line in [
        r#"ndt7_client_ignored_messages_total{direction="download",kind="unreadable"} 3"#,
        "ndt7_client_ignored_load_bytes_total 70000",
        r#"ndt7_client_test_results_total{protocol="ndt7+ws",direction="download",result="okay-with-rate"} 6"#,
    ] {
        lab.metric(line).await;
    }
}

#[tokio::test]
async fn what_comes_together_with_the_request_is_heard() {
    let lab = Lab::start(&Wishes::default());
    let mut said = head("GET", "/ndt/v7/upload", &[]).into_bytes();
    said.extend(frame(0x82, &[7; 1000]));
    said.extend(frame(0x89, b"early"));
    let mut stream = TcpStream::connect(lab.ws()).await.unwrap();
    stream.write_all(&said).await.unwrap();
    read_head(&mut stream).await;
    let (frames, closed) = read_to_close(&mut stream).await;
    check_done(closed.as_ref(), "close frame");
    assert!(frames.contains(&(0x8A, b"early".to_vec())));
    let result = lab.result("Upload").await;
    let measurements = result["ServerMeasurements"].as_array().unwrap();
    assert_eq!(measurements.last().unwrap()["AppInfo"]["NumBytes"], 1000);
}

#[tokio::test]
async fn a_ping_is_answered() {
    let lab = Lab::start(&Wishes::default());
    for path in ["/ndt/v7/download", "/ndt/v7/upload"] {
        let mut stream = open(lab.ws(), path).await;
        stream
            .write_all(&frame(0x89, b"are you there"))
            .await
            .unwrap();
        let (frames, _) = read_to_close(&mut stream).await;
        assert!(
            frames.contains(&(0x8A, b"are you there".to_vec())),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_client_that_closes_first_is_echoed() {
    let lab = Lab::start(&Wishes {
        runtime: Duration::from_secs(10),
        ..Wishes::default()
    });
    for path in ["/ndt/v7/download", "/ndt/v7/upload"] {
        for (sent, echoed) in [
            (close(1000), 1000),
            (close(4321), 4321),
            (frame(0x88, b""), 1005),
        ] {
            let mut stream = open(lab.ws(), path).await;
            stream.write_all(&sent).await.unwrap();
            let (_, closed) = read_to_close(&mut stream).await;
            assert_eq!(closed, Some((echoed, String::new())), "{path}");
            assert!(
                read_frame(&mut stream).await.is_none(),
                "the server closes TCP"
            );
        }
    }
    for (_, result) in lab.results(6).await {
        let data = if result["Upload"].is_null() {
            &result["Download"]
        } else {
            &result["Upload"]
        };
        check_measurement(
            data["ServerMeasurements"]
                .as_array()
                .unwrap()
                .last()
                .unwrap(),
        );
    }
}

#[tokio::test]
async fn a_client_that_never_answers_delays_no_result() {
    let lab = Lab::start(&Wishes::default());
    let mut silent = open(lab.ws(), "/ndt/v7/download").await;
    let mut unread = open(lab.ws(), "/ndt/v7/download").await;
    let (_, closed) = read_to_close(&mut silent).await;
    check_done(closed.as_ref(), "close frame");
    // Both connections are still open when their results are there.
    let results = lab.results(2).await;
    lab.metric("netx_current_open_conns 2").await;
    for (_, result) in results {
        // The last sample was taken at the end, although one server could not write any more.
        let measurements = &result["Download"]["ServerMeasurements"];
        let last = measurements.as_array().unwrap().last().unwrap();
        assert!(last["TCPInfo"]["ElapsedTime"].as_i64().unwrap() >= 700_000);
    }
    let okay = r#"ndt7_client_test_results_total{protocol="ndt7+ws",direction="download",result="okay-with-rate"} 2"#;
    lab.metric(okay).await;
    // Then both are cut, though they say nothing.
    lab.metric("netx_current_open_conns 0").await;
    let (frames, _) = read_to_close(&mut unread).await;
    assert!(!frames.is_empty());
}

#[tokio::test]
async fn early_exit_ends_a_download_after_250_megabytes() {
    let lab = Lab::start(&Wishes {
        runtime: Duration::from_mins(1),
        ..Wishes::default()
    });
    let mut stream = open(lab.ws(), "/ndt/v7/download?early_exit=250").await;
    let (frames, closed) = read_to_close(&mut stream).await;
    stream.write_all(&close(1000)).await.unwrap();
    check_done(closed.as_ref(), "close frame");
    let load_bytes: usize = of_kind(&frames, 0x82).map(Vec::len).sum();
    // Beyond the limit there is at most what stood in the buffers of both kernels.
    assert!(
        (250_000_000..350_000_000).contains(&load_bytes),
        "{load_bytes}"
    );
    let result = lab.result("Download").await;
    let last = result["ServerMeasurements"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    assert!(last["TCPInfo"]["BytesAcked"].as_i64().unwrap() >= 250_000_000);
    lab.metric(
        r#"ndt7_client_test_results_total{protocol="ndt7+ws",direction="download",result="okay-with-rate"} 1"#,
    )
    .await;
}
