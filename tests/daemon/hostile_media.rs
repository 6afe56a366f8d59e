//! What arrives on the media port and should not (`robustness` S14 to S18): silence, and nobody notices.

use std::net::SocketAddr;

use hanok::media::rtp::rtcp::Writer;
use hanok::media::stun::{
    AttributeType, Class, IntegrityKey, Message, Method, TransactionId, Writer as StunWriter,
};
use hanok::testing::client::{LOOPBACK, PATIENCE};
use hanok::units::{MediaKind, Ssrc};
use tokio::net::UdpSocket;

use crate::call::Call;
use crate::house::{House, Witness, eventually};

/// A call whose publisher's datagrams are known to the attacker.
struct Victim {
    call: Call,
    /// Protected datagrams that the publisher has sent already.
    recorded: Vec<Vec<u8>>,
}

impl Victim {
    async fn begin(house: &House) -> Self {
        let call = house.call(1).await;
        call.sending.record(60).await;
        let report = call
            .sending
            .until("sixty datagrams are recorded", |report| {
                report.recorded.len() == 60
            })
            .await
            .unwrap();
        let sent = report.video.sent;
        call.receiving()
            .until("they have arrived", |report| {
                report.video.newest > Some(sent)
            })
            .await
            .unwrap();
        Self {
            call,
            recorded: report.recorded,
        }
    }

    fn target(&self) -> SocketAddr {
        self.call.sending.target
    }

    /// Packets that look like the publisher's.
    fn forgeries(&self) -> Vec<Vec<u8>> {
        let mut forged = Vec::new();
        let video = self.recorded.iter().find(|it| it.len() > 300).unwrap();
        // Plaintext RTP and RTCP with the headers of real ones.
        for number in 0..20_u16 {
            let mut packet = video[..60].to_vec();
            let next = u16::from_be_bytes([packet[2], packet[3]]).wrapping_add(100 + number);
            packet[2..4].copy_from_slice(&next.to_be_bytes());
            forged.push(packet);
        }
        let ssrc = Ssrc(u32::from_be_bytes(video[8..12].try_into().unwrap()));
        let mut goodbye = Vec::new();
        Writer::new(&mut goodbye)
            .receiver_report(ssrc, std::iter::empty())
            .goodbye(ssrc);
        forged.push(goodbye);
        // Real ones with a bit turned, in the payload and in the tag.
        for at in [40, video.len() - 1] {
            let mut packet = video.clone();
            packet[at] ^= 1;
            forged.push(packet);
        }
        forged
    }
}

/// 1 to 40 bytes with the first bytes of every protocol (S17).
fn stubs() -> impl Iterator<Item = Vec<u8>> {
    let kinds: [[u8; 2]; 8] = [
        [0x80, 96],
        [0x80, 200],
        [0x90, 111],
        [0xbf, 0xff],
        [22, 254],
        [20, 0xff],
        [0x40, 0],
        [0xff, 0xff],
    ];
    kinds.into_iter().flat_map(|[first, second]| {
        (1..=40).map(move |len| {
            let mut packet = vec![0xff; len];
            packet[0] = first;
            if let Some(byte) = packet.get_mut(1) {
                *byte = second;
            }
            packet
        })
    })
}

/// Sends from an address that nobody knows and waits until all of it has been dropped. Nothing may come back.
async fn attack(house: &House, witness: &Witness, target: SocketAddr, datagrams: &[Vec<u8>]) {
    let before = house.counted(|counters| &counters.receive_dropped);
    let attacker = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    for datagram in datagrams {
        attacker.send_to(datagram, target).await.unwrap();
    }
    dropped(house, before, datagrams.len()).await;
    witness.has_lost_nothing().await;
    let mut answer = [0; 2_048];
    let answered = attacker.try_recv_from(&mut answer);
    assert!(answered.is_err(), "{answered:?}");
}

