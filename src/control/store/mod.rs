//! What must outlive the process: small files, each of them either the old one or the new one.

pub mod service;
