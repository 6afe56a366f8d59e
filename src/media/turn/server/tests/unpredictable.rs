//! Row S07 of the robustness catalogue: what an attacker would like to guess, in samples of ten thousand.

use std::collections::BTreeSet;

use super::*;

const SAMPLES: u16 = 10_000;

/// How far a sum of so many independent signs may be from 0: five standard deviations.
fn bound() -> f64 {
    5.0 * f64::from(SAMPLES).sqrt()
}

fn sampled_client(number: u16) -> TurnClient {
    let [high, low] = number.to_be_bytes();
    let addr = SocketAddr::from(([203, 0, high, low], 5_000));
    TurnClient::new(Protocol::Udp, addr, &number.to_string())
}

fn exchange(server: &mut Server, client: &TurnClient, request: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_ANSWER_LEN];
    match server.handle_input(t0(), client.five_tuple, request, &mut out) {
        Action::Reply { len } => out[..len].to_vec(),
        other @ (Action::Nothing | Action::Forward(_)) => panic!("{other:?}"),
    }
}

/// The correlation of each value with the one that follows it.
fn serial_correlation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let pairs = values.windows(2);
    let covariance: f64 = pairs.map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    covariance / variance
}

#[test]
fn nonces_and_relay_ports_follow_no_pattern() {
    let mut settings = settings();
    settings.ports = PortRange::new(50_000, 50_000 + SAMPLES - 1).unwrap();
    let mut server = server_with(settings);
    let (mut macs, mut ports) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        let mut client = sampled_client(number);
        let request = client.request(Method::ALLOCATE, udp);
        let challenge = exchange(&mut server, &client, &request);
        assert!(client.take_challenge(&challenge));
        let nonce = client.nonce.clone().unwrap();
        // Behind what all nonces begin with there are sixteen characters: the time, which is no secret, and a MAC.
        macs.push(<[u8; 10]>::try_from(&nonce[nonce.len() - 10..]).unwrap());
        let request = client.request(Method::ALLOCATE, udp);
        let granted = exchange(&mut server, &client, &request);
        ports.push(relayed(&granted).port());
    }
    assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), macs.len());
    for at in 0..10 {
        let values: Vec<f64> = macs.iter().map(|mac| f64::from(mac[at])).collect();
        let correlation = serial_correlation(&values);
        assert!(correlation.abs() < 0.05, "character {at}: {correlation}");
        let kinds: BTreeSet<u8> = macs.iter().map(|mac| mac[at]).collect();
        assert_eq!(kinds.len(), 64, "character {at}");
    }
    // Every port was given once, in no order.
    assert_eq!(
        ports.iter().collect::<BTreeSet<_>>().len(),
        usize::from(SAMPLES)
    );
    let values: Vec<f64> = ports.iter().copied().map(f64::from).collect();
    let correlation = serial_correlation(&values);
    assert!(correlation.abs() < 0.05, "{correlation}");
    let rises: f64 = values
        .windows(2)
        .map(|pair| if pair[0] < pair[1] { 1.0 } else { -1.0 })
        .sum();
    assert!(rises.abs() < bound(), "{rises}");
    let neighbours = ports
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) == 1);
    assert!(neighbours.count() < 20, "two are expected");
}

#[test]
fn a_port_that_was_given_back_is_not_the_next_one_given() {
    let mut server = server();
    let mut ports = Vec::new();
    for number in 0..640 {
        let mut client = sampled_client(number);
        for _ in 0..2 {
            let request = client.request(Method::ALLOCATE, udp);
            let answered = exchange(&mut server, &client, &request);
            if !client.take_challenge(&answered) {
                ports.push(relayed(&answered).port());
            }
        }
        let request = client.request(Method::REFRESH, lifetime(0));
        exchange(&mut server, &client, &request);
    }
    assert_eq!(ports.len(), 640);
    // Twenty each of the 32 are expected.
    for port in 57_001..=57_032 {
        let count = ports.iter().filter(|given| **given == port).count();
        assert!((2..=45).contains(&count), "{port}: {count} times");
    }
    let same = ports.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(same < 60, "{same} times the same again");
}
