//! `hanok mask`: standard input to standard output, every secret masked. For logs and reports that leave the machine.

use std::io::{self, BufRead, Read as _, Write};

use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, FileArguments, Terminal};
use crate::config::Machine;
use crate::config::mask::Masker;

/// The longest line that is shown; what follows is left out.
const LONGEST_LINE: usize = 1 << 20;
/// What is left out of a line before its cut: a secret that lies across it must not show in halves.
const BEFORE_CUT: usize = 4 * 1024;

pub(super) fn run<O: Write, E: Write>(
    arguments: FileArguments,
    machine: &dyn Machine,
    input: &mut impl BufRead,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let mut masker = match Masker::new(machine, &arguments.options()) {
        Ok(masker) => masker,
        Err(error) => {
            writeln!(terminal.err, "{error}")?;
            return Ok(EXIT_FAILURE);
        }
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        if input
            .by_ref()
            .take(LONGEST_LINE as u64)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(EXIT_SUCCESS);
        }
        if line.pop_if(|byte| *byte == b'\n').is_none() && line.len() == LONGEST_LINE {
            line.truncate(LONGEST_LINE - BEFORE_CUT);
            input.skip_until(b'\n')?;
        }
        writeln!(
            terminal.out,
            "{}",
            masker.line(&String::from_utf8_lossy(&line))
        )?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::FakeMachine;
    use crate::config::layers::HANOK_FILE;

    #[test]
    fn lines_are_masked_one_by_one_and_cut_where_they_are_too_long() {
        let mut machine = FakeMachine::default();
        let file = b"OPENVIDU_SECRET=0123456789abcdef\n".to_vec();
        machine.files.insert(HANOK_FILE.into(), file);
        let mut input = b"a 0123456789abcdef\n\n\xff b\n".to_vec();
        // Across the end of what is read in one go.
        input.extend(vec![b'x'; (1 << 20) - 8]);
        input.extend(b"0123456789abcdef\nlast");
        let mut terminal = Terminal {
            out: Vec::new(),
            err: Vec::new(),
        };
        let arguments = FileArguments { env_file: None };
        let status = run(arguments, &machine, &mut input.as_slice(), &mut terminal).unwrap();
        assert_eq!(status, EXIT_SUCCESS);
        let out = String::from_utf8(terminal.out).unwrap();
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[..3], ["a ********", "", "\u{fffd} b"]);
        assert!(lines[3].ends_with('x') && !out.contains("0123"));
        assert_eq!(lines[4..], ["last"]);
    }
}