async fn dropped(house: &House, before: u64, count: usize) {
    let dropped = || house.counted(|counters| &counters.receive_dropped) - before;
    eventually("every datagram is dropped", async || {
        dropped() >= count as u64
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_neither_believed_nor_answered() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let victim = Victim::begin(&house).await;
    let mut datagrams = victim.recorded.clone();
    datagrams.extend(victim.forgeries());
    datagrams.extend(stubs());
    attack(&house, &witness, victim.target(), &datagrams).await;
    victim.call.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_without_the_password_are_not_answered_and_validate_nothing() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let victim = Victim::begin(&house).await;
    let ufrag = &victim.call.sending.remote.ufrag;
    let pwd = &victim.call.sending.remote.pwd;
    let check = |username: &str, password: Option<&str>| {
        let mut buffer = vec![0; 256];
        let id = TransactionId([7; 12]);
        let mut writer = StunWriter::new(&mut buffer, Class::Request, Method::BINDING, id);
        writer.attribute(AttributeType::USERNAME, username.as_bytes());
        writer.attribute(AttributeType::USE_CANDIDATE, &[]);
        writer.attribute(AttributeType::ICE_CONTROLLING, &[1; 8]);
        if let Some(password) = password {
            writer.integrity(&IntegrityKey::short_term(password));
        }
        writer.fingerprint();
        let len = writer.finish().unwrap();
        buffer.truncate(len);
        buffer
    };
    let known = format!("{ufrag}:{}", "xxxx");
    let mut datagrams = vec![
        check(&known, None),
        check(&known, Some("")),
        check(&known, Some("wrongwrongwrongwrongwrong")),
        check(ufrag, Some("wrongwrongwrongwrongwrong")),
        check("unknown:xxxx", Some(pwd)),
        check("", Some(pwd)),
        check(&":".repeat(100), Some(pwd)),
    ];
    let good = check(&known, Some(pwd));
    // Cut anywhere, or with a bit turned in any byte behind the cookie.
    datagrams.extend((1..good.len()).map(|len| good[..len].to_vec()));
    datagrams.extend((20..good.len()).map(|at| {
        let mut bad = good.clone();
        bad[at] ^= 4;
        bad
    }));
    // What follows from the same address is still a stranger's.
    datagrams.extend(victim.recorded[..5].iter().cloned());
    attack(&house, &witness, victim.target(), &datagrams).await;
    victim.call.has_lost_nothing().await;

    // The good one is answered: the others were refused for what was wrong with them.
    let peer = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    peer.send_to(&good, victim.target()).await.unwrap();
    let mut answer = [0; 512];
    let (len, from) = tokio::time::timeout(PATIENCE, peer.recv_from(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    assert_eq!(from, victim.target());
    assert_eq!(
        Message::parse(&answer[..len]).unwrap().class(),
        Class::Success
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_replayed_and_foreign_media_from_the_right_address_goes_nowhere() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let victim = Victim::begin(&house).await;
    let other = Victim::begin(&house).await;
    let before = house.counted(|counters| &counters.receive_dropped);
    let mut datagrams = victim.forgeries();
    // A replay of everything, twice; media under another call's key; stubs of media.
    datagrams.extend(victim.recorded.iter().cloned());
    datagrams.extend(victim.recorded.iter().rev().cloned());
    datagrams.extend(other.recorded.iter().cloned());
    datagrams.extend(stubs().filter(|stub| (128..=191).contains(&stub[0])));
    for datagram in &datagrams {
        victim.call.sending.send_raw(datagram.clone()).await;
    }
    dropped(&house, before, datagrams.len()).await;
    victim.call.has_lost_nothing().await;
    other.call.has_lost_nothing().await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_from_strangers_and_damaged_ones_from_the_right_address_change_nothing() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let target = house.media_address(&session).await;

    // While others flood the port with handshakes, one connects (S14).
    let attacker = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let mut flood = tokio::task::JoinSet::new();
    flood.spawn(async move {
        let mut interval = tokio::time::interval(std::time::Duration::from_millis(1));
        loop {
            interval.tick().await;
            for datagram in [client_hello(), vec![22; 1_200], fatal_alert()] {
                let _ = attacker.send_to(&datagram, target).await;
            }
        }
    });
    let victim = Victim::begin(&house).await;
    victim.call.has_lost_nothing().await;
    flood.shutdown().await;

    // Plaintext alerts and other handshakes on a path that is in use (whoever can spoof its address).
    let mut datagrams = vec![
        fatal_alert(),
        client_hello(),
        vec![22; 1_200],
        vec![23; 100],
    ];
    datagrams.extend((20..64).map(|kind| vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]));
    for datagram in &datagrams {
        victim.call.sending.send_raw(datagram.clone()).await;
        victim.call.receiving().send_raw(datagram.clone()).await;
    }
    victim.call.has_lost_nothing().await;
    witness.has_lost_nothing().await;
}

/// A record with a fatal `handshake_failure` (RFC 6347 section 4.1, RFC 5246 section 7.2).
fn fatal_alert() -> Vec<u8> {
    vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40]
}

/// A whole ClientHello of DTLS 1.0 with the NULL cipher and nothing else.
fn client_hello() -> Vec<u8> {
    let mut body = vec![0xfe, 0xff];
    body.extend([0x11; 32]);
    body.extend([0, 0, 0, 2, 0, 0, 1, 0]);
    let len = body.len() as u8;
    let mut message = vec![1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len];
    message.extend(body);
    let mut record = vec![
        22,
        0xfe,
        0xff,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        message.len() as u8,
    ];
    record.extend(message);
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_storms_and_nonsense_under_the_right_key_cost_the_others_nothing() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let victim = Victim::begin(&house).await;
    let ssrc = Ssrc(victim.call.receiving().ssrc(MediaKind::Video).unwrap());
    let before = victim.call.sending.report().key_frame_requests;
    let began = tokio::time::Instant::now();
    // Requests for key frames and for packets that were never sent, in quantities (S20).
    for number in 0..2_000_u16 {
        let mut packet = Vec::new();
        let mut writer = Writer::new(&mut packet);
        writer.picture_loss_indication(Ssrc(1), ssrc);
        let lost: Vec<_> = (0..200)
            .map(|it| hanok::units::SeqNo(number.wrapping_mul(31).wrapping_add(it)))
            .collect();
        writer.nack(Ssrc(1), ssrc, &lost);
        writer.nack(Ssrc(1), Ssrc(12345), &lost);
        victim.call.receiving().send_rtcp(packet).await;
    }
    // RTP from a subscriber, and RTCP that is none.
    for packet in [vec![0x80; 100], vec![0x81; 12], vec![0xbf; 1_200]] {
        victim.call.receiving().send_rtp(packet.clone()).await;
        victim.call.sending.send_rtp(packet.clone()).await;
        victim.call.receiving().send_rtcp(packet.clone()).await;
        victim.call.sending.send_rtcp(packet).await;
    }
    // Both calls go on; the retransmissions that were asked for are nobody's loss.
    let sent = victim.call.sending.report();
    let report = victim
        .call
        .receiving()
        .until("the call goes on", |report| {
            report.video.newest > Some(sent.video.sent + 4)
        })
        .await
        .unwrap();
    assert!(report.video.is_complete(), "{report:?}");
    witness.has_lost_nothing().await;
    let asked = victim.call.sending.report().key_frame_requests - before;
    let most = 2 + began.elapsed().as_millis() / 300;
    assert!(
        u128::from(asked) <= most,
        "{asked} requests reached the publisher, at most {most} should"
    );
}
