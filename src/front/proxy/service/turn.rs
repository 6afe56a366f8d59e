//! TLS connections that carry TURN, on a port of its own or on the one of HTTPS: told from HTTP, taken apart, and handed
//! over to where TURN is spoken.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::stream::GuardedStream;
use crate::front::proxy::ports::{StreamSink, TurnStream};
use crate::front::proxy::tls;

/// A client that is refused gets so long to take our farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whether the client speaks STUN or TURN: says so by ALPN (RFC 7443), or, where it says nothing, begins with a STUN
/// message. Waits for the first byte in that case, and leaves it unread.
pub(super) async fn is_turn(stream: &mut TlsStream<GuardedStream>) -> io::Result<bool> {
    match stream.get_ref().1.alpn_protocol() {
        Some(protocol) => Ok(protocol == tls::TURN || protocol == tls::NAT_DISCOVERY),
        // RFC 7983 section 7; before an allocation there is no channel, so nobody begins with ChannelData.
        None => Ok(matches!(stream.fill_buf().await?.first(), Some(0..=3))),
    }
}

/// Hands the connection over, with all that has been read and decrypted of it.
pub(super) fn hand_over(
    stream: TlsStream<GuardedStream>,
    peer: SocketAddr,
    sink: &dyn StreamSink,
) -> io::Result<()> {
    let (stream, session) = stream.into_inner();
    let socket = stream.into_std()?.into();
    sink.take(TurnStream {
        socket,
        peer,
        session: Box::new(session),
    });
    Ok(())
}

/// Closes a connection that carries something else, without a word about what is here.
pub(super) async fn refuse(mut stream: TlsStream<GuardedStream>) {
    // It is closed either way.
    let _ = timeout(FAREWELL, stream.shutdown()).await;
}
