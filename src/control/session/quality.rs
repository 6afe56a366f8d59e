//! The quality of publishers' connections (`openvidu-signalling` section 9.11), a feature of OpenVidu Pro.

use super::core::{Session, TransportOwner};
use super::notification::Notification;
use crate::media::plane::TransportId;

/// The best level.
const BEST: u8 = 5;

impl Session {
    /// A worker has a new opinion of a publisher's transport: every member is told if it is another one than before.
    pub(super) fn rate(&mut self, transport: TransportId, level: u8) {
        let level = level.min(BEST);
        let Some(TransportOwner::Publication(publisher)) = self.transports.get(&transport).cloned()
        else {
            return;
        };
        if self.settings.get().community_edition {
            return;
        }
        let Some(member) = self.member_mut(publisher.as_str()) else {
            return;
        };
        let old = member.quality.replace(level);
        if old != Some(level) {
            self.notify_all(Notification::NetworkQualityLevelChanged {
                connection: publisher,
                old,
                new: level,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::scene::{self, Stage};
    use crate::control::session::settings::Settings;
    use crate::media::plane::{Event, EventKind};

    fn rate(stage: &mut Stage, transport: u64, level: u8) -> Vec<String> {
        let event = Event {
            transport: Some(TransportId(transport)),
            kind: EventKind::Quality(level),
        };
        let at = stage.moment();
        stage.core.handle_media_event(at, event);
        stage.transcript()
    }

    fn call(settings: Settings) -> Stage {
        let mut stage = Stage::with(settings, scene::properties());
        stage.join('A');
        stage.join('B');
        stage.publish('A');
        stage.subscribe('B', 'A');
        stage
    }

    #[test]
    fn every_member_hears_of_another_level_and_of_nothing_else() {
        let mut stage = call(Settings::default());
        assert_eq!(
            rate(&mut stage, 1, 5),
            ["A <- quality con_A None 5", "B <- quality con_A None 5"]
        );
        assert!(rate(&mut stage, 1, 5).is_empty());
        assert!(rate(&mut stage, 1, 9).is_empty(), "9 is 5");
        assert_eq!(
            rate(&mut stage, 1, 2),
            [
                "A <- quality con_A Some(5) 2",
                "B <- quality con_A Some(5) 2"
            ]
        );
        assert!(rate(&mut stage, 2, 1).is_empty(), "a subscription");
        assert!(rate(&mut stage, 7, 1).is_empty(), "nobody's");
    }

    #[test]
    fn the_community_edition_keeps_it_to_itself() {
        let mut stage = call(Settings {
            community_edition: true,
            ..Settings::default()
        });
        assert!(rate(&mut stage, 1, 2).is_empty());
    }
}
