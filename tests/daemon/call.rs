//! A call: one who publishes, and those who receive it.

use std::net::SocketAddr;

use hanok::testing::client::{Client, PeerConnection, Report};

use crate::house::{join, new_session};

/// Media flows; whoever drops a client or a peer connection ends it without a word.
pub(crate) struct Call {
    pub(crate) session: String,
    pub(crate) publisher: Client,
    pub(crate) stream: String,
    pub(crate) sending: PeerConnection,
    pub(crate) subscribers: Vec<(Client, PeerConnection)>,
}

impl Call {
    /// In a session of its own, with so many subscribers.
    pub(crate) async fn begin(server: SocketAddr, subscribers: usize) -> Self {
        Self::of_clients(server, subscribers, |_| {}).await
    }

    /// The same, of browsers whose networks let no UDP through.
    pub(crate) async fn over_tcp(server: SocketAddr, subscribers: usize) -> Self {
        Self::of_clients(server, subscribers, |client| client.over_tcp = true).await
    }

    async fn of_clients(
        server: SocketAddr,
        subscribers: usize,
        change: impl Fn(&mut Client),
    ) -> Self {
        let session = new_session(server).await;
        let mut clients = Vec::new();
        for _ in 0..=subscribers {
            let mut client = join(server, &session).await;
            change(&mut client);
            clients.push(client);
        }
        let publisher = clients.remove(0);
        Self::between(session, publisher, clients).await
    }

    /// Between clients that have joined `session`: every other subscriber has the server offer.
    pub(crate) async fn between(
        session: String,
        mut publisher: Client,
        others: impl IntoIterator<Item = Client>,
    ) -> Self {
        let (stream, sending) = publisher.publish().await.unwrap();
        sending.connected().await.unwrap();
        let mut subscribers = Vec::new();
        for (index, mut client) in others.into_iter().enumerate() {
            let receiving = if index % 2 == 0 {
                client.subscribe(&stream).await.unwrap()
            } else {
                client.subscribe_as_offered(&stream).await.unwrap()
            };
            subscribers.push((client, receiving));
        }
        for (_, receiving) in &subscribers {
            receiving
                .until("media arrives", |report| {
                    report.video.received > 0 && report.audio.received > 0
                })
                .await
                .unwrap();
        }
        Self {
            session,
            publisher,
            stream,
            sending,
            subscribers,
        }
    }

    /// Everybody in it.
    pub(crate) fn clients(&mut self) -> impl Iterator<Item = &mut Client> {
        let others = self.subscribers.iter_mut().map(|(client, _)| client);
        std::iter::once(&mut self.publisher).chain(others)
    }

    /// What the first subscriber gets.
    pub(crate) fn receiving(&self) -> &PeerConnection {
        let (_, receiving) = self.subscribers.first().expect("somebody receives");
        receiving
    }

    /// Everything sent so far has arrived at everyone, once and in order, and the call goes on.
    pub(crate) async fn has_lost_nothing(&self) {
        let sent = self.sending.report();
        let goes_on = |report: &Report| {
            report.video.newest > Some(sent.video.sent)
                && report.audio.newest > Some(sent.audio.sent)
        };
        for (_, receiving) in &self.subscribers {
            let report = receiving.until("the call goes on", goes_on).await.unwrap();
            assert!(
                report.video.is_flawless() && report.audio.is_flawless(),
                "it noticed: {report:?}"
            );
            assert_eq!(
                (report.unexpected, report.unauthentic, report.strangers),
                (0, 0, 0)
            );
        }
        let report = self.sending.report();
        assert!(report.is_connected());
        assert_eq!(report.unexpected, 0);
    }

    /// What was sent so far, or is sent from now on, arrives.
    pub(crate) async fn goes_on(&self) {
        let sent = self.sending.report().video.sent;
        self.receiving()
            .until("what was sent since arrives", |report| {
                report.video.newest > Some(sent)
            })
            .await
            .unwrap();
    }

    /// Whatever was lost, nothing came twice, out of step, or from somewhere else.
    pub(crate) fn is_in_step(&self) {
        let report = self.receiving().report();
        assert_eq!((report.video.duplicates, report.video.shifts), (0, 0));
        assert_eq!((report.unexpected, report.unauthentic), (0, 0));
    }

    /// Stops the publisher and waits until everyone has everything, by whatever way.
    pub(crate) async fn all_arrives(&self) {
        self.sending.send_media(false).await;
        let sent = self.sending.report();
        for (_, receiving) in &self.subscribers {
            receiving
                .until("all has arrived", |report| {
                    // The command may have overtaken the last packets in the report.
                    report.video.has_all_up_to(sent.video.sent - 1)
                        && report.audio.has_all_up_to(sent.audio.sent - 1)
                })
                .await
                .unwrap();
        }
    }
}

/// More than a handful of packets of both kinds arrive, each once and in order; what has been seen by then.
pub(crate) async fn media_goes_on(receiving: &PeerConnection) -> Report {
    let report = receiving
        .until("media arrives and goes on", |report| {
            report.video.received > 100 && report.audio.received > 20
        })
        .await
        .unwrap();
    assert!(
        report.video.is_flawless() && report.audio.is_flawless(),
        "{report:?}"
    );
    report
}
