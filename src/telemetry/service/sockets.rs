//! What `/proc` says of sockets (proc(5)).

use std::collections::BTreeSet;
use std::fs;

/// Datagrams that UDP sockets bound to `ports` could not hold, as far as the kernel tells, in the network of a process
/// (`self`, or a number).
pub fn receive_drops(process: &str, ports: &BTreeSet<u16>) -> u64 {
    ["udp", "udp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")).ok())
        .map(|table| drops_in(&table, ports))
        .sum()
}

fn drops_in(table: &str, ports: &BTreeSet<u16>) -> u64 {
    let drops = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (_, port) = words.nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let drops = words.next_back()?.parse::<u64>().ok()?;
        ports.contains(&port).then_some(drops)
    });
    drops.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_the_ports() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
              396: 0100007F:9C40 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 17\n\
              397: 00000000:9C41 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 5\n";
        assert_eq!(drops_in(table, &BTreeSet::from([40_000])), 17);
        assert_eq!(drops_in(table, &BTreeSet::from([40_000, 40_001])), 22);
        assert_eq!(drops_in(table, &BTreeSet::from([1])), 0);
        assert_eq!(drops_in("", &BTreeSet::from([1])), 0);
    }
}
