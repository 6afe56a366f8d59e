//! Moving an OpenVidu 2 installation over: what lies in its folder to what hanok reads, and the way back.
//!
//! [`service`] looks, and at the end writes; nothing of the old folder is ever changed. In between all is values in, values
//! out: [`env_file`] carries `.env` over as the containers understood it, [`nginx`] and [`compose`] read two languages,
//! [`locations`] and [`containers`] say what those files mean, [`features`] what the paid editions had, [`draft`] draws up the
//! new file, [`plan`] judges it, and [`report`] is how the operator is told.

pub mod compose;
pub mod containers;
pub mod draft;
pub mod env_file;
pub mod features;
pub mod locations;
pub mod nginx;
pub mod plan;
pub mod report;
pub mod service;
