//! Fetches our own challenge path by the public name, as the authority will, and says in one line what is wrong.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::front::proxy::certificate::acme::plan::one_line;
use crate::front::proxy::certificate::challenges::HTTP_PREFIX;

/// The time for one address.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// What is read of an answer.
const MAX_ANSWER: u64 = 16 * 1024;

/// What is wrong on the way from the public name to us.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Finding {
    #[error("{name} has no address in DNS ({error}): create an A record for this machine")]
    NoAddress { name: String, error: String },
    #[error(
        "port {} of {name} ({}) cannot be reached ({error}): let TCP port {} in, and check that the DNS record of {name} is this machine's",
        address.port(), address.ip(), address.port()
    )]
    Unreachable {
        name: String,
        address: SocketAddr,
        error: String,
    },
    #[error(
        "port {} of {name} ({}) is answered by something else{}: check that the DNS record of {name} is this machine's, and who has the port",
        address.port(), address.ip(), server.as_ref().map(|server| format!(" ({server})")).unwrap_or_default()
    )]
    SomebodyElse {
        name: String,
        address: SocketAddr,
        server: Option<String>,
    },
}

/// Fetches `token` from every address of `name`, expecting `expected` as the body.
pub(super) async fn fetch_own(
    name: &str,
    port: u16,
    token: &str,
    expected: &str,
) -> Result<(), Finding> {
    let no_address = |error: String| Finding::NoAddress {
        name: name.to_owned(),
        error,
    };
    let addresses: Vec<SocketAddr> = match name.parse::<IpAddr>() {
        Ok(address) => vec![(address, port).into()],
        Err(_) => match timeout(PATIENCE, lookup_host((name, port))).await {
            Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect(),
            Ok(Err(error)) => return Err(no_address(error.to_string())),
            Err(_) => return Err(no_address("the resolver does not answer".to_owned())),
        },
    };
    if addresses.is_empty() {
        return Err(no_address("none".to_owned()));
    }
    for address in addresses {
        let answer = match timeout(PATIENCE, get(address, name, token)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let answer = answer.map_err(|error| Finding::Unreachable {
            name: name.to_owned(),
            address,
            error: error.to_string(),
        })?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        if body.is_none_or(|body| !body.contains(expected)) {
            return Err(Finding::SomebodyElse {
                name: name.to_owned(),
                address,
                server: describe(&answer),
            });
        }
    }
    Ok(())
}

async fn get(address: SocketAddr, name: &str, token: &str) -> io::Result<String> {
    let host = if name.contains(':') {
        format!("[{name}]")
    } else {
        name.to_owned()
    };
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {HTTP_PREFIX}{token} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hanok\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status and the server's name, as far as an answer has them.
fn describe(answer: &str) -> Option<String> {
    let mut lines = answer.lines();
    let status = lines.next()?.split_once(' ')?.1;
    let server = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.eq_ignore_ascii_case("server").then(|| value.trim())
    });
    Some(one_line(&match server {
        Some(server) => format!("{status}, {server}"),
        None => status.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// A web server that says one thing.
    async fn server(says: &'static str) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /.well-known/acme-challenge/t HTTP/1.1"));
                stream.write_all(says.as_bytes()).await.unwrap();
            }
        });
        (address, tasks)
    }

    async fn fetch(port: u16) -> Result<(), String> {
        let found = fetch_own("127.0.0.1", port, "t", "expected").await;
        found.map_err(|finding| finding.to_string())
    }

    #[tokio::test]
    async fn our_own_answer_is_recognised() {
        let (address, _tasks) = server("HTTP/1.1 200 OK\r\n\r\nexpected").await;
        assert_eq!(fetch(address.port()).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_in_one_line() {
        let nginx = "HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n<html>";
        let (address, _tasks) = server(nginx).await;
        let said = fetch(address.port()).await.unwrap_err();
        assert!(
            said.contains("something else (404 Not Found, nginx)"),
            "{said}"
        );
        let (address, _tasks) = server("garbage\0").await;
        let said = fetch(address.port()).await.unwrap_err();
        assert!(said.contains("something else"), "{said}");
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let said = fetch(port).await.unwrap_err();
        assert!(
            said.contains("cannot be reached") && !said.contains('\n'),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        let found = fetch_own("no-such-name.invalid", 80, "t", "expected").await;
        let said = found.unwrap_err().to_string();
        assert!(
            said.starts_with("no-such-name.invalid has no address"),
            "{said}"
        );
    }
}
