//! When the packets of one transport arrived, for transport-wide feedback to their sender.

use std::collections::VecDeque;

use crate::media::rtp::rtcp::transport_wide::{MAX_REPORTED, Report};
use crate::units::SeqNo;

/// Most packets between two reports; a sequence number further ahead begins anew.
const MAX_LOGGED: usize = 1024;

/// Arrivals that have not been reported.
#[derive(Debug, Default)]
pub(crate) struct ArrivalLog {
    /// The number of the first entry; meaningful once a packet has come.
    base: Option<SeqNo>,
    /// In microseconds; the last entry is never `None`.
    arrivals: VecDeque<Option<i64>>,
    reports: u8,
}

impl ArrivalLog {
    /// The packet with the transport-wide number `seq` arrived `at` microseconds after some epoch.
    pub(crate) fn record(&mut self, seq: SeqNo, at: i64) {
        let base = *self.base.get_or_insert(seq);
        // Late for its report, it stays lost: the sender has long reacted.
        let Ok(index) = usize::try_from(seq.distance_from(base)) else {
            // Unless it is so far behind that the sender has started anew.
            if base.distance_from(seq) >= MAX_LOGGED as i16 || base.distance_from(seq) < 0 {
                self.begin(seq, at);
            }
            return;
        };
        if index >= MAX_LOGGED {
            return self.begin(seq, at);
        }
        if self.arrivals.capacity() == 0 {
            self.arrivals.reserve_exact(MAX_LOGGED);
        }
        if index >= self.arrivals.len() {
            self.arrivals.resize(index + 1, None);
        }
        self.arrivals[index].get_or_insert(at);
    }

    /// The next report, if a packet has come since the last one. To be called until there is none.
    pub(crate) fn take_report(&mut self) -> Option<Report> {
        while !self.arrivals.is_empty() {
            let base = self.base?;
            let report = Report::new(base, self.arrivals.make_contiguous(), self.reports);
            let covered = report
                .as_ref()
                .map_or(self.arrivals.len().min(MAX_REPORTED), |(_, covered)| {
                    *covered
                });
            self.arrivals.drain(..covered);
            self.base = Some(base.plus(covered as u16));
            if let Some((report, _)) = report {
                self.reports = self.reports.wrapping_add(1);
                return Some(report);
            }
        }
        None
    }

    fn begin(&mut self, seq: SeqNo, at: i64) {
        self.base = Some(seq);
        self.arrivals.clear();
        self.arrivals.push_back(Some(at));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(log: &mut ArrivalLog) -> Vec<(SeqNo, usize)> {
        let mut reports = Vec::new();
        loop {
            let (base, before) = (log.base, log.arrivals.len());
            if log.take_report().is_none() {
                return reports;
            }
            reports.push((base.unwrap(), before - log.arrivals.len()));
        }
    }

    #[test]
    fn reports_follow_each_other_without_a_hole() {
        let mut log = ArrivalLog::default();
        log.record(SeqNo(65_534), 0);
        log.record(SeqNo(1), 10);
        assert_eq!(covered(&mut log), [(SeqNo(65_534), 4)]);
        log.record(SeqNo(4), 20);
        log.record(SeqNo(0), 21);
        assert_eq!(covered(&mut log), [(SeqNo(2), 3)]);
        assert_eq!(covered(&mut log), []);
    }

    #[test]
    fn a_leap_begins_anew() {
        let mut log = ArrivalLog::default();
        log.record(SeqNo(0), 0);
        log.record(SeqNo(20_000), 10);
        assert_eq!(covered(&mut log), [(SeqNo(20_000), 1)]);
        log.record(SeqNo(5), 20);
        assert_eq!(covered(&mut log), [(SeqNo(5), 1)]);
    }

    proptest! {
        #[test]
        fn any_numbers_at_any_time_stay_bounded(
            packets in prop::collection::vec((any::<u16>(), any::<i32>()), 1..100),
        ) {
            let mut log = ArrivalLog::default();
            for (seq, at) in packets {
                log.record(SeqNo(seq), i64::from(at) * 1000);
                prop_assert!(log.arrivals.len() <= MAX_LOGGED);
            }
            prop_assert!(covered(&mut log).len() <= MAX_LOGGED);
            prop_assert!(log.arrivals.is_empty());
        }
    }
}
