//! The whole daemon, driven by simulated browsers over real sockets. One binary, one daemon for each test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acme;
mod addresses;
mod call;
mod calls;
mod churn;
mod clock;
mod containment;
mod control_socket;
mod doctor;
mod doors;
mod drain;
mod hostile_media;
mod hostile_signalling;
mod house;
mod loadtest;
mod logs;
mod loopback;
mod metrics;
mod migrate;
mod nginx;
mod openvidu_command;
mod pebble;
mod process;
mod reconnection;
mod reload;
mod restart;
mod scarcity;
mod service_manager;
mod swap;
mod tcp;
mod turn;
mod turn_foreign;
mod turn_hostile;
mod turn_idle;
mod turn_load;
mod turn_media;
mod turn_streams;
mod units;
mod verbs;
mod web;
