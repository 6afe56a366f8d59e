//! `.env` keys to a validated configuration.
//!
//! [`dotenv`] reads the file's format, [`layers`] merges defaults, file and process environment on the `config` crate,
//! [`keys`] is the table of every key, `secret_files` fetches secrets that lie in files of their own, [`validate`] has one validator per kind of value, [`settings`] is the typed
//! result and the rules between keys, [`report`] what is told about it. [`load`] does it all, reading from a
//! [`Machine`], so that tests need neither files nor a process environment.

pub mod dotenv;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
pub mod key;
pub mod keys;
pub mod layers;
pub mod mask;
mod nearest;
pub mod ports;
pub mod refusal;
pub mod report;
pub mod sample;
mod secret_files;
pub mod service;
pub mod settings;
pub mod validate;
pub mod values;

#[cfg(test)]
mod audit;
#[cfg(test)]
mod tests;

pub use layers::{Options, Reloaded, control_socket, load, reload};
pub use report::{Effective, Loaded, Misconfigured, Note, Problem, Report};
pub use service::{Machine, ThisMachine};
pub use settings::Config;
