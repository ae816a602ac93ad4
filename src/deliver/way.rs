//! The way to a destination, step by step, for an operator who looks for a fault; nothing is sent over it.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::connect::connect;
use super::{dicom, dicomweb};
use crate::tls::{self, Agreed, ClientTls, Presented};

/// Where a destination listens, and how it is called.
#[derive(Clone, Debug)]
pub struct Way {
    pub host: String,
    pub port: u16,
    /// `None` for a connection without TLS.
    pub tls: Option<ClientTls>,
    /// For each step.
    pub limit: Duration,
}

impl From<&dicom::Destination> for Way {
    fn from(to: &dicom::Destination) -> Way {
        Way { host: to.host.clone(), port: to.port, tls: to.tls.clone(), limit: to.connect_timeout }
    }
}

impl From<&dicomweb::Destination> for Way {
    fn from(to: &dicomweb::Destination) -> Way {
        Way { host: to.url.host.clone(), port: to.url.port, tls: to.tls.clone(), limit: to.connect_timeout }
    }
}

impl Way {
    /// The addresses of the host.
    ///
    /// # Errors
    /// Why the name leads nowhere.
    pub async fn resolve(&self) -> Result<Vec<String>, String> {
        let found = timeout(self.limit, lookup_host((self.host.as_str(), self.port))).await;
        let found = found.map_err(|_| format!("no answer of the name service within {:?}", self.limit))?;
        let addresses = found.map_err(|error| error.to_string())?;
        let mut addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
        addresses.dedup();
        Ok(addresses)
    }

    /// Opens a TCP connection and closes it; says from which address of ours to which of theirs.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn reach(&self) -> Result<(String, String), String> {
        let stream = self.tcp().await?;
        let ours = stream.local_addr().map_or_else(|error| error.to_string(), |address| address.ip().to_string());
        let theirs = stream.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
        Ok((ours, theirs))
    }

    /// Shakes hands as for a delivery and closes; `None` without TLS.
    ///
    /// # Errors
    /// Why there is no connection with TLS, with what can be done about it.
    pub async fn shake(&self) -> Result<Option<Agreed>, String> {
        let shaken = connect((&self.host, self.port), self.tls.as_ref(), self.limit).await;
        shaken.map(|stream| stream.agreed()).map_err(|error| error.to_string())
    }

    /// The certificates that the host presents, believed or not.
    ///
    /// # Errors
    /// None came.
    pub async fn presented(&self) -> Result<Vec<Presented>, String> {
        let stream = self.tcp().await?;
        let looked = timeout(self.limit, tls::inspect(stream, &self.host)).await;
        looked.map_err(|_| self.silent())?.map_err(|error| tls::explain_handshake(&error))
    }

    async fn tcp(&self) -> Result<TcpStream, String> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        timeout(self.limit, connecting).await.map_err(|_| self.silent())?.map_err(|error| error.to_string())
    }

    fn silent(&self) -> String {
        format!("no answer within {:?}", self.limit)
    }
}
