//! `groma-ndt7` with nothing around it.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use groma_experiment::{Experiment, Settings};
use groma_ndt7::client::{Client, ClientConfig, Trust};
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
    runtime.block_on(server.drain(Duration::from_secs(5)));
    Ok(())
}

/// One test; the rate that a person would be told.
pub(crate) fn measure(server: String, direction: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = Client::new(ClientConfig {
        servers: vec![server],
        trust: Trust::Anybody,
        congestion_control: Some("bbr".to_owned()),
        ..ClientConfig::default()
    })?;
    let summary = runtime.block_on(async {
        if direction == "download" {
            client.download(|_| {}).await
        } else {
            client.upload(|_| {}).await
        }
    })?;
    println!("{} {}", summary.bytes, summary.elapsed_us as f64 / 1e6);
    Ok(())
}
