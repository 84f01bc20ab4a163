//! The certificate of a server, and its replacement while the server runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode as _;

/// How often, at most, the files are looked at. A look is two `stat(2)`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why no TLS server can be made of two PEM files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or is not PEM of the right kind.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: pem::Error,
    },
    /// Certificate and key do not go together.
    #[error("use certificate {certificate} with key {key}: {source}")]
    Use {
        /// The certificate chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

/// TLS for a server from two PEM files: a certificate chain and its private key.
///
/// When the files change, connections that are opened a second later get the new certificate, and on SIGHUP at once. While
/// certificate and key do not match, the server uses the old ones. The client's order of cipher suites counts, because the
/// client knows whether it has AES in hardware. HTTP/2 is not offered, because it has no upgrade to a WebSocket that
/// browsers would use for the test.
pub fn tls_from_pem(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(default_provider());
    let files = Files {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        provider: Arc::clone(&provider),
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| files.unusable(source))?
        .with_no_client_auth();
    let reloading = Arc::new(Reloading::new(files)?);
    let of_signal = Arc::downgrade(&reloading);
    groma_experiment::on_hangup(move || {
        if let Some(reloading) = of_signal.upgrade() {
            reloading.reload();
        }
    });
    let mut config = config.with_cert_resolver(reloading);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Where the certificate is.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// Modification times of both files; `None` for one that cannot be asked for.
type Stamp = [Option<SystemTime>; 2];

impl Files {
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| path.metadata().ok()?.modified().ok())
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Read { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(read(&self.certificate))?;
        if let Some(warning) = chain
            .first()
            .and_then(|leaf| validity_warning(leaf, SystemTime::now()))
        {
            tracing::warn!(certificate = %self.certificate.display(), "{warning}");
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(read(&self.key))?;
        CertifiedKey::from_der(chain, key, &self.provider)
            .map(Arc::new)
            .map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: rustls::Error) -> TlsError {
        TlsError::Use {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        }
    }
}

/// How long before its end a certificate is warned of.
const RENEW_BEFORE: Duration = Duration::from_hours(14 * 24);

/// Returns what is wrong with the certificate's period of validity (RFC 5280, section 4.1.2.5). One that cannot be parsed is
/// left to the TLS library.
fn validity_warning(leaf: &CertificateDer<'_>, now: SystemTime) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(leaf).ok()?;
    let validity = certificate.tbs_certificate.validity;
    let (begin, end) = (validity.not_before, validity.not_after);
    let time = |time: x509_cert::time::Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
    let (begin_time, end_time) = (time(begin), time(end));
    if now > end_time {
        Some(format!(
            "the certificate expired on {end}: clients refuse it; renew it"
        ))
    } else if now < begin_time {
        Some(format!(
            "the certificate is not valid before {begin}: clients refuse it; check this machine's clock"
        ))
    } else if now + RENEW_BEFORE > end_time {
        Some(format!("the certificate expires on {end}; renew it"))
    } else {
        None
    }
}

/// Gives every connection the newest certificate that is whole.
struct Reloading {
    files: Files,
    current: Mutex<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    /// The files as they were read last, successfully or not.
    stamp: Stamp,
    looked: Instant,
}

impl Reloading {
    fn new(files: Files) -> Result<Self, TlsError> {
        // The stamp first: what is written between the two is then read again.
        let stamp = files.stamp();
        let certified = files.read()?;
        let current = Mutex::new(Current {
            certified,
            stamp,
            looked: Instant::now(),
        });
        Ok(Self { files, current })
    }

    fn newest(&self) -> Arc<CertifiedKey> {
        let mut current = self.lock();
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            if self.files.stamp() != current.stamp {
                self.read_into(&mut current);
            }
        }
        Arc::clone(&current.certified)
    }

    /// Reads the files whatever their modification times say.
    fn reload(&self) {
        self.read_into(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_into(&self, current: &mut Current) {
        current.stamp = self.files.stamp();
        match self.files.read() {
            Ok(certified) => {
                tracing::info!(certificate = %self.files.certificate.display(), "certificate reloaded");
                current.certified = certified;
            }
            Err(error) => {
                tracing::error!(%error, "cannot reload the certificate; the old one stays");
            }
        }
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.newest())
    }
}

impl fmt::Debug for Reloading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_clients_refuse_is_warned_of() {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = parameters.self_signed(&key).unwrap();
        // Days since 1970-01-01; 2026-01-01 is day 20,454.
        let on = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_hours(24 * day);
        for (day, expected) in [
            (20_453, Some("not valid before 2026-01-01T00:00:00Z")),
            (20_460, None),
            (20_505, Some("expires on 2026-03-01T00:00:00Z")),
            (20_514, Some("expired on 2026-03-01T00:00:00Z")),
        ] {
            let warning = validity_warning(leaf.der(), on(day));
            assert_eq!(warning.is_some(), expected.is_some(), "{warning:?}");
            let warning = warning.unwrap_or_default();
            assert!(warning.contains(expected.unwrap_or_default()), "{warning}");
        }
        let not_a_certificate = CertificateDer::from(b"x".to_vec());
        assert_eq!(validity_warning(&not_a_certificate, on(20_460)), None);
    }
}
