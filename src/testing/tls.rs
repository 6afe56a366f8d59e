//! TLS without files: a server, a client that trusts it, their handshake in memory, and the client's end afterwards.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

/// How a stream travels.
pub const WAYS: [Option<&SupportedProtocolVersion>; 3] = [None, Some(&TLS12), Some(&TLS13)];

/// The other end of a stream of ours.
#[derive(Debug)]
pub enum Browser {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Browser {
    /// The end of a connection whose handshake is done.
    pub fn over_tls(client: ClientConnection, socket: TcpStream) -> Self {
        Self::Tls(Box::new(StreamOwned::new(client, socket)))
    }

    /// Its socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Browser {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Browser {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The server's name.
const NAME: &str = "localhost";

/// Both ends of a connection that has done its handshake. What `first` holds, the client has sent with its last flight:
/// the server has decrypted it, and nobody has read it.
///
/// # Panics
/// If rustls refuses, which fails the test.
pub fn connected(
    version: &'static SupportedProtocolVersion,
    first: &[u8],
) -> (ServerConnection, ClientConnection) {
    let (mut server, mut client) = pair(version);
    let mut has_written = false;
    while server.is_handshaking()
        || client.is_handshaking()
        || client.wants_write()
        || server.wants_write()
        || !has_written
    {
        if !client.is_handshaking() && !has_written {
            has_written = true;
            let written = client.writer().write(first);
            assert_eq!(written.expect("it is buffered"), first.len());
        }
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
    }
    (server, client)
}

fn pair(version: &'static SupportedProtocolVersion) -> (ServerConnection, ClientConnection) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).expect("a name is enough");
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .expect("the provider knows it")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("it is a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("the provider knows it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("it is a name");
    (
        ServerConnection::new(Arc::new(server)).expect("the configuration is good"),
        ClientConnection::new(Arc::new(client), name).expect("the configuration is good"),
    )
}

/// Takes what one end has to say to the other.
fn carry<A, B>(from: &mut rustls::ConnectionCommon<A>, to: &mut rustls::ConnectionCommon<B>) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire)
            .expect("a vector takes everything");
    }
    let mut wire = &wire[..];
    while !wire.is_empty() {
        to.read_tls(&mut wire).expect("there is room");
        to.process_new_packets().expect("both are honest");
    }
}
