//! hanok: one daemon that is a whole OpenVidu 2 deployment. `ARCHITECTURE.md` is the map.
//!
//! Three wings, one direction: [`front`] uses [`control`], [`control`] uses [`media::plane`], nothing looks back up.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod front;
pub mod host;
pub mod loadtest;
pub mod media;
pub mod migration;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod units;
pub mod views;

/// The OpenVidu release that clients are told (strict semver: newer clients hang on anything else).
pub const OPENVIDU_VERSION: &str = "2.32.1";
