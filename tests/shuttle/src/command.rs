//! What the shuttle is told, one line at a time.
//!
//! ```text
//! [up|down] SETTING VALUE [SETTING VALUE …]     both directions unless one is named
//! [up|down] clear                               perfect again, an ongoing blackout ends
//! stats                                         a line of JSON
//! ```

use std::time::Duration;

use crate::line::Conditions;

/// Which directions a command is for: `up` leads from the first end to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Up,
    Down,
    Both,
}

/// One step of a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    Delay(Duration),
    Jitter(Duration),
    Loss(f64),
    Burst(f64),
    Reorder(f64),
    Duplicate(f64),
    Rate(Option<u64>),
    Queue(usize),
    Blackout(Duration),
    Clear,
}

impl Step {
    /// The conditions after this step; a blackout is none of them.
    pub(crate) fn applied_to(self, mut conditions: Conditions) -> Conditions {
        match self {
            Self::Delay(delay) => conditions.delay = delay,
            Self::Jitter(jitter) => conditions.jitter = jitter,
            Self::Loss(loss) => conditions.loss = loss,
            Self::Burst(burst) => conditions.burst = burst,
            Self::Reorder(reorder) => conditions.reorder = reorder,
            Self::Duplicate(duplicate) => conditions.duplicate = duplicate,
            Self::Rate(rate) => conditions.rate = rate,
            Self::Queue(queue) => conditions.queue = queue,
            Self::Blackout(_) => {}
            Self::Clear => conditions = Conditions::default(),
        }
        conditions
    }
}

/// A line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Change(Scope, Vec<Step>),
    Stats,
}

/// Reads one line.
///
/// # Errors
/// Says in words what was not understood.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let mut words = line.split_whitespace().peekable();
    let scope = match words.peek() {
        Some(&"up") => Scope::Up,
        Some(&"down") => Scope::Down,
        Some(&"stats") => return Ok(Command::Stats),
        _ => Scope::Both,
    };
    if scope != Scope::Both {
        words.next();
    }
    let mut steps = Vec::new();
    while let Some(word) = words.next() {
        if word == "clear" {
            steps.push(Step::Clear);
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
        let step = match word {
            "delay" => duration(value).map(Step::Delay),
            "jitter" => duration(value).map(Step::Jitter),
            "loss" => percentage(value).map(Step::Loss),
            "burst" => number(value, &[]).map(Step::Burst),
            "reorder" => percentage(value).map(Step::Reorder),
            "duplicate" => percentage(value).map(Step::Duplicate),
            "rate" if value == "none" => Some(Step::Rate(None)),
            "rate" => number(value, &[("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)])
                .filter(|rate| *rate >= 1.0)
                .map(|rate| Step::Rate(Some(rate as u64))),
            "queue" => {
                number(value, &[("kB", 1e3), ("B", 1.0)]).map(|bytes| Step::Queue(bytes as usize))
            }
            "blackout" => duration(value).map(Step::Blackout),
            _ => return Err(format!("what is {word}?")),
        };
        steps.push(step.ok_or_else(|| format!("{value} is no {word}"))?);
    }
    if steps.is_empty() {
        return Err("nothing to do".to_owned());
    }
    Ok(Command::Change(scope, steps))
}

/// Up to a day; milliseconds unless a unit says otherwise.
fn duration(text: &str) -> Option<Duration> {
    let seconds = number(text, &[("ms", 1e-3), ("s", 1.0), ("", 1e-3)])?;
    (seconds <= 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

fn percentage(text: &str) -> Option<f64> {
    let share = number(text, &[("%", 0.01), ("", 0.01)])?;
    (share <= 1.0).then_some(share)
}

/// Not negative, times what its unit stands for.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1.0));
    let value: f64 = digits.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_hold_several_settings_for_one_direction() {
        let Ok(Command::Change(Scope::Down, steps)) =
            parse("down delay 20 jitter 2.5ms loss 5% rate 300kbit queue 30kB")
        else {
            panic!("it is understood")
        };
        let conditions = steps
            .iter()
            .fold(Conditions::default(), |conditions, step| {
                step.applied_to(conditions)
            });
        assert_eq!(
            conditions,
            Conditions {
                delay: Duration::from_millis(20),
                jitter: Duration::from_micros(2500),
                loss: 0.05,
                rate: Some(300_000),
                queue: 30_000,
                ..Conditions::default()
            }
        );
        assert_eq!(Step::Clear.applied_to(conditions), Conditions::default());
        assert_eq!(Step::Rate(None).applied_to(conditions).rate, None);
    }

    #[test]
    fn both_directions_are_meant_unless_one_is_named() {
        assert_eq!(
            parse("loss 1"),
            Ok(Command::Change(Scope::Both, vec![Step::Loss(0.01)]))
        );
        assert_eq!(
            parse("up blackout 20s clear"),
            Ok(Command::Change(
                Scope::Up,
                vec![Step::Blackout(Duration::from_secs(20)), Step::Clear]
            ))
        );
        assert_eq!(parse(" stats "), Ok(Command::Stats));
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (line, error) in [
            ("", "nothing to do"),
            ("up", "nothing to do"),
            ("speed 3", "what is speed?"),
            ("loss", "loss has no value"),
            ("loss 101%", "101% is no loss"),
            ("loss -1", "-1 is no loss"),
            ("loss NaN", "NaN is no loss"),
            ("delay 90000s", "90000s is no delay"),
            ("rate 0", "0 is no rate"),
        ] {
            assert_eq!(parse(line), Err(error.to_owned()), "{line}");
        }
    }
}
