//! Load on any OpenVidu 2 server: publishers and subscribers with synthetic media, and what became of it.

pub mod description;
