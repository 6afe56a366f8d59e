//! Who may use the REST API and the dashboard (`ALLOWED_ACCESS_TO_*`, `openvidu-deployment` section 8).

use std::net::IpAddr;

use ipnet::IpNet;

use super::headers::Sender;
use super::routes::{Destination, below};

/// What a path is restricted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// `ALLOWED_ACCESS_TO_DASHBOARD`.
    Dashboard,
    /// `ALLOWED_ACCESS_TO_RESTAPI`.
    RestApi,
}

/// By which list a request for `path`, which goes to `destination`, is restricted, if by any.
///
/// Signalling, recordings, layouts and the certificate page are open to all, as with OpenVidu's nginx: they have rules of
/// their own. Whatever else the REST service would answer is behind its list, so that no spelling of a path leads around
/// it; and whatever it does not answer is the application's.
pub fn restriction(destination: Destination, path: &str) -> Option<Restriction> {
    let is_in = |folder: &str| below(folder, path).is_some();
    match destination {
        Destination::Dashboard => Some(Restriction::Dashboard),
        Destination::Rest if is_in("/openvidu/info") => Some(Restriction::Dashboard),
        Destination::Rest => {
            let open = ["/openvidu/recordings", "/openvidu/accept-certificate"];
            (!open.into_iter().any(is_in)).then_some(Restriction::RestApi)
        }
        Destination::Signalling
        | Destination::Layouts
        | Destination::Elsewhere
        | Destination::Nothing => None,
    }
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
    /// Whether `sender` may ask for `path`, which goes to `destination`.
    ///
    /// Where there is a list, who cannot be known is not admitted, and this machine's loopback address counts only for
    /// those who talk to us directly: in a header anybody can write it (`robustness` S25).
    pub fn admits(&self, destination: Destination, path: &str, sender: Sender) -> bool {
        let list = match restriction(destination, path) {
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
    use crate::front::proxy::routes::{Entrance, destination};
    use proptest::prelude::*;

    /// By the HTTPS port, and by the plain listener.
    fn restricted(path: &str) -> [Option<Restriction>; 2] {
        [Entrance::Https, Entrance::Plain]
            .map(|entrance| restriction(destination(entrance, path), path))
    }

    fn networks(text: &str) -> Vec<IpNet> {
        let elements = text.split(',').filter(|element| !element.is_empty());
        elements.map(|element| element.parse().unwrap()).collect()
    }

    #[test]
    fn the_api_and_the_dashboard_are_restricted_and_what_browsers_of_participants_need_is_not() {
        use Restriction::{Dashboard, RestApi};
        for (path, expected) in [
            ("/openvidu/api", [Some(RestApi); 2]),
            ("/openvidu/api/sessions", [Some(RestApi); 2]),
            ("/openvidu/cdr", [Some(RestApi); 2]),
            // On the HTTPS port these are the application's.
            ("/openvidu/apifoo", [None, Some(RestApi)]),
            ("/openvidu//api", [None, Some(RestApi)]),
            ("/openvidu/%61pi/sessions", [None, Some(RestApi)]),
            ("/openvidu/recordingsx", [None, Some(RestApi)]),
            ("/openvidu/information", [None, Some(RestApi)]),
            ("/openvidu/info", [Some(Dashboard); 2]),
            ("/openvidu/info/x", [Some(Dashboard); 2]),
            ("/dashboard", [Some(Dashboard); 2]),
            ("/dashboard/", [Some(Dashboard); 2]),
            ("/dashboard/api/x", [Some(Dashboard); 2]),
            ("/dashboards", [None; 2]),
            ("/openvidu", [None; 2]),
            ("/openvidu/", [None; 2]),
            ("/openvidu/recordings/a/a.mp4", [None; 2]),
            ("/openvidu/layouts/custom/index.html", [None; 2]),
            ("/openvidu/accept-certificate", [None; 2]),
            ("/openvidux", [None; 2]),
            ("/", [None; 2]),
            ("/api/v1", [None; 2]),
            ("*", [None; 2]),
        ] {
            assert_eq!(restricted(path), expected, "{path}");
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
            let admits = |path| lists.admits(destination(Entrance::Https, path), path, sender);
            assert_eq!(admits("/openvidu/api/sessions"), rest, "{sender:?}");
            assert_eq!(admits("/dashboard/"), dashboard, "{sender:?}");
            assert!(admits("/openvidu"), "{sender:?}");
        }
    }

    #[test]
    fn without_a_list_everybody_is_admitted_and_an_empty_one_admits_this_machine_alone() {
        let stranger = Sender::Unnamed([198, 51, 100, 7].into());
        let api =
            |lists: &AccessLists, sender| lists.admits(Destination::Rest, "/openvidu/api", sender);
        assert!(api(&AccessLists::default(), stranger));
        let nobody = AccessLists {
            rest: Some(Vec::new()),
            ..AccessLists::default()
        };
        assert!(!api(&nobody, Sender::Direct([198, 51, 100, 7].into())));
        assert!(api(&nobody, Sender::Direct([127, 0, 0, 1].into())));
        assert!(nobody.admits(Destination::Dashboard, "/dashboard/", stranger));
    }

    proptest! {
        #[test]
        fn nothing_that_rest_answers_is_outside_its_list(tail in "[!-~]{1,40}", plain: bool) {
            let path = format!("/openvidu/{tail}");
            let entrance = if plain { Entrance::Plain } else { Entrance::Https };
            let destination = destination(entrance, &path);
            let open = ["recordings", "accept-certificate", "info"];
            let is_open = open.contains(&tail.split('/').next().unwrap());
            let expected = destination == Destination::Rest && !is_open;
            let found = restriction(destination, &path) == Some(Restriction::RestApi);
            prop_assert_eq!(found, expected);
        }
    }
}
