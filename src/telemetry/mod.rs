//! Logs, metrics, and the listener that monitoring asks.

pub mod admin;
pub mod exposition;
pub mod log;
pub mod service;
