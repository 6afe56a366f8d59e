//! Another certificate under many connections (robustness S37).

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hanok::front::proxy::Listener;
use hanok::front::proxy::certificate::facts::Facts;
use hanok::media::stun::Method;
use hanok::media::turn::{FiveTuple, Protocol};
use hanok::testing::client::PATIENCE;
use hanok::units::clock;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::house::{Witness, eventually};
use crate::turn_streams::{Relayed, TurnHouse};

/// Within which new handshakes must see the new certificate.
const SOON: Duration = Duration::from_secs(1);

/// Connections that must not notice.
struct Crowd {
    sockets: Vec<WebSocketStream<TlsStream<TcpStream>>>,
    relayed: Vec<Relayed<TlsStream<TcpStream>>>,
}

impl Crowd {
    async fn gather(house: &TurnHouse, sockets: usize, relayed: usize) -> Self {
        let mut crowd = Self {
            sockets: Vec::new(),
            relayed: Vec::new(),
        };
        for _ in 0..sockets {
            crowd.sockets.push(socket(house).await);
        }
        for _ in 0..relayed {
            let stream = house.over_tls(&[b"stun.turn"]).await.unwrap();
            let own = stream.get_ref().0.local_addr().unwrap();
            let five_tuple = FiveTuple::new(Protocol::Tls, own, house.tls);
            crowd
                .relayed
                .push(Relayed::allocate(stream, five_tuple).await);
        }
        crowd
    }

    /// Each of them is used, and answers.
    async fn all_answer(&mut self) {
        for socket in &mut self.sockets {
            socket.send(Message::Ping("you?".into())).await.unwrap();
        }
        for socket in &mut self.sockets {
            let answer =
                async { while !socket.next().await.expect("it is open").unwrap().is_pong() {} };
            let answer = tokio::time::timeout(PATIENCE, answer).await;
            answer.expect("a pong in time");
        }
        for client in &mut self.relayed {
            // It panics unless the allocation lives.
            client.ask(Method::REFRESH, |_| {}).await;
        }
    }
}

/// A WebSocket of signalling over TLS.
async fn socket(house: &TurnHouse) -> WebSocketStream<TlsStream<TcpStream>> {
    let stream = house.over_https(&[b"http/1.1"]).await.unwrap();
    let url = "wss://localhost/openvidu";
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket
}

fn served(house: &TurnHouse) -> Vec<u8> {
    let current = house.house.daemon.certificates().current();
    Facts::read(&current.chain()[0]).unwrap().serial
}

/// What a handshake is shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
    Facts::read(shown).unwrap().serial
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sockets_and_fifty_relayed_clients_do_not_notice_another_certificate() {
    let mut house = TurnHouse::open().await;
    let witness = Witness::begin(&house.house).await;
    let mut crowd = Crowd::gather(&house, 200, 50).await;
    house.holds(50).await;
    let mut before = served(&house);
    // The daemon sees by itself that the files have changed; a reload looks at once.
    for is_reloaded in [false, true] {
        house.write_another_certificate();
        if is_reloaded {
            house
                .house
                .daemon
                .reload(&house.house.config)
                .await
                .unwrap();
        }
        eventually("another one is served", async || served(&house) != before).await;
        let swapped_at = clock::now();
        before = served(&house);
        let https = house.over_https(&[b"h2"]).await.unwrap();
        let wss = socket(&house).await;
        let turn = house.over_tls(&[b"stun.turn"]).await.unwrap();
        for (listener, stream) in [
            (Listener::Https, &https),
            (Listener::Https, wss.get_ref()),
            (Listener::TurnTls, &turn),
        ] {
            assert_eq!(shown(stream), before, "{listener:?}");
        }
        let took = swapped_at.elapsed();
        assert!(took < SOON, "{took:?}");
        drop((https, wss, turn));
        crowd.all_answer().await;
        house.holds(50).await;
    }
    witness.has_lost_nothing().await;
}
