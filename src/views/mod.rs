//! Plain structs of what is shown: no behaviour, only fields, their JSON form and ways to make them.

pub mod control;
pub mod finding;
pub mod media;
pub mod metric;
pub mod openvidu;
pub mod turn;
