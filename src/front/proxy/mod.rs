//! All TLS and HTTP listeners: handshake, routes, limits, redirect.
//!
//! [`Proxy::bind`] takes every port first, so that start-up fails before anything runs; [`Proxy::serve`] then works
//! until it is cancelled. Only [`service`] and [`certificate::service`] do I/O.

pub mod access;
pub mod access_log;
pub mod certificate;
pub mod containment;
pub mod error_page;
pub mod files;
pub mod forwarding;
pub mod headers;
pub mod http_date;
pub mod limits;
pub mod ports;
pub mod redirect;
pub mod routes;
pub mod service;
mod tls;
pub mod traffic;

pub use access::AccessLists;
pub use certificate::{Certificate, CertificateError, CertificateStore};
pub use containment::Containment;
pub use limits::Limits;
pub use ports::{Service, Services, StreamSink, TurnStream};
pub use routes::{Application, Origin, Routing, Target};
pub use service::{BindError, Listener, Observer, Proxy, RoutingHandle, Rules, Settings};
pub use tls::TlsPolicy;
