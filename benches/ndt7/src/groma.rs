//! `groma-ndt7` with nothing around it.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use groma_experiment::{Experiment, Settings};
use groma_ndt7::client::{Client, ClientConfig, ClientError, Summary, Trust};
use groma_ndt7::server::{Config, Server, tls_from_pem};
use groma_service::Lifecycle;
use groma_uuid::Prefix;
use prometheus_client::registry::Registry;

/// Serves until standard input ends. Results go to a directory below the certificate's.
pub(crate) fn serve(seconds: f64, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut registry = Registry::default();
    let lifecycle = Lifecycle::new();
    lifecycle.ready();
    let settings = Settings {
        data_dir: certificate.with_file_name("spool"),
        prefix: Prefix::fallback(),
        require_policy: false,
        max_tests: 1000,
        event_socket: None,
    };
    let manifest = groma_ndt7::manifest()?;
    let experiment = Experiment::new(manifest, settings, lifecycle, &mut registry)?;
    let config = Config {
        cleartext: vec![TcpListener::bind("127.0.0.1:0")?],
        tls: Some((
            vec![TcpListener::bind("127.0.0.1:0")?],
            tls_from_pem(certificate, key)?,
        )),
        runtime: Duration::from_secs_f64(seconds),
        max_connections: 3000,
        ..Config::default()
    };
    let server = {
        let _inside = runtime.enter();
        Server::start(config, experiment, &mut registry)?
    };
    for local in server.local_addrs() {
        println!("{}", local.address);
    }
    std::io::read_to_string(std::io::stdin())?;
    runtime.block_on(server.drain(Duration::from_secs(30)));
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &registry)?;
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("ndt7_sample_lateness_seconds"))
    {
        println!("{line}");
    }
    Ok(())
}

/// One test; bytes and seconds.
pub(crate) fn measure(server: String, direction: &str) -> anyhow::Result<()> {
    let client = client(server)?;
    let summary = runtime()?.block_on(test(&client, direction))?;
    println!("{} {}", summary.bytes, summary.elapsed_us as f64 / 1e6);
    Ok(())
}

/// Many tests at one time.
pub(crate) fn crowd(server: &str, direction: &str, tests: usize) -> anyhow::Result<()> {
    let client = client(server.to_owned())?;
    let (good, sum_mbps) = runtime()?.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..tests {
            let (client, direction) = (client.clone(), direction.to_owned());
            running.spawn(async move { test(&client, &direction).await });
        }
        let mut found = (0, 0.0);
        while let Some(ended) = running.join_next().await {
            if let Ok(Ok(summary)) = ended {
                found = (found.0 + 1, found.1 + summary.mean_mbps);
            }
        }
        found
    });
    println!("{good} {sum_mbps}");
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn client(server: String) -> Result<Client, ClientError> {
    Client::new(ClientConfig {
        servers: vec![server],
        trust: Trust::Anybody,
        congestion_control: Some("bbr".to_owned()),
        ..ClientConfig::default()
    })
}

async fn test(client: &Client, direction: &str) -> Result<Summary, ClientError> {
    if direction == "download" {
        client.download(|_| {}).await
    } else {
        client.upload(|_| {}).await
    }
}
