//! All sessions of the process: creates, finds, lists and closes them. REST and signalling hold a clone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::administration::SignalError;
use super::command::Signal;
use super::core::{Moment, Session, TooManyPending};
use super::identifiers::SocketId;
use super::ports::TurnCredentials;
use super::rpc_session::RpcSession;
use super::service::{Handle, NotStarted, OccupancyWatch, Registry};
use super::settings::Settings;
use crate::control::session::properties::{
    ConnectionChange, ConnectionProperties, SessionProperties,
};
use crate::media::plane::Plane;
use crate::units::{Live, Random, clock};
use crate::views::control::Session as Summary;
use crate::views::metric::Family;
use crate::views::openvidu as view;

/// Who is refused because of a drain is told to come again within this time: a drain may end or be cancelled long before
/// its deadline.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Why a session could not be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A session with that `customSessionId` exists, active or not: 409.
    #[error("a session with this customSessionId exists")]
    Conflict,
    /// The process takes no new sessions, since it will end when those that exist have: 503.
    #[error("this server is about to be restarted and takes no new sessions")]
    Draining {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Why a connection could not be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No such session, or it is being closed.
    #[error("no such session")]
    UnknownSession,
    /// As many connections as may wait for their user wait already.
    #[error(
        "the session has too many connections that nobody has used: delete some, or the session"
    )]
    TooManyPending,
}

/// Why an operation on a session or connection found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No such session, or it is being closed.
    #[error("no such session")]
    UnknownSession,
    /// The session exists, the connection does not.
    #[error("no such connection")]
    UnknownConnection,
    /// The session exists, the stream does not.
    #[error("no such stream")]
    UnknownStream,
}

/// Every session of the process; cheap to clone.
///
/// A future that is dropped before it is done may or may not have had its effect.
#[derive(Clone)]
pub struct Directory {
    registry: Arc<Registry>,
    settings: Live<Settings>,
    turn: Arc<dyn TurnCredentials>,
    next_socket: Arc<AtomicU64>,
}

impl Directory {
    /// A directory without sessions. Their rooms will be on `plane`. All of them, those that exist too, go by the
    /// settings as they are at that moment.
    pub fn new(
        settings: impl Into<Live<Settings>>,
        plane: Plane,
        turn: Arc<dyn TurnCredentials>,
    ) -> Self {
        Self {
            registry: Arc::new(Registry::new(plane)),
            settings: settings.into(),
            turn,
            next_socket: Arc::default(),
        }
    }

    /// Creates a session that nobody has joined yet. If one of the same id is just closing, waits for its end.
    ///
    /// # Errors
    /// The custom id is taken, or the process drains.
    pub async fn create(
        &self,
        properties: SessionProperties,
    ) -> Result<view::Session, CreateError> {
        let mut random = Random::system();
        let id = properties
            .custom_session_id
            .clone()
            .unwrap_or_else(|| format!("ses_{}", random.identifier(10)));
        let at = Moment {
            now: clock::now(),
            wall_ms: clock::wall_ms(),
        };
        let (settings, turn) = (self.settings.clone(), self.turn.clone());
        let core = Session::new(id.clone(), at, properties, settings, turn, random);
        let shown = core.view(false);
        let started = self.registry.start(&id, || core).await;
        started.map_err(|why| match why {
            NotStarted::Taken => CreateError::Conflict,
            NotStarted::Draining(until) => CreateError::Draining {
                retry_after: until
                    .saturating_duration_since(at.now)
                    .clamp(Duration::from_secs(1), RETRY_AFTER_MAX),
            },
        })?;
        Ok(shown)
    }

    /// Creates no sessions from now on, since the process ends at this moment at the latest; `None`: creates them again.
    /// What is counted by [`Directory::occupancy`] after this has returned grows no more.
    pub fn refuse_until(&self, until: Option<Instant>) {
        self.registry.refuse_until(until);
    }

    /// Whether no sessions are created.
    pub fn is_refusing(&self) -> bool {
        self.registry.is_refusing()
    }

    /// How many sessions there are, now and whenever that changes.
    pub fn occupancy(&self) -> OccupancyWatch {
        self.registry.occupancy()
    }

    /// Every session in short, in order of creation.
    pub async fn summaries(&self) -> Vec<Summary> {
        let handles = self.registry.all();
        let summaries = join_all(handles.iter().map(Handle::summary)).await;
        summaries.into_iter().flatten().collect()
    }

