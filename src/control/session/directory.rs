//! All sessions of the process: creates, finds, lists and closes them. REST and signalling hold a clone.

use crate::control::session::properties::{ConnectionProperties, SessionProperties};
use crate::views::openvidu as view;

/// Why a session could not be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A session with that `customSessionId` exists, active or not: 409.
    #[error("a session with this customSessionId exists")]
    Conflict,
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
}

/// Every session of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory {}

impl Directory {
    /// Creates a session that nobody has joined yet.
    ///
    /// # Errors
    /// The custom id is taken.
    pub async fn create(
        &self,
        _properties: SessionProperties,
    ) -> Result<view::Session, CreateError> {
        unimplemented!()
    }

    /// Every session in order of creation; `pending` includes connections that nobody has used yet.
    pub async fn list(&self, _pending: bool) -> Vec<view::Session> {
        unimplemented!()
    }

    /// One session.
    pub async fn get(&self, _session: &str, _pending: bool) -> Option<view::Session> {
        unimplemented!()
    }

    /// Closes a session; everyone inside is evicted with `reason` before this returns.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn close(&self, _session: &str, _reason: &str) -> Result<(), LookupError> {
        unimplemented!()
    }

    /// Creates a pending connection with its token.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn create_connection(
        &self,
        _session: &str,
        _properties: ConnectionProperties,
    ) -> Result<view::Connection, LookupError> {
        unimplemented!()
    }

    /// The connections of a session: active ones first, each group in order of creation.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn connections(
        &self,
        _session: &str,
        _pending: bool,
    ) -> Result<Vec<view::Connection>, LookupError> {
        unimplemented!()
    }

    /// One connection, pending or active.
    ///
    /// # Errors
    /// There is no such session or connection.
    pub async fn connection(
        &self,
        _session: &str,
        _connection: &str,
    ) -> Result<view::Connection, LookupError> {
        unimplemented!()
    }

    /// Removes a pending connection or evicts an active one with `reason`.
    ///
    /// # Errors
    /// There is no such session or connection.
    pub async fn delete_connection(
        &self,
        _session: &str,
        _connection: &str,
        _reason: &str,
    ) -> Result<(), LookupError> {
        unimplemented!()
    }
}
