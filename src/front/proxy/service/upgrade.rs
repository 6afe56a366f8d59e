//! Connections that changed their protocol: WebSocket, or whatever client and application have agreed on.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// When one side has ended, the other one may go on this long.
const LINGER: Duration = Duration::from_secs(60);

/// Carries bytes both ways until both sides have ended, with back-pressure: what one side does not read, the other
/// cannot send. Silence is no end; a side that has vanished is found out by TCP's keep-alive.
pub(super) async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, place: OwnedSemaphorePermit) {
    let carried = async {
        let client = client.await.map_err(io::Error::other)?;
        let upstream = upstream.await.map_err(io::Error::other)?;
        carry(client, upstream).await
    };
    if let Err(error) = carried.await {
        tracing::debug!(%error, "a tunnel failed");
    }
    drop(place);
}

async fn carry(client: Upgraded, upstream: Upgraded) -> io::Result<()> {
    let (client_read, client_write) = split(TokioIo::new(client));
    let (upstream_read, upstream_write) = split(TokioIo::new(upstream));
    let up = pin!(one_way(client_read, upstream_write));
    let down = pin!(one_way(upstream_read, client_write));
    match select(up, down).await {
        Either::Left((ended, other)) => {
            ended?;
            timeout(LINGER, other).await?
        }
        Either::Right((ended, other)) => {
            ended?;
            timeout(LINGER, other).await?
        }
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}
