//! OpenVidu 2's REST API: routes, one file per resource, JSON models.
