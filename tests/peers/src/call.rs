//! The `webrtc` crate in a call: ICE, TURN client, DTLS, SRTP and congestion feedback of a stack that shares nothing
//! with ours, and that may only use our relay. The crate speaks to TURN servers over UDP alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use hanok::testing::client::{PATIENCE, publish_params};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtp::header::Header;
use rtc::rtp::packet::Packet;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCConfigurationBuilder, RTCIceCandidateType, RTCIceGatheringState, RTCIceServer,
    RTCIceTransportPolicy, RTCPeerConnectionState, RTCSessionDescription, RTCStatsReportEntry,
    Registry, StatsSelector, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use crate::house::{House, eventually, text};

/// How many packets of each kind must arrive.
const ENOUGH: usize = 100;

/// How often one of each kind is sent.
const PACE: Duration = Duration::from_millis(20);

/// A key frame (RFC 7741): descriptor, payload header, start code, 640 by 360.
const KEY_FRAME: [u8; 11] = [
    0x10, 0x10, 0x02, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01,
];

/// One member publishes, another one subscribes, each through an allocation of its own.
///
/// # Errors
/// Media does not arrive, or not by the relay.
pub async fn relayed(house: &House) -> anyhow::Result<()> {
    let session = house.session().await?;
    let (mut ann, told_ann) = house.join(&session).await?;
    let (mut bob, told_bob) = house.join(&session).await?;

    let publisher = Leg::open(&told_ann).await?;
    let sent = [
        Sent::add(&publisher, RtpCodecKind::Audio).await?,
        Sent::add(&publisher, RtpCodecKind::Video).await?,
    ];
    let params = publish_params(&publisher.offer().await?);
    let published = ann.request("publishVideo", params).await?;
    publisher.accept(text(&published, "sdpAnswer")?).await?;

    let subscriber = Leg::open(&told_bob).await?;
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        let init = one_way(RTCRtpTransceiverDirection::Recvonly);
        let connection = &subscriber.connection;
        connection.add_transceiver_from_kind(kind, init).await?;
    }
    let offer = subscriber.offer().await?;
    let params = json!({"sender": text(&published, "id")?, "sdpOffer": offer});
    let answered = bob.request("receiveVideoFrom", params).await?;
    subscriber.accept(text(&answered, "sdpAnswer")?).await?;

    publisher.connected().await?;
    subscriber.connected().await?;
    ensure!(house.allocations().await?.len() == 2);

    let mut number = 0;
    let mut pace = tokio::time::interval(PACE);
    let arrived = eventually("media arrives", async || {
        pace.tick().await;
        for sent in &sent {
            sent.send(number).await?;
        }
        number += 1;
        let mut kinds = subscriber.heard.iter();
        Ok(kinds.all(|packets| packets.load(Ordering::Relaxed) >= ENOUGH))
    })
    .await;
    arrived.with_context(|| format!("{:?} of {number} packets", subscriber.heard))?;

    for leg in [&publisher, &subscriber] {
        leg.is_relayed().await?;
    }
    let counters = house.counters().await?;
    let expected = 2 * ENOUGH as u64;
    // Nobody but the daemon was a peer: nothing has left the process.
    ensure!(counters.packets_inside >= expected, "{counters:?}");
    ensure!(
        counters.packets_to_peers == counters.packets_inside,
        "{counters:?}"
    );
    ensure!(counters.packets_to_clients >= expected, "{counters:?}");

    publisher.connection.close().await?;
    subscriber.connection.close().await?;
    eventually("the allocations are released", async || {
        Ok(house.allocations().await?.is_empty())
    })
    .await?;
    ann.leave().await?;
    bob.leave().await?;
    Ok(())
}

fn one_way(direction: RTCRtpTransceiverDirection) -> Option<RTCRtpTransceiverInit> {
    Some(RTCRtpTransceiverInit {
        direction,
        ..Default::default()
    })
}

/// The one codec of a kind that the connections know, under its payload type.
fn codec(kind: RtpCodecKind) -> RTCRtpCodecParameters {
    let (mime_type, clock_rate, channels, payload_type) = if kind == RtpCodecKind::Audio {
        (MIME_TYPE_OPUS, 48_000, 2, 111)
    } else {
        (MIME_TYPE_VP8, 90_000, 0, 96)
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate,
            channels,
            ..Default::default()
        },
        payload_type,
    }
}

/// A peer connection that may only use the relay of which `joinRoom` told.
struct Leg {
    connection: Arc<dyn PeerConnection>,
    progress: watch::Receiver<Progress>,
    /// Packets of audio and video.
    heard: Arc<[AtomicUsize; 2]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    is_gathered: bool,
    state: RTCPeerConnectionState,
}

