//! The address of a DICOMweb server, checked; it looks up no names.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use thiserror::Error;

use crate::limits::HOST_LENGTH_MAX;

/// `https://host:8042/dicom-web`: the address under which `/studies` lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// What stands before `/studies`, without a slash at the end; empty for none.
    pub prefix: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct UrlError(&'static str);

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError("it is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(UrlError("it begins neither with https:// nor with http://")),
        };
        let authority = uri.authority().ok_or(UrlError("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(UrlError("a password does not belong into it: name a file that holds it"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(UrlError("it has more than a path"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || host.len() > HOST_LENGTH_MAX {
            return Err(UrlError("it names no host"));
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let asked = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        if port == 0 || asked.is_some_and(|(_, asked)| asked.parse::<u16>().is_err()) {
            return Err(UrlError("its port is none of 1 to 65535"));
        }
        Ok(Url { secure, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl Url {
    /// Host and port as they stand in a request.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_says_what_is_wrong() {
        let check = |text: &str| text.parse::<Url>().map_or_else(|error| error.to_string(), |url| url.to_string());
        for (text, expected) in [
            ("https://pacs:8042/dicom-web/", "https://pacs:8042/dicom-web"),
            ("http://127.0.0.1:8042", "http://127.0.0.1:8042"),
            ("https://pacs.example/a/b", "https://pacs.example:443/a/b"),
            ("https://[::1]:8443/x", "https://[::1]:8443/x"),
            ("ftp://pacs", "it begins neither with https:// nor with http://"),
            ("pacs:8042", "it begins neither with https:// nor with http://"),
            ("/dicom-web", "it begins neither with https:// nor with http://"),
            ("https://user:secret@pacs/", "a password does not belong into it: name a file that holds it"),
            ("https://pacs/?a=b", "it has more than a path"),
            ("https://pacs:0/", "its port is none of 1 to 65535"),
            ("https://pacs:70000/", "its port is none of 1 to 65535"),
            ("https://pa cs/", "it is no URL"),
            ("", "it is no URL"),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
    }
}
