//! A TLS connection that does nothing but carry bytes, with blocking sockets: what rustls itself allows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct, Error,
    ServerConfig, ServerConnection, SideData, SignatureScheme,
};

/// The parameters of a run, and the direction of the bytes.
#[derive(Debug, clap::Args)]
pub(crate) struct Shape {
    /// `download` or `upload`, as seen from the client.
    #[arg(long)]
    direction: String,
    /// How long the sender sends.
    #[arg(long)]
    seconds: f64,
    /// `ring`, or in a build with that feature `aws-lc-rs`.
    #[arg(long, default_value = "ring")]
    provider: String,
    /// `aes128`, `aes256` or `chacha20`.
    #[arg(long, default_value = "aes128")]
    suite: String,
    /// Largest record, header included; rustls allows up to 16389.
    #[arg(long)]
    record: Option<usize>,
    /// Plaintext per call.
    #[arg(long, default_value_t = 1 << 16)]
    buffer: usize,
    /// Bytes that are read from the kernel at one time and given to rustls in pieces; 0 lets rustls read.
    #[arg(long, default_value_t = 0)]
    read_buffer: usize,
}

impl Shape {
    fn provider(&self) -> anyhow::Result<Arc<CryptoProvider>> {
        let mut provider = match self.provider.as_str() {
            "ring" => ring::default_provider(),
            #[cfg(feature = "aws-lc-rs")]
            "aws-lc-rs" => rustls::crypto::aws_lc_rs::default_provider(),
            other => anyhow::bail!("this build has no provider {other:?}"),
        };
        let suite = match self.suite.as_str() {
            "aes256" => CipherSuite::TLS13_AES_256_GCM_SHA384,
            "chacha20" => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            _ => CipherSuite::TLS13_AES_128_GCM_SHA256,
        };
        provider.cipher_suites.retain(|one| one.suite() == suite);
        Ok(Arc::new(provider))
    }
}

/// The server's end.
pub(crate) fn serve(certificate: &Path, key: &Path, shape: &Shape) -> anyhow::Result<()> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(shape.provider()?)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.max_fragment_size = shape.record;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    let tls = ServerConnection::new(Arc::new(config))?;
    carry(stream, tls, shape, shape.direction == "download")
}

/// The client's end.
pub(crate) fn connect(server: SocketAddr, shape: &Shape) -> anyhow::Result<()> {
    let mut config = ClientConfig::builder_with_provider(shape.provider()?)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.max_fragment_size = shape.record;
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let stream = TcpStream::connect(server)?;
    carry(stream, tls, shape, shape.direction == "upload")
}

fn carry<S: SideData>(
    mut stream: TcpStream,
    mut tls: impl std::ops::DerefMut<Target = ConnectionCommon<S>>,
    shape: &Shape,
    sends: bool,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_congestion(&stream, "bbr")?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    tls.set_buffer_limit(Some(shape.buffer + (shape.buffer >> 6) + 1024));
    let start = Instant::now();
    let bytes = if sends {
        send(&mut stream, &mut tls, shape, start)?
    } else {
        receive(&mut stream, &mut tls, shape.read_buffer)?
    };
    println!("{bytes} {}", start.elapsed().as_secs_f64());
    Ok(())
}

fn send<S: SideData>(
    stream: &mut TcpStream,
    tls: &mut ConnectionCommon<S>,
    shape: &Shape,
    start: Instant,
) -> anyhow::Result<usize> {
    let load = vec![0x5a; shape.buffer];
    let mut bytes = 0;
    while start.elapsed() < Duration::from_secs_f64(shape.seconds) {
        bytes += tls.writer().write(&load)?;
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
    }
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(stream)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The receiver closes when it has everything.
    stream.read_to_end(&mut Vec::new())?;
    Ok(bytes)
}

fn receive<S: SideData>(
    stream: &mut TcpStream,
    tls: &mut ConnectionCommon<S>,
    read_buffer: usize,
) -> anyhow::Result<usize> {
    // A reader without room reads past itself.
    let mut stream = BufReader::with_capacity(read_buffer, stream);
    let mut bytes = 0;
    loop {
        if tls.read_tls(&mut stream)? == 0 {
            return Ok(bytes);
        }
        let mut waiting = tls.process_new_packets()?.plaintext_bytes_to_read();
        bytes += waiting;
        // Where they lie: copying them out would be the reader's own cost.
        while waiting > 0 {
            let mut reader = tls.reader();
            let chunk = reader.fill_buf()?.len();
            reader.consume(chunk);
            waiting -= chunk;
        }
    }
}

/// Accepts the self-signed certificate of the benchmark.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
