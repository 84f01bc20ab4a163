//! Peers that leave, stall or send nonsense: the server goes on, and every test that began leaves exactly one whole file.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{Lab, Wishes};
use crate::wire::{MASK, ask, close, frame, head, open, read_to_close};

/// A good test still runs.
async fn check_alive(lab: &Lab) {
    let mut stream = open(lab.ws(), "/ndt/v7/download").await;
    let (frames, closed) = read_to_close(&mut stream).await;
    assert_eq!(closed.map(|(code, _)| code), Some(1000));
    assert!(!frames.is_empty());
    stream.write_all(&close(1000)).await.unwrap();
}

#[tokio::test]
async fn leaving_at_every_byte_of_the_request_harms_nothing() {
    let lab = Lab::start(&Wishes::default());
    let request = head("GET", "/ndt/v7/download", &[]);
    for length in 0..request.len() {
        let mut stream = TcpStream::connect(lab.ws()).await.unwrap();
        stream
            .write_all(&request.as_bytes()[..length])
            .await
            .unwrap();
    }
    check_alive(&lab).await;
    lab.results(1).await;
    lab.metric("netx_current_open_conns 0").await;
}

#[tokio::test]
async fn leaving_at_every_byte_after_the_upgrade_leaves_one_file_each() {
    let lab = Lab::start(&Wishes {
        runtime: Duration::from_secs(10),
        ..Wishes::default()
    });
    let measurement = frame(0x81, br#"{"AppInfo":{"NumBytes":1,"ElapsedTime":2}}"#);
    let said = [measurement, frame(0x89, b"ping"), frame(0x82, &[1; 200])].concat();
    let steps: Vec<usize> = (0..said.len()).step_by(7).collect();
    for path in ["/ndt/v7/download", "/ndt/v7/upload"] {
        for length in &steps {
            let mut stream = open(lab.ws(), path).await;
            stream.write_all(&said[..*length]).await.unwrap();
        }
    }
    for (_, result) in lab.results(steps.len() * 2).await {
        let data = if result["Upload"].is_null() {
            &result["Download"]
        } else {
            &result["Upload"]
        };
        assert!(!data["ServerMeasurements"].as_array().unwrap().is_empty());
    }
    lab.metric("netx_current_open_conns 0").await;
    let results: usize = lab
        .metrics()
        .lines()
        .filter(|line| line.starts_with("ndt7_client_test_results_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(results, steps.len() * 2, "one label per test");
}

#[tokio::test]
async fn nonsense_harms_nothing() {
    let lab = Lab::start(&Wishes::default());
    let mut endless_header = b"GET / HTTP/1.1\r\nA: ".to_vec();
    endless_header.resize(200_000, b'x');
    let nonsense: [Vec<u8>; 5] = [
        vec![0; 5000],
        vec![0xFF; 5000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET /ndt/v7/download HTTP/9.9\r\n\r\n".to_vec(),
        endless_header,
    ];
    for address in [lab.ws(), lab.wss()] {
        for bytes in &nonsense {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may hang up in the middle of it.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    check_alive(&lab).await;
    lab.results(1).await;
}

#[tokio::test]
async fn nonsense_after_the_upgrade_harms_nothing() {
    let lab = Lab::start(&Wishes::default());
    let mut huge_text = vec![0x81, 0xFF];
    huge_text.extend(u64::MAX.to_be_bytes());
    huge_text.extend(MASK);
    let nonsense = [
        vec![0; 5000],
        vec![0xFF; 5000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        huge_text,
    ];
    for bytes in &nonsense {
        let mut stream = open(lab.ws(), "/ndt/v7/upload").await;
        stream.write_all(bytes).await.unwrap();
        let (_, closed) = read_to_close(&mut stream).await;
        assert!(matches!(closed, Some((1002 | 1009, _))), "{closed:?}");
    }
    check_alive(&lab).await;
    lab.results(nonsense.len() + 1).await;
}

#[tokio::test]
async fn a_flood_of_pings_that_reads_nothing_is_survived() {
    let lab = Lab::start(&Wishes::default());
    let mut stream = open(lab.ws(), "/ndt/v7/download").await;
    let pings = frame(0x89, &[b'x'; 125]).repeat(1000);
    while stream.write_all(&pings).await.is_ok() {}
    lab.results(1).await;
    check_alive(&lab).await;
}

#[tokio::test]
async fn who_takes_too_long_for_a_request_is_cut() {
    let lab = Lab::start(&Wishes {
        handshake_wait: Duration::from_millis(300),
        ..Wishes::default()
    });
    for address in [lab.ws(), lab.wss()] {
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert!(matches!(silent.read(&mut [0; 100]).await, Ok(0) | Err(_)));
    }
    let mut slow = TcpStream::connect(lab.ws()).await.unwrap();
    for byte in head("GET", "/ndt/v7/download", &[]).bytes() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    let mut reply = Vec::new();
    let _ = slow.read_to_end(&mut reply).await;
    assert!(!reply.starts_with(b"HTTP/1.1 101"));
    check_alive(&lab).await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let lab = Lab::start(&Wishes {
        max_connections: 2,
        ..Wishes::default()
    });
    let first = TcpStream::connect(lab.ws()).await.unwrap();
    let second = TcpStream::connect(lab.ws()).await.unwrap();
    lab.metric("netx_current_open_conns 2").await;
    let mut third = TcpStream::connect(lab.ws()).await.unwrap();
    assert!(matches!(third.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    lab.metric("ndt7_refused_connections_total 1").await;
    drop((first, second));
    lab.metric("netx_current_open_conns 0").await;
    check_alive(&lab).await;
}

#[tokio::test]
async fn one_client_does_not_take_all_places() {
    let lab = Lab::start(&Wishes {
        max_tests_per_client: 1,
        ..Wishes::default()
    });
    let mut running = open(lab.ws(), "/ndt/v7/download").await;
    let (_, refused) = ask(lab.ws(), &head("GET", "/ndt/v7/download", &[])).await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    lab.metric("ndt7_refused_tests_total 1").await;
    // Another address of the same machine is another client.
    drop(open(lab.ws6(), "/ndt/v7/download").await);
    read_to_close(&mut running).await;
    running.write_all(&close(1000)).await.unwrap();
    lab.metric("netx_current_open_conns 0").await;

    let mut open_connections = Vec::new();
    for _ in 0..12 {
        open_connections.push(TcpStream::connect(lab.ws()).await.unwrap());
    }
    lab.metric("netx_current_open_conns 12").await;
    let mut more = TcpStream::connect(lab.ws()).await.unwrap();
    assert!(matches!(more.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    lab.metric("ndt7_refused_connections_total 1").await;
}

#[tokio::test]
async fn draining_ends_running_tests_and_idle_connections() {
    let lab = Lab::start(&Wishes {
        // Longer than the grace: an idle connection is not waited for.
        handshake_wait: Duration::from_mins(10),
        ..Wishes::default()
    });
    let address = lab.ws();
    let idle = TcpStream::connect(address).await.unwrap();
    let mut running = open(address, "/ndt/v7/download").await;
    let Lab { server, dir, .. } = lab;
    let draining = tokio::spawn(server.drain(Duration::from_secs(30)));
    let (_, closed) = read_to_close(&mut running).await;
    assert_eq!(closed.map(|(code, _)| code), Some(1000));
    running.write_all(&close(1000)).await.unwrap();
    assert!(
        draining.await.unwrap(),
        "all connections ended within the grace"
    );
    assert!(TcpStream::connect(address).await.is_err());
    drop((idle, dir));
}
