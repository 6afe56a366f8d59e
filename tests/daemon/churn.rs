//! Many clients that do as they please, for a while: whatever they do, nothing stays behind.

use std::time::Duration;

use hanok::testing::client::{Client, Error, PeerConnection};
use hanok::units::Random;
use serde_json::json;

use crate::house::{House, Witness, new_token, rest, try_http};

const CLIENTS: u64 = 8;
const STEPS: usize = 40;

/// One client's life.
struct Life {
    client: Client,
    random: Random,
    publishing: Option<PeerConnection>,
    receiving: Vec<PeerConnection>,
}

impl Life {
    fn below(&mut self, limit: u32) -> u32 {
        self.random.u32() % limit
    }

    /// Streams of others, as far as it has heard of them.
    async fn step(&mut self, house: &House, session: &str) -> Result<(), Error> {
        match self.below(10) {
            0 | 1 if self.publishing.is_none() => {
                let (_, publishing) = self.client.publish().await?;
                if self.below(2) == 0 {
                    soon_connected(&publishing).await;
                }
                self.publishing = Some(publishing);
            }
            0 => {
                self.client.request("unpublishVideo", json!({})).await?;
                self.publishing = None;
            }
            1 => {
                // The tab's peer connection goes before the request that says so.
                if let Some(publishing) = self.publishing.take() {
                    publishing.close().await;
                }
                self.client.request("unpublishVideo", json!({})).await?;
            }
            2..=4 => {
                let streams = streams(house, session, &self.client.connection).await;
                if streams.is_empty() {
                    return Ok(());
                }
                let stream = &streams[self.below(streams.len() as u32) as usize];
                let receiving = if self.below(2) == 0 {
                    self.client.subscribe(stream).await?
                } else {
                    self.client.subscribe_as_offered(stream).await?
                };
                if self.below(2) == 0 {
                    soon_connected(&receiving).await;
                }
                self.receiving.push(receiving);
            }
            5 => {
                let streams = streams(house, session, &self.client.connection).await;
                if let Some(stream) = streams.first() {
                    let params = json!({"sender": stream});
                    self.client.request("unsubscribeFromVideo", params).await?;
                }
            }
            6 => {
                if let Some(receiving) = self.receiving.pop() {
                    receiving.close().await;
                }
            }
            7 => {
                // The application removes somebody.
                let streams = streams(house, session, &self.client.connection).await;
                if let Some((_, connection)) = streams.first().and_then(|it| it.split_once("_con_"))
                {
                    let path =
                        format!("/openvidu/api/sessions/{session}/connection/con_{connection}");
                    let (status, _) = rest(house.plain(), "DELETE", &path, None).await;
                    assert!([204, 404].contains(&status), "{status}");
                }
            }
            _ => self.replace(house, session).await,
        }
        Ok(())
    }

    /// Another one takes its place: it leaves politely, hangs up, or loses the network.
    async fn replace(&mut self, house: &House, session: &str) {
        let next = house.join(session).await;
        let former = std::mem::replace(&mut self.client, next);
        self.publishing = None;
        self.receiving.clear();
        match self.below(3) {
            // It may have been removed already.
            0 => drop(former.leave().await),
            1 => drop(former.close(4102).await),
            _ => drop(former),
        }
    }
}

/// Waits a little: somebody may have ended it before it could connect.
async fn soon_connected(peer_connection: &PeerConnection) {
    let _ = tokio::time::timeout(Duration::from_millis(300), peer_connection.connected()).await;
}

async fn streams(house: &House, session: &str, own: &str) -> Vec<String> {
    let views = house.sessions().await;
    let Some(view) = views.iter().find(|view| view["id"] == session) else {
        return Vec::new();
    };
    let connections = view["connections"]["content"].as_array().unwrap();
    connections
        .iter()
        .filter(|connection| connection["id"] != own)
        .flat_map(|connection| connection["publishers"].as_array().unwrap())
        .map(|publisher| publisher["streamId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_wild_time_nothing_is_left() {
    let house = House::with(|config| {
        config.sessions.reconnect_grace = Duration::from_millis(50);
    })
    .await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    // It keeps the session alive until all have gone.
    let keeper = house.join(&session).await;
    let lives = (0..CLIENTS).map(|seed| {
        let (house, session) = (&house, session.as_str());
        async move {
            let mut life = Life {
                client: house.join(session).await,
                random: Random::seeded(seed),
                publishing: None,
                receiving: Vec::new(),
            };
            for step in 0..STEPS {
                match life.step(house, session).await {
                    Ok(()) => {}
                    // Somebody else was faster: the stream or the publisher has just gone; or it published nothing.
                    Err(error) if matches!(error.code(), Some(105 | 303)) => {}
                    // Or it was removed itself.
                    Err(Error::Refused { code: 102, .. } | Error::Closed) => {
                        life.replace(house, session).await;
                    }
                    Err(error) => panic!("client {seed}, step {step}: {error}"),
                }
            }
        }
    });
    futures_util::future::join_all(lives).await;
    witness.has_lost_nothing().await;
    keeper.leave().await.unwrap();
    drop(witness);
    house.is_empty().await;
    assert_eq!(house.daemon.directory().panics(), 0);
    assert_eq!(house.counted(|counters| &counters.panics), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_closed_while_people_come_end_for_all_of_them() {
    let house = House::with(|config| config.sessions.reconnect_grace = Duration::ZERO).await;
    let server = house.plain();
    let witness = Witness::begin(&house).await;
    let path = "/openvidu/api/sessions/room";
    let mut joined = 0;
    for _ in 0..25 {
        let body = json!({"customSessionId": "room"});
        let (status, _) = rest(server, "POST", "/openvidu/api/sessions", Some(body)).await;
        assert_eq!(status, 200, "the name is free again");
        let mut tokens = Vec::new();
        for _ in 0..4 {
            tokens.push(new_token(server, "room", "PUBLISHER").await);
        }
        let coming = tokens.iter().map(|token| async move {
            let mut client = Client::open(server).await.unwrap();
            match client.join(token).await {
                Ok(_) => {
                    let _ = client.publish().await;
                    let told = client.notification("participantEvicted", |_| true).await;
                    assert_eq!(told.unwrap()["reason"], "sessionClosedByServer");
                    true
                }
                Err(error) => {
                    assert!(matches!(error.code(), Some(202 | 203)), "{error}");
                    false
                }
            }
        });
        let closing = async {
            // Somewhere among them.
            for _ in 0..3 {
                let _ = try_http(server, "GET", path, None).await;
            }
            rest(server, "DELETE", path, None).await.0
        };
        let (came, closed) = tokio::join!(futures_util::future::join_all(coming), closing);
        assert_eq!(closed, 204);
        joined += came.into_iter().filter(|&joined| joined).count();
    }
    assert!(joined > 0, "some came before it was closed");
    witness.has_lost_nothing().await;
    drop(witness);
    house.is_empty().await;
    assert_eq!(house.daemon.directory().panics(), 0);
    assert_eq!(house.counted(|counters| &counters.panics), 0);
}
