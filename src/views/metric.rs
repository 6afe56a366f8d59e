//! Metrics as they are shown. Whoever counts declares them; `telemetry` writes them down.
//!
//! A label's value is a word of this program or a small number, never a text from outside: what clients call themselves
//! cannot make more of them (`robustness` S13).

use crate::units::count::Observed;

/// A metric with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name, by the rules of Prometheus: a unit at the end, `_total` behind that of a counter.
    pub name: &'static str,
    /// One sentence for whoever looks at it.
    pub help: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// One for each combination of labels.
    pub samples: Vec<Sample>,
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the process lives.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How long something took how often.
    Histogram,
}

/// One number, or one histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What tells it from the others.
    pub labels: Vec<Label>,
    /// The number.
    pub value: Value,
}

/// A label: its name and its value.
pub type Label = (&'static str, Word);

/// The value of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// One of a closed set.
    Text(&'static str),
    /// The number of a worker.
    Number(usize),
}

/// The value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// A measure in the unit of the metric's name.
    Real(f64),
    /// Durations, shown in seconds.
    Durations(Observed),
}

impl Family {
    /// A counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::counters(name, help, [(Vec::new(), value)])
    }

    /// A counter with labels.
    pub fn counters(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> Self {
        let samples = samples.into_iter();
        Self::of(
            Kind::Counter,
            name,
            help,
            samples.map(|(labels, value)| (labels, Value::Whole(value))),
        )
    }

    /// A gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: impl Into<Value>) -> Self {
        Self::gauges(name, help, [(Vec::new(), value.into())])
    }

    /// A gauge with labels.
    pub fn gauges(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Vec<Label>, Value)>,
    ) -> Self {
        Self::of(Kind::Gauge, name, help, samples)
    }

    /// A histogram of durations with labels.
    pub fn durations(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Vec<Label>, Observed)>,
    ) -> Self {
        let samples = samples.into_iter();
        Self::of(
            Kind::Histogram,
            name,
            help,
            samples.map(|(labels, value)| (labels, Value::Durations(value))),
        )
    }

    fn of(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Vec<Label>, Value)>,
    ) -> Self {
        let samples = samples.into_iter();
        Self {
            name,
            help,
            kind,
            samples: samples
                .map(|(labels, value)| Sample { labels, value })
                .collect(),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}
