//! Who may use the REST API and the dashboard (`ALLOWED_ACCESS_TO_*`, `openvidu-deployment` section 8).

use std::net::IpAddr;

use ipnet::IpNet;

use super::headers::Sender;

/// What a path is restricted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// `ALLOWED_ACCESS_TO_DASHBOARD`.
    Dashboard,
    /// `ALLOWED_ACCESS_TO_RESTAPI`.
    RestApi,
}

/// By which list `path` is restricted, if by any; it is compared as it was sent, as routes are.
///
/// Signalling, recordings, layouts and the certificate page are open to all, as with OpenVidu's nginx: they have rules of
/// their own. Whatever else lies below `/openvidu/` is the REST API's, so that no spelling of a path leads around its
/// list.
pub fn restriction(path: &str) -> Option<Restriction> {
    let is_in = |folder: &str| {
        let rest = path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is_in("/dashboard") || is_in("/openvidu/info") {
        return Some(Restriction::Dashboard);
    }
    let open = [
        "/openvidu/recordings",
        "/openvidu/layouts",
        "/openvidu/accept-certificate",
    ];
    let below = path.strip_prefix("/openvidu/");
    let restricted = below.is_some_and(|below| !below.is_empty()) && !open.into_iter().any(is_in);
    restricted.then_some(Restriction::RestApi)
}

/// The lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLists {
    /// `ALLOWED_ACCESS_TO_DASHBOARD`; `None` is everybody.
    pub dashboard: Option<Vec<IpNet>>,
    /// `ALLOWED_ACCESS_TO_RESTAPI`; `None` is everybody.
    pub rest: Option<Vec<IpNet>>,
    /// Whom every list admits: this machine and its private networks.
    pub neighbours: Vec<IpNet>,
}

impl AccessLists {
    /// Whether `sender` may ask for `path`.
    ///
    /// Where there is a list, who cannot be known is not admitted, and this machine's loopback address counts only for
    /// those who talk to us directly: in a header anybody can write it (`robustness` S25).
    pub fn admits(&self, path: &str, sender: Sender) -> bool {
        let list = match restriction(path) {
            None => return true,
            Some(Restriction::Dashboard) => &self.dashboard,
            Some(Restriction::RestApi) => &self.rest,
        };
        let Some(list) = list else {
            return true;
        };
        match sender {
            Sender::Direct(address) => address.is_loopback() || self.names(list, address),
            Sender::Forwarded(address) => self.names(list, address),
            Sender::Unnamed(_) => false,
        }
    }

    fn names(&self, list: &[IpNet], address: IpAddr) -> bool {
        let mut admitted = list.iter().chain(&self.neighbours);
        admitted.any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(text: &str) -> Vec<IpNet> {
        let elements = text.split(',').filter(|element| !element.is_empty());
        elements.map(|element| element.parse().unwrap()).collect()
    }

    #[test]
    fn the_api_and_the_dashboard_are_restricted_and_what_browsers_of_participants_need_is_not() {
        use Restriction::{Dashboard, RestApi};
        for (path, expected) in [
            ("/openvidu/api", Some(RestApi)),
            ("/openvidu/api/sessions", Some(RestApi)),
            ("/openvidu/apifoo", Some(RestApi)),
            ("/openvidu/cdr", Some(RestApi)),
            ("/openvidu//api", Some(RestApi)),
            ("/openvidu/%61pi/sessions", Some(RestApi)),
            ("/openvidu/recordingsx", Some(RestApi)),
            ("/openvidu/info", Some(Dashboard)),
            ("/openvidu/info/x", Some(Dashboard)),
            ("/openvidu/information", Some(RestApi)),
            ("/dashboard", Some(Dashboard)),
            ("/dashboard/", Some(Dashboard)),
            ("/dashboard/api/x", Some(Dashboard)),
            ("/dashboards", None),
            ("/openvidu", None),
            ("/openvidu/", None),
            ("/openvidu/recordings/a/a.mp4", None),
            ("/openvidu/layouts/custom/index.html", None),
            ("/openvidu/accept-certificate", None),
            ("/openvidux", None),
            ("/", None),
            ("/api/v1", None),
            ("*", None),
        ] {
            assert_eq!(restriction(path), expected, "{path}");
        }
    }

    #[test]
    fn a_list_admits_whom_it_names_this_machine_and_nobody_unknown() {
        let lists = AccessLists {
            dashboard: Some(networks("203.0.113.0/24")),
            rest: Some(networks("198.51.100.7/32,2001:db8::/32")),
            neighbours: networks("172.17.0.0/16,192.0.2.1/32"),
        };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let direct = |text| Sender::Direct(address(text));
        let forwarded = |text| Sender::Forwarded(address(text));
        let unnamed = |text| Sender::Unnamed(address(text));
        for (sender, rest, dashboard) in [
            (direct("198.51.100.7"), true, false),
            (direct("198.51.100.8"), false, false),
            (direct("2001:db8::9"), true, false),
            (direct("203.0.113.200"), false, true),
            (forwarded("203.0.113.200"), false, true),
            (direct("172.17.3.4"), true, true),
            (forwarded("192.0.2.1"), true, true),
            (direct("127.0.0.1"), true, true),
            (direct("::1"), true, true),
            (forwarded("127.0.0.1"), false, false),
            (unnamed("127.0.0.1"), false, false),
            (unnamed("198.51.100.7"), false, false),
        ] {
            let admits = |path| lists.admits(path, sender);
            assert_eq!(admits("/openvidu/api/sessions"), rest, "{sender:?}");
            assert_eq!(admits("/dashboard/"), dashboard, "{sender:?}");
            assert!(admits("/openvidu"), "{sender:?}");
        }
    }

    #[test]
    fn without_a_list_everybody_is_admitted_and_an_empty_one_admits_this_machine_alone() {
        let stranger = Sender::Unnamed([198, 51, 100, 7].into());
        assert!(AccessLists::default().admits("/openvidu/api", stranger));
        let nobody = AccessLists {
            rest: Some(Vec::new()),
            ..AccessLists::default()
        };
        assert!(!nobody.admits("/openvidu/api", Sender::Direct([198, 51, 100, 7].into())));
        assert!(nobody.admits("/openvidu/api", Sender::Direct([127, 0, 0, 1].into())));
        assert!(nobody.admits("/dashboard/", stranger));
    }

    proptest! {
        #[test]
        fn nothing_that_rest_answers_is_outside_its_list(tail in "[!-~]{1,40}") {
            // Of what the proxy hands to REST, only this is open.
            let path = format!("/openvidu/{tail}");
            let open = ["recordings", "layouts", "accept-certificate", "info"];
            let first = tail.split('/').next().unwrap();
            let expected = !open.contains(&first);
            prop_assert_eq!(restriction(&path) == Some(Restriction::RestApi), expected);
        }
    }
}
