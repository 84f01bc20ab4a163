//! The self-signed certificate of a lab.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use groma_disk::{Replace, write_durable};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::LabError;

/// PEM files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key, readable by the owner alone.
    pub key: PathBuf,
}

/// How long a certificate is used before a start makes a new one.
const RENEW_AFTER: Duration = Duration::from_hours(300 * 24);
/// How long it is valid; browsers refuse more than 398 days.
const VALID_DAYS: u32 = 397;

/// Returns the self-signed certificate in `dir`, and creates it if it is missing or old.
pub fn self_signed_in(dir: &Path) -> Result<Certificate, LabError> {
    let pair = Certificate {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    if is_fresh(&pair.cert) && pair.key.exists() {
        return Ok(pair);
    }
    let (cert, key) = self_signed().map_err(LabError::Certificate)?;
    let written = (|| {
        fs::create_dir_all(dir)?;
        write_secret(&pair.key, &key)?;
        // A certificate exists only beside a complete key.
        write_durable(&pair.cert, cert.as_bytes(), Replace::Always)
    })();
    written.map_err(|source| LabError::Directory {
        path: dir.to_owned(),
        source,
    })?;
    Ok(pair)
}

fn is_fresh(cert: &Path) -> bool {
    fs::metadata(cert)
        .and_then(|meta| meta.modified())
        .is_ok_and(|made| {
            SystemTime::now()
                .duration_since(made)
                .is_ok_and(|age| age < RENEW_AFTER)
        })
}

fn self_signed() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "Groma lab");
    params.distinguished_name = subject;
    let now = SystemTime::now();
    let day = Duration::from_hours(24);
    params.not_before = (now - day).into();
    params.not_after = (now + day * VALID_DAYS).into();
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
