//! Plain structs of what is shown: no behaviour, only fields and their JSON form.

pub mod control;
pub mod media;
pub mod metric;
pub mod openvidu;
pub mod turn;