    /// Every session in order of creation; `pending` includes connections that nobody has used yet.
    pub async fn list(&self, pending: bool) -> Vec<view::Session> {
        let handles = self.registry.all();
        let views = join_all(handles.iter().map(|handle| handle.view(pending))).await;
        views.into_iter().flatten().collect()
    }

    /// One session.
    pub async fn get(&self, session: &str, pending: bool) -> Option<view::Session> {
        self.find(session)?.view(pending).await
    }

    /// Closes a session; everyone inside is evicted with `reason` before this returns.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn close(&self, session: &str, reason: &str) -> Result<(), LookupError> {
        let handle = self.known(session)?;
        if handle.close(reason.to_owned()).await {
            Ok(())
        } else {
            Err(LookupError::UnknownSession)
        }
    }

    /// Creates a pending connection with its token.
    ///
    /// # Errors
    /// There is no such session, or it has too many of them.
    pub async fn create_connection(
        &self,
        session: &str,
        properties: ConnectionProperties,
    ) -> Result<view::Connection, ConnectError> {
        let handle = self.find(session).ok_or(ConnectError::UnknownSession)?;
        let created = handle.create_connection(properties).await;
        created
            .ok_or(ConnectError::UnknownSession)?
            .map_err(|TooManyPending| ConnectError::TooManyPending)
    }

    /// The connections of a session: active ones first, each group in order of creation.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn connections(
        &self,
        session: &str,
        pending: bool,
    ) -> Result<Vec<view::Connection>, LookupError> {
        let shown = self.known(session)?.view(pending).await;
        shown
            .map(|session| session.connections.content)
            .ok_or(LookupError::UnknownSession)
    }

    /// One connection, pending or active.
    ///
    /// # Errors
    /// There is no such session or connection.
    pub async fn connection(
        &self,
        session: &str,
        connection: &str,
    ) -> Result<view::Connection, LookupError> {
        let handle = self.known(session)?;
        let found = handle.connection(connection.to_owned()).await;
        found
            .ok_or(LookupError::UnknownSession)?
            .ok_or(LookupError::UnknownConnection)
    }

    /// Removes a pending connection or evicts an active one with `reason`.
    ///
    /// # Errors
    /// There is no such session or connection.
    pub async fn delete_connection(
        &self,
        session: &str,
        connection: &str,
        reason: &str,
    ) -> Result<(), LookupError> {
        let handle = self.known(session)?;
        let found = handle
            .delete_connection(connection.to_owned(), reason.to_owned())
            .await;
        match found {
            Some(true) => Ok(()),
            Some(false) => Err(LookupError::UnknownConnection),
            None => Err(LookupError::UnknownSession),
        }
    }

    /// Changes what a connection, pending or active, may do.
    ///
    /// # Errors
    /// There is no such session or connection.
    pub async fn update_connection(
        &self,
        session: &str,
        connection: &str,
        change: ConnectionChange,
    ) -> Result<view::Connection, LookupError> {
        let handle = self.known(session)?;
        let updated = handle
            .update_connection(connection.to_owned(), change)
            .await;
        updated
            .ok_or(LookupError::UnknownSession)?
            .ok_or(LookupError::UnknownConnection)
    }

    /// Sends a signal to participants of a session, from none of them.
    ///
    /// # Errors
    /// There is no such session; what is wrong with the signal is the inner result.
    pub async fn signal(
        &self,
        session: &str,
        signal: Signal,
    ) -> Result<Result<(), SignalError>, LookupError> {
        let outcome = self.known(session)?.announce(signal).await;
        outcome.ok_or(LookupError::UnknownSession)
    }

    /// Ends a stream with `reason`.
    ///
    /// # Errors
    /// There is no such session, or nobody in it publishes this stream.
    pub async fn unpublish_stream(
        &self,
        session: &str,
        stream: &str,
        reason: &str,
    ) -> Result<(), LookupError> {
        let handle = self.known(session)?;
        let found = handle
            .unpublish_stream(stream.to_owned(), reason.to_owned())
            .await;
        match found {
            Some(true) => Ok(()),
            Some(false) => Err(LookupError::UnknownStream),
            None => Err(LookupError::UnknownSession),
        }
    }

    /// The way to a session, for signalling.
    pub fn find(&self, session: &str) -> Option<Handle> {
        self.registry.find(session)
    }

    /// The RPC session with this id and the session that it has joined, for signalling.
    pub fn rpc_session(&self, id: &str) -> Option<(Handle, Arc<RpcSession>)> {
        self.registry.rpc_session(id)
    }

    /// A new identity for a client's socket.
    pub fn new_socket(&self) -> SocketId {
        SocketId(self.next_socket.fetch_add(1, Ordering::Relaxed))
    }

    /// Closes every session with `reason` (`openviduServerStopped` at the end of the process) and waits until all
    /// of them have ended. Sessions must not be created any more.
    pub async fn shutdown(&self, reason: &str) {
        self.registry.shutdown(reason).await;
    }

    /// How many participants were evicted because more waited for them than is kept.
    pub fn flooded(&self) -> u64 {
        self.registry.flooded()
    }

    /// How many sessions, participants and streams there are and were, as metrics.
    pub fn families(&self) -> Vec<Family> {
        self.registry.families()
    }

    /// How many sessions a bug has ended.
    pub fn panics(&self) -> u64 {
        self.registry.panics()
    }

    fn known(&self, session: &str) -> Result<Handle, LookupError> {
        self.find(session).ok_or(LookupError::UnknownSession)
    }

    #[cfg(test)]
    pub(crate) fn running_tasks(&self) -> usize {
        self.registry.running_tasks()
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::ports::NoTurn;
    use crate::control::session::{
        Client, JoinRoom, Joiner, Notification, Refusal, Reply, Request, RequestId, Role, Unheard,
        scene,
    };

    fn directory() -> Directory {
        let (plane, _commands) = scene::plane();
        Directory::new(Settings::default(), plane, Arc::new(NoTurn))
    }

    #[tokio::test]
    async fn sessions_are_listed_in_order_of_creation_until_closed() {
        let directory = directory();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let session = directory.create(scene::properties()).await.unwrap();
            assert!(session.id.starts_with("ses_") && session.id.len() == 14);
            ids.push(session.id);
        }
        let listed: Vec<String> = directory
            .list(true)
            .await
            .into_iter()
            .map(|s| s.id)
            .collect();
        assert_eq!(listed, ids);
        for id in &ids {
            assert_eq!(directory.close(id, "sessionClosedByServer").await, Ok(()));
            assert_eq!(
                directory.close(id, "sessionClosedByServer").await,
                Err(LookupError::UnknownSession)
            );
        }
        assert!(directory.list(true).await.is_empty());
        directory.shutdown("openviduServerStopped").await;
        assert_eq!(directory.running_tasks(), 0);
    }

    #[tokio::test]
    async fn a_custom_id_is_taken_until_its_session_has_ended() {
        let directory = directory();
        let mut properties = scene::properties();
        properties.custom_session_id = Some("room-1".to_owned());
        let first = directory.create(properties.clone()).await.unwrap();
        assert_eq!(
            (first.id.as_str(), first.custom_session_id.as_str()),
            ("room-1", "room-1")
        );
        assert_eq!(
            directory.create(properties.clone()).await,
            Err(CreateError::Conflict)
        );
        directory
            .close("room-1", "sessionClosedByServer")
            .await
            .unwrap();
        assert!(directory.create(properties).await.is_ok());
        directory.shutdown("openviduServerStopped").await;
    }

    /// A client to which nothing matters.
    struct Deaf;

    impl Client for Deaf {
        fn reply(&self, _: &RequestId, _: Result<&Reply, &Refusal>) {}
        fn notify(&self, _: Arc<Notification>) {}
        fn take_back(&self) -> Unheard {
            Some(Vec::new())
        }
        fn close_after(&self, _: std::time::Duration) {}
    }

    #[tokio::test]
    async fn a_session_that_is_slow_to_end_leaves_its_successor_alone() {
        // Room for the command that opens the room; the one that closes it has to wait.
        let (plane, mut commands) = scene::plane_with_room_for(1);
        let directory = Directory::new(Settings::default(), plane, Arc::new(NoTurn));
        let mut properties = scene::properties();
        properties.custom_session_id = Some("room-1".to_owned());
        directory.create(properties.clone()).await.unwrap();
        let connection = directory
            .create_connection("room-1", scene::connection(Role::Publisher))
            .await
            .unwrap();
        let first = directory.find("room-1").unwrap();
        let joiner = Joiner {
            socket: directory.new_socket(),
            rpc_session: Arc::new(RpcSession::new(&mut Random::system())),
            final_user_id: String::new(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            knows_secret: false,
        };
        let join = JoinRoom {
            session: "room-1".to_owned(),
            token: connection.token.unwrap(),
            secret: crate::units::Secret::new(""),
            hidden: None,
            metadata: String::new(),
            platform: String::new(),
        };
        let (client, request) = (Arc::new(Deaf), RequestId(serde_json::json!(1)));
        assert!(
            first
                .join(client.clone(), joiner.clone(), request.clone(), join)
                .await
        );
        first
            .request(client, joiner.socket, request, Request::Leave)
            .await;
        while directory.find("room-1").is_some() {
            tokio::task::yield_now().await;
        }
        directory.create(properties).await.unwrap();

        commands.recv().await.unwrap();
        commands.recv().await.unwrap();
        while directory.running_tasks() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(directory.find("room-1").is_some());
        directory.shutdown("openviduServerStopped").await;
    }

    #[tokio::test]
    async fn occupancy_counts_sessions_and_those_that_somebody_is_in() {
        let (plane, _commands) = scene::plane();
        let directory = Directory::new(Settings::default(), plane, Arc::new(NoTurn));
        let mut occupancy = directory.occupancy();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(directory.create(scene::properties()).await.unwrap().id);
        }
        let session = ids.pop().unwrap();
        let connection = directory
            .create_connection(&session, scene::connection(Role::Publisher))
            .await
            .unwrap();
        let joiner = Joiner {
            socket: directory.new_socket(),
            rpc_session: Arc::new(RpcSession::new(&mut Random::system())),
            final_user_id: String::new(),
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            knows_secret: false,
        };
        let join = JoinRoom {
            session: session.clone(),
            token: connection.token.unwrap(),
            secret: crate::units::Secret::new(""),
            hidden: None,
            metadata: String::new(),
            platform: String::new(),
        };
        let handle = directory.find(&session).unwrap();
        let (client, request) = (Arc::new(Deaf), RequestId(serde_json::json!(1)));
        let counted = |occupancy: &mut OccupancyWatch| {
            let counted = *occupancy.borrow_and_update();
            (counted.sessions, counted.occupied)
        };
        assert_eq!(counted(&mut occupancy), (3, 0));
        assert!(
            handle
                .join(client.clone(), joiner.clone(), request.clone(), join)
                .await
        );
        assert_eq!(counted(&mut occupancy), (3, 1));
        let shown = directory.summaries().await;
        let connections: Vec<_> = shown.iter().map(|it| it.connections).collect();
        assert_eq!(connections, [0, 0, 1]);
        for id in &ids {
            directory.close(id, "sessionClosedByServer").await.unwrap();
        }
        assert_eq!(counted(&mut occupancy), (1, 1));
        handle
            .request(client, joiner.socket, request, Request::Leave)
            .await;
        let empty = |it: &crate::control::session::Occupancy| it.sessions == 0;
        let empty = *occupancy.wait_for(empty).await.unwrap();
        assert_eq!(empty.occupied, 0);
        directory.shutdown("openviduServerStopped").await;
    }

    #[tokio::test]
    async fn pending_connections_are_shown_found_and_deleted() {
        let directory = directory();
        let session = directory.create(scene::properties()).await.unwrap().id;
        let connection = directory
            .create_connection(&session, scene::connection(super::super::Role::Publisher))
            .await
            .unwrap();
        assert_eq!(connection.status, "pending");
        let token = connection.token.clone().unwrap();
        assert!(
            token.starts_with(&format!(
                "wss://localhost:4443?sessionId={session}&token=tok_"
            )),
            "{token}"
        );
        assert_eq!(
            directory.connection(&session, &connection.id).await,
            Ok(connection.clone())
        );
        assert_eq!(
            directory.connections(&session, true).await,
            Ok(vec![connection.clone()])
        );
        assert_eq!(directory.connections(&session, false).await, Ok(vec![]));
        let reason = "forceDisconnectByServer";
        assert_eq!(
            directory
                .delete_connection(&session, "con_none", reason)
                .await,
            Err(LookupError::UnknownConnection)
        );
        assert_eq!(
            directory
                .delete_connection("none", &connection.id, reason)
                .await,
            Err(LookupError::UnknownSession)
        );
        assert_eq!(
            directory
                .delete_connection(&session, &connection.id, reason)
                .await,
            Ok(())
        );
        assert_eq!(directory.connections(&session, true).await, Ok(vec![]));
        assert_eq!(
            directory.list(true).await.len(),
            1,
            "deleting a token ends no session"
        );
        directory.shutdown("openviduServerStopped").await;
        assert!(directory.list(true).await.is_empty());
    }
}
