//! `contourd receive` (hidden): the receiver alone, for benches and for finding faults between it and a peer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::EXIT_OK;
use crate::dicom::AeTitle;
use crate::dimse::Caller;
use crate::receive::{Notice, Policy, serve};
use crate::spool::Spool;

/// Receive and store instances of anybody; nothing is made of them.
#[derive(Debug, Args)]
pub(super) struct ReceiveArgs {
    /// Storage folder.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// Address to listen on; port 0 takes a free one. The address is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:11112")]
    listen: SocketAddr,
    /// Our AE title.
    #[arg(long, value_name = "TITLE", default_value = "CONTOURD")]
    aet: AeTitle,
    /// Answer A700 while less is free.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    floor_bytes: u64,
}

impl ReceiveArgs {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.serve())?;
        Ok(EXIT_OK)
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let mut policy = Policy::default();
        policy.acceptance.called = vec![self.aet.clone()];
        policy.acceptance.unknown_caller = Some(Caller { may_send: true, ..Caller::default() });
        let (_policy, policies) = watch::channel(Arc::new(policy));
        let spool = Spool::open(&self.folder, self.floor_bytes)?;
        let listener = TcpListener::bind(self.listen).await?;
        println!("{}", listener.local_addr()?);
        let (notices, mut received) = mpsc::channel(64);
        let (down, shutdown) = watch::channel(false);
        tokio::spawn(async move {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            down.send_replace(true);
            std::io::Result::Ok(())
        });
        let counter = tokio::spawn(async move {
            let mut stored = 0_u64;
            while let Some(notice) = received.recv().await {
                stored += u64::from(matches!(&notice, Notice::Stored(stored) if stored.new));
            }
            stored
        });
        serve(listener, policies, spool, notices, shutdown).await;
        println!("{} instances stored", counter.await?);
        Ok(())
    }
}