impl Leg {
    async fn open(joined: &Value) -> anyhow::Result<Self> {
        let server = RTCIceServer {
            urls: vec![text(&joined["customIceServers"][0], "url")?.to_owned()],
            username: text(joined, "turnUsername")?.to_owned(),
            credential: text(joined, "turnCredential")?.to_owned(),
        };
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(vec![server])
            .with_ice_transport_policy(RTCIceTransportPolicy::Relay)
            .build();
        let mut engine = MediaEngine::default();
        for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
            engine.register_codec(codec(kind), kind)?;
        }
        let registry = register_default_interceptors(Registry::new(), &mut engine)?;
        let (told, progress) = watch::channel(Progress::default());
        let heard = Arc::<[AtomicUsize; 2]>::default();
        let watching = Watching {
            told,
            heard: heard.clone(),
        };
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(watching))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await?;
        Ok(Self {
            connection: Arc::new(connection),
            progress,
            heard,
        })
    }

    /// An offer with all candidates, of which none is another than a relayed one.
    async fn offer(&self) -> anyhow::Result<String> {
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        self.until("gathering ends", |progress| progress.is_gathered)
            .await?;
        let description = self.connection.local_description().await;
        let sdp = description.context("a description")?.sdp;
        let mut candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
        ensure!(candidates.clone().count() > 0, "{sdp}");
        ensure!(candidates.all(|line| line.contains(" typ relay")), "{sdp}");
        Ok(sdp)
    }

    async fn accept(&self, answer: &str) -> anyhow::Result<()> {
        let answer = RTCSessionDescription::answer(answer.to_owned())?;
        Ok(self.connection.set_remote_description(answer).await?)
    }

    async fn connected(&self) -> anyhow::Result<()> {
        let is_connected =
            |progress: &Progress| progress.state == RTCPeerConnectionState::Connected;
        self.until("the connection comes up", is_connected).await
    }

    async fn until(
        &self,
        what: &str,
        condition: impl FnMut(&Progress) -> bool,
    ) -> anyhow::Result<()> {
        let mut progress = self.progress.clone();
        let waiting = tokio::time::timeout(PATIENCE, progress.wait_for(condition));
        let ended = waiting
            .await
            .with_context(|| format!("timed out: {what}"))?;
        ended.context("the connection has ended")?;
        Ok(())
    }

    /// The selected pair begins at the relay.
    async fn is_relayed(&self) -> anyhow::Result<()> {
        let stats = self
            .connection
            .get_stats(Instant::now(), StatsSelector::None)
            .await;
        let transport = stats.transport().context("a transport")?;
        let selected = stats.get(&transport.selected_candidate_pair_id);
        let Some(RTCStatsReportEntry::IceCandidatePair(pair)) = selected else {
            bail!("no pair is selected: {transport:?}");
        };
        ensure!(
            pair.nominated && pair.packets_sent > 0 && pair.packets_received > 0,
            "{pair:?}"
        );
        // The pair leaves out the beginning of the name under which the candidate is listed.
        let local = stats.get(&format!("RTCLocalIceCandidate_{}", pair.local_candidate_id));
        let Some(RTCStatsReportEntry::LocalCandidate(local)) = local else {
            bail!("the pair has no local candidate: {pair:?}");
        };
        ensure!(
            local.candidate_type == RTCIceCandidateType::Relay,
            "{local:?}"
        );
        Ok(())
    }
}

/// What a connection tells.
struct Watching {
    told: watch::Sender<Progress>,
    heard: Arc<[AtomicUsize; 2]>,
}

#[async_trait]
impl PeerConnectionEventHandler for Watching {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        let is_gathered = state == RTCIceGatheringState::Complete;
        self.told
            .send_modify(|progress| progress.is_gathered = is_gathered);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.told.send_modify(|progress| progress.state = state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let kind = usize::from(track.kind().await != RtpCodecKind::Audio);
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(_) = event {
                    heard[kind].fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

/// A track that is sent.
struct Sent {
    track: Arc<TrackLocalStaticRTP>,
    codec: RTCRtpCodecParameters,
    ssrc: u32,
    payload: Bytes,
}

impl Sent {
    async fn add(leg: &Leg, kind: RtpCodecKind) -> anyhow::Result<Self> {
        let codec = codec(kind);
        let ssrc = 0x0506_0700 + u32::from(codec.payload_type);
        let payload = if kind == RtpCodecKind::Audio {
            vec![0x78; 80]
        } else {
            [&KEY_FRAME[..], &[0xa5; 1_000]].concat()
        };
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec: codec.rtp_codec.clone(),
            ..Default::default()
        };
        let (stream, name) = ("stream".to_owned(), kind.to_string());
        let track = MediaStreamTrack::new(stream, name.clone(), name, kind, vec![coding]);
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let local: Arc<dyn TrackLocal> = track.clone();
        let init = one_way(RTCRtpTransceiverDirection::Sendonly);
        leg.connection
            .add_transceiver_from_track(local, init)
            .await?;
        Ok(Self {
            track,
            codec,
            ssrc,
            payload: payload.into(),
        })
    }

    async fn send(&self, number: u16) -> anyhow::Result<()> {
        let packet = Packet {
            header: Header {
                version: 2,
                marker: true,
                payload_type: self.codec.payload_type,
                sequence_number: number,
                timestamp: u32::from(number) * (self.codec.rtp_codec.clock_rate / 50),
                ssrc: self.ssrc,
                ..Default::default()
            },
            payload: self.payload.clone(),
        };
        Ok(self.track.write_rtp(packet).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_webrtc_crate_publishes_and_subscribes_through_our_relay() {
        let house = House::open().await.unwrap();
        relayed(&house).await.unwrap();
        house.close().await;
    }
}
