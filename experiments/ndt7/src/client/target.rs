//! The server to connect to.

use hyper::Uri;

use super::ClientError;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) secure: bool,
    /// Without brackets, for resolving and for TLS.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it belongs into the header `Host`.
    pub(crate) authority: String,
    /// The query that the server's URL came with, such as an access token.
    pub(crate) query: Option<String>,
}

impl Target {
    /// Reads `host`, `host:port` or a URL. A path is ignored: the test decides it.
    pub(crate) fn parse(server: &str, tls: bool) -> Result<Self, ClientError> {
        let wrong = || ClientError::Server {
            server: server.split('?').next().unwrap_or_default().to_owned(),
        };
        let scheme = if tls { "wss" } else { "ws" };
        let url = if server.contains("://") {
            server.to_owned()
        } else {
            format!("{scheme}://{server}/")
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host();
        // The rest after the host must be a port: `Authority::port` does not report an invalid one.
        let after_host = authority.as_str().strip_prefix(host).ok_or_else(wrong)?;
        let port = match after_host.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None if secure => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            secure,
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_understood() {
        for (server, tls, expected) in [
            ("host:8080", false, (false, "host", 8080, "host:8080", None)),
            ("host", true, (true, "host", 443, "host", None)),
            ("[::1]:80", false, (false, "::1", 80, "[::1]:80", None)),
            (
                "wss://a.example/ndt/v7/download?access_token=x",
                false,
                (true, "a.example", 443, "a.example", Some("access_token=x")),
            ),
            ("ws://a:81", true, (false, "a", 81, "a:81", None)),
        ] {
            let target = Target::parse(server, tls).unwrap();
            let parsed = (
                target.secure,
                target.host.as_str(),
                target.port,
                target.authority.as_str(),
                target.query.as_deref(),
            );
            assert_eq!(parsed, expected);
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for server in [
            "",
            "a b",
            "ftp://a",
            "user@host:1",
            "host:99999",
            ":80",
            "ws://",
        ] {
            assert!(Target::parse(server, true).is_err(), "{server}");
        }
    }
}
