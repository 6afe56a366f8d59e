//! A test from the first join to the last goodbye.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::description::{Capabilities, Local, Remote, Sources};
use super::engine::{Command, Engine, Event, EventKind, Opening, PeerId, Purpose, Settings};
use super::histogram::Histogram;
use super::process::{self, Usage};
use super::publisher::Video;
use super::report::Report;
use super::server::{Server, ServerError, Trust};
use super::signalling::{Line, SignallingError};
use crate::media::sdp::IceCredentials;
use crate::media::transport::srtp::Profile;
use crate::media::transport::{Identity, IdentityError};
use crate::units::{Random, Secret, SubscribeOffer, clock};

/// Joins that are under way at the same time.
const CONCURRENT_JOINS: usize = 32;

/// How long media may take to flow once everybody has been answered.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// How long before the window begins the media thread is told of it: what it sent before would count where it arrives and
/// not where it left.
const NOTICE: Duration = Duration::from_millis(100);

/// For what is under way when the window ends: retransmissions among it.
const AFTERMATH: Duration = Duration::from_millis(800);

/// How long goodbyes may take.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server, `http(s)://host[:port]`.
    pub url: String,
    /// Its OPENVIDU_SECRET.
    pub secret: Secret,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Sessions, all alike.
    pub sessions: usize,
    /// Publishers of each.
    pub publishers: usize,
    /// Subscribers of each, who publish nothing.
    pub subscribers: usize,
    /// Publishers subscribe to each other too.
    pub mesh: bool,
    /// Subscribers that join all at once while the others are measured.
    pub burst: usize,
    /// How long is measured.
    pub duration: Duration,
    /// What passes between the last join and that.
    pub warm_up: Duration,
    /// What publishers send.
    pub video: Option<Video>,
    /// Whether they send Opus too.
    pub audio: bool,
    /// Whether retransmissions have a stream of their own, as with browsers.
    pub rtx: bool,
    /// The SRTP profile that is offered; `None`: all, and the server chooses.
    pub profile: Option<Profile>,
    /// Who offers when somebody subscribes; `None`: as the server says.
    pub offer: Option<SubscribeOffer>,
    /// The server's process, if it runs here, to be charged with what it uses.
    pub pid: Option<u32>,
    /// How often sockets are looked at.
    pub poll: Duration,
    /// How long subscribers hold a frame back before they show it, so that what was lost can come again meanwhile.
    pub playout_delay: Duration,
    /// Joins per second at most; zero: as fast as the server answers.
    pub join_rate: u32,
    /// For what varies: frame sizes, and when publishers begin.
    pub seed: u64,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The first publisher or subscriber that could not join.
    #[error("{failed} of {wanted} could not join, the first one because {first}")]
    Joining {
        /// How many.
        failed: usize,
        /// Of how many.
        wanted: usize,
        /// Why.
        first: SignallingError,
    },
    /// Nobody receives anything.
    #[error("no media arrived within {} s", CONNECT_PATIENCE.as_secs())]
    NoMedia,
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate for DTLS.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Somebody has stopped it before there was anything to tell.
    #[error("interrupted")]
    Interrupted,
    /// The thread that moves packets has ended.
    #[error("the media thread has ended: please report its panic")]
    Ended,
}

/// Where a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many of so many have joined.
    Joining(usize, usize),
    /// So much of the time has passed; so many packets arrived per second, lately.
    Measuring {
        /// Passed.
        passed: Duration,
        /// Of.
        whole: Duration,
        /// Packets per second.
        rate: u64,
    },
    /// Goodbyes are said.
    Leaving,
}

/// Runs a test. Ends early, with what was measured so far, once `stop` is cancelled.
///
/// # Errors
/// There is nothing to tell: see [`Error`].
pub async fn measure(
    options: &Options,
    stop: &CancellationToken,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    let server = Server::new(&options.url, &options.secret, &options.trust)?;
    let mut identity = Identity::generate()?;
    if let Some(profile) = options.profile {
        identity = identity.offering_only(profile)?;
    }
    let identity = Arc::new(identity);
    let (events, happened) = mpsc::unbounded_channel();
    let settings = Settings {
        identity: identity.clone(),
        poll: options.poll,
        playout_delay: options.playout_delay,
    };
    let engine = Engine::start(settings, events).map_err(|source| Error::System {
        what: "the media thread",
        source,
    })?;
    let crowd = Arc::new(Crowd {
        server,
        commands: engine.commands.clone(),
        capabilities: Capabilities {
            audio: options.audio,
            video: options.video.is_some(),
            rtx: options.rtx,
            congestion_feedback: false,
        },
        video: options.video.unwrap_or(Video {
            kbps: 0,
            fps: 1,
            pace: Duration::ZERO,
        }),
        offer: options.offer,
        fingerprint: identity.fingerprint().digest.clone(),
        seed: options.seed,
        next_peer: AtomicUsize::new(0),
    });
    let mut test = Test {
        options,
        crowd,
        engine,
        happened,
        told: BTreeMap::new(),
        sessions: Vec::new(),
        lines: Vec::new(),
        subscriptions: BTreeMap::new(),
        server_ports: BTreeSet::new(),
    };
    let stopped = stop.clone();
    let result = tokio::select! {
        biased;
        () = stopped.cancelled() => Err(Error::Interrupted),
        result = test.prepare(progress) => result,
    };
    let result = match result {
        Ok(before) => test.observe(before, stop, progress).await,
        Err(error) => Err(error),
    };
    progress(Progress::Leaving);
    let Test {
        crowd,
        engine,
        told,
        sessions,
        lines,
        subscriptions,
        ..
    } = test;
    let outcome = engine.finish().await;
    farewell(&crowd.server, lines, sessions).await;
    let observed = result?;
    let outcome = outcome.ok_or(Error::Ended)?;
    Ok(Report::new(
        options,
        &observed,
        &outcome,
        &JoinTimes::new(&subscriptions, &told),
    ))
}

/// Everybody leaves, and sessions that stay none the less are closed.
async fn farewell(server: &Server, lines: Vec<Line>, sessions: Vec<String>) {
    let leaving = async {
        let mut leaving = JoinSet::new();
        for line in lines {
            leaving.spawn(line.leave());
        }
        leaving.join_all().await;
        for session in sessions {
            // An empty session has closed by itself.
            let _ = server.close_session(&session).await;
        }
    };
    // A server that does not answer is left without a word.
    let _ = tokio::time::timeout(FAREWELL, leaving).await;
}

/// What joins need.
struct Crowd {
    server: Server,
    commands: mpsc::Sender<Command>,
    capabilities: Capabilities,
    video: Video,
    offer: Option<SubscribeOffer>,
    fingerprint: Vec<u8>,
    seed: u64,
    next_peer: AtomicUsize,
}

/// A stream that can be subscribed to.
#[derive(Debug, Clone)]
struct Published {
    session: usize,
    /// OpenVidu's id of the stream, and of its owner's connection.
    id: String,
    connection: String,
    /// Our number of it.
    stream: u32,
}

/// Somebody who has joined.
struct Participant {
    line: Line,
    connection: String,
    offer: SubscribeOffer,
    joined_at: Instant,
}

/// One subscription: when it was begun, and whether while others were measured.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    late: bool,
}

impl Crowd {
    async fn join(&self, session: &str, role: &str) -> Result<Participant, SignallingError> {
        let token = self.server.create_connection(session, role).await;
        let token = token.map_err(|error| SignallingError::Socket(error.to_string()))?;
        let line = Line::open(&self.server, session, self.commands.clone()).await?;
        let joined_at = clock::now();
        let params = json!({
            "token": token, "session": session, "platform": "hanok loadtest", "metadata": "", "secret": "",
            "recorder": false, "sdkVersion": crate::OPENVIDU_VERSION,
        });
        let joined = line.ask("joinRoom", params).await?;
        let offer = self
            .offer
            .unwrap_or(if joined["mediaServer"] == "mediasoup" {
                SubscribeOffer::Server
            } else {
                SubscribeOffer::Client
            });
        Ok(Participant {
            connection: text(&joined, "joinRoom", "id")?,
            line,
            offer,
            joined_at,
        })
    }

    fn local(&self) -> (Local, IceCredentials) {
        let mut random = Random::system();
        let ice = IceCredentials {
            ufrag: random.alphanumeric(4),
            pwd: random.alphanumeric(24),
        };
        let local = Local {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
            fingerprint: self.fingerprint.clone(),
        };
        (local, ice)
    }

    /// Has the engine connect; `connection` is whose candidates may come apart.
    async fn open(
        &self,
        participant: &Participant,
        connection: &str,
        local: IceCredentials,
        remote: Remote,
        purpose: Purpose,
    ) -> PeerId {
        let id = self.next_peer.fetch_add(1, Ordering::Relaxed);
        let opening = Box::new(Opening {
            id,
            local,
            remote,
            purpose,
        });
        // An engine that has ended is noticed when it is asked for its results.
        let _ = self.commands.send(Command::Open(opening)).await;
        participant.line.route(connection, id).await;
        id
    }

    /// Publishes; returns the stream's id and the association's.
    async fn publish(
        &self,
        participant: &Participant,
        stream: u32,
    ) -> Result<(String, PeerId, Remote), SignallingError> {
        let (local, ice) = self.local();
        let mut random = Random::system();
        let sources = Sources {
            audio: random.u32(),
            video: random.u32(),
            rtx: random.u32(),
        };
        let offer = self.capabilities.publisher_offer(&local, sources);
        let Capabilities { audio, video, .. } = self.capabilities;
        let mut params =
            json!({"sdpOffer": offer, "doLoopback": false, "hasAudio": audio, "hasVideo": video});
        if audio {
            params["audioActive"] = true.into();
        }
        if video {
            params["videoActive"] = true.into();
            params["typeOfVideo"] = "CAMERA".into();
            params["frameRate"] = self.video.fps.into();
            params["videoDimensions"] = "{\"width\":640,\"height\":360}".into();
        }
        let published = participant.line.ask("publishVideo", params).await?;
        let remote = remote(&published, "publishVideo", "sdpAnswer")?;
        let purpose = Purpose::Publish {
            stream,
            sources,
            video: self.video,
            phase: mix(self.seed, stream),
        };
        let id = text(&published, "publishVideo", "id")?;
        let connection = participant.connection.clone();
        let peer = self
            .open(participant, &connection, ice, remote.clone(), purpose)
            .await;
        Ok((id, peer, remote))
    }

    async fn subscribe(
        &self,
        participant: &Participant,
        to: &Published,
        late: bool,
    ) -> Result<PeerId, SignallingError> {
        let (local, ice) = self.local();
        let method = "receiveVideoFrom";
        let remote = match participant.offer {
            SubscribeOffer::Client => {
                let offer = self.capabilities.subscriber_offer(&local);
                let params = json!({"sender": to.id, "sdpOffer": offer});
                let answered = participant.line.ask(method, params).await?;
                remote(&answered, method, "sdpAnswer")?
            }
            SubscribeOffer::Server => {
                let params = json!({"sender": to.id, "reconnect": false});
                let prepare = "prepareReceiveVideoFrom";
                let offered = participant.line.ask(prepare, params).await?;
                let offer = remote(&offered, prepare, "sdpOffer")?;
                let answer = self.capabilities.subscriber_answer(&local, &offer);
                let params = json!({"sender": to.id, "sdpAnswer": answer});
                participant.line.ask(method, params).await?;
                offer
            }
        };
        let purpose = Purpose::Subscribe {
            stream: to.stream,
            late,
        };
        Ok(self
            .open(participant, &to.connection, ice, remote, purpose)
            .await)
    }

    async fn join_and_publish(
        &self,
        session: usize,
        id: &str,
        stream: u32,
    ) -> Result<(Participant, Published, PeerId, Remote), SignallingError> {
        let participant = self.join(id, "PUBLISHER").await?;
        let (stream_id, peer, remote) = self.publish(&participant, stream).await?;
        let published = Published {
            session,
            id: stream_id,
            connection: participant.connection.clone(),
            stream,
        };
        Ok((participant, published, peer, remote))
    }

    async fn join_and_subscribe(
        &self,
        session: &str,
        streams: &[Published],
        late: bool,
    ) -> Result<(Participant, Vec<(PeerId, Begun)>), SignallingError> {
        let participant = self.join(session, "SUBSCRIBER").await?;
        let mut begun = Vec::new();
        let at = participant.joined_at;
        for stream in streams {
            let peer = self.subscribe(&participant, stream, late).await?;
            begun.push((peer, Begun { at, late }));
        }
        Ok((participant, begun))
    }
}

fn text(
    value: &Value,
    method: &'static str,
    what: &'static str,
) -> Result<String, SignallingError> {
    let text = value[what].as_str();
    text.map(str::to_owned)
        .ok_or(SignallingError::Unusable { method, what })
}

fn remote(
    value: &Value,
    method: &'static str,
    what: &'static str,
) -> Result<Remote, SignallingError> {
    Remote::parse(&text(value, method, what)?).ok_or(SignallingError::Unusable { method, what })
}

/// A number of its own for each stream, the same for the same seed (SplitMix64).
const fn mix(seed: u64, stream: u32) -> u32 {
    let mut z = seed.wrapping_add((stream as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as u32
}

/// When an association has come how far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    connected: Option<(Instant, Profile)>,
    first_media: Option<Instant>,
    first_key_frame: Option<Instant>,
    failed: bool,
}

/// What was seen from outside while packets were counted.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) duration: Duration,
    pub(super) interrupted: bool,
    /// Those that are measured.
    pub(super) subscriptions: usize,
    /// Those of the burst as well.
    pub(super) subscriptions_at_end: usize,
    pub(super) server_before_joins: Option<Usage>,
    pub(super) server: Option<[Usage; 2]>,
    pub(super) own: [Usage; 2],
    /// What the server's sockets dropped, if it runs here.
    pub(super) server_drops: u64,
    pub(super) burst_failed: usize,
    pub(super) profile: Option<Profile>,
}

/// How long joins took.
#[derive(Debug)]
pub(super) struct JoinTimes {
    pub(super) to_media: Histogram,
    pub(super) to_key_frame: Histogram,
    /// Of those who joined in the burst.
    pub(super) burst_to_media: Histogram,
    /// Subscriptions without media.
    pub(super) silent: usize,
}

impl JoinTimes {
    fn new(begun: &BTreeMap<PeerId, Begun>, told: &BTreeMap<PeerId, Told>) -> Self {
        let mut times = Self {
            to_media: Histogram::default(),
            to_key_frame: Histogram::default(),
            burst_to_media: Histogram::default(),
            silent: 0,
        };
        for (peer, begun) in begun {
            let told = told.get(peer).copied().unwrap_or_default();
            let since = |at: Instant| at.saturating_duration_since(begun.at);
            match told.first_media {
                Some(at) if begun.late => times.burst_to_media.record(since(at)),
                Some(at) => times.to_media.record(since(at)),
                None => times.silent += 1,
            }
            if let Some(at) = told.first_key_frame.filter(|_| !begun.late) {
                times.to_key_frame.record(since(at));
            }
        }
        times
    }
}

struct Test<'a> {
    options: &'a Options,
    crowd: Arc<Crowd>,
    engine: Engine,
    happened: mpsc::UnboundedReceiver<Event>,
    told: BTreeMap<PeerId, Told>,
    sessions: Vec<String>,
    lines: Vec<Line>,
    subscriptions: BTreeMap<PeerId, Begun>,
    server_ports: BTreeSet<u16>,
}

/// What the server had used before anybody joined, and the streams that there are.
struct Prepared {
    server: Option<Usage>,
    streams: Vec<Published>,
}

impl Test<'_> {
    /// Everybody joins and media flows.
    async fn prepare(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Prepared, Error> {
        let server = self.server_usage()?;
        let Options {
            sessions,
            publishers,
            subscribers,
            mesh,
            ..
        } = *self.options;
        for _ in 0..sessions {
            let session = self.crowd.server.create_session().await?;
            self.sessions.push(session);
        }
        let wanted = sessions * (publishers + subscribers);
        let mut joined = 0;

        let mut joins = Joins::new(self.options.join_rate, CONCURRENT_JOINS);
        for (index, session) in self.sessions.iter().enumerate() {
            for publisher in 0..publishers {
                let (crowd, session) = (self.crowd.clone(), session.clone());
                let stream = u32::try_from(index * publishers + publisher).unwrap_or(u32::MAX);
                joins.add(async move { crowd.join_and_publish(index, &session, stream).await });
            }
        }
        let mut streams = Vec::new();
        let mut owners = Vec::new();
        let mut publications = Vec::new();
        while let Some(result) = joins.next(sessions * publishers).await? {
            let (participant, published, peer, remote) = result;
            self.server_ports
                .extend(remote.candidates.iter().map(std::net::SocketAddr::port));
            publications.push(peer);
            owners.push((participant, published.session, published.stream));
            streams.push(published);
            joined += 1;
            progress(Progress::Joining(joined, wanted));
        }
        streams.sort_by_key(|stream: &Published| stream.stream);
        self.until(|told| {
            publications.iter().all(|peer| {
                told.get(peer)
                    .is_some_and(|it| it.connected.is_some() || it.failed)
            })
        })
        .await;

        let mut joins = Joins::new(self.options.join_rate, CONCURRENT_JOINS);
        for (index, session) in self.sessions.iter().enumerate() {
            let streams: Vec<_> = streams_of(&streams, index);
            for _ in 0..subscribers {
                let (crowd, session) = (self.crowd.clone(), session.clone());
                let streams = streams.clone();
                joins.add(async move { crowd.join_and_subscribe(&session, &streams, false).await });
            }
        }
        while let Some((participant, begun)) = joins.next(sessions * subscribers).await? {
            self.lines.push(participant.line);
            self.subscriptions.extend(begun);
            joined += 1;
            progress(Progress::Joining(joined, wanted));
        }

        let mut meshing = Joins::new(self.options.join_rate, CONCURRENT_JOINS);
        for (participant, session, own) in owners {
            let mut streams = if mesh {
                streams_of(&streams, session)
            } else {
                Vec::new()
            };
            streams.retain(|stream| stream.stream != own);
            let crowd = self.crowd.clone();
            meshing.add(async move {
                let mut begun = Vec::new();
                for stream in &streams {
                    let at = clock::now();
                    let peer = crowd.subscribe(&participant, stream, false).await?;
                    begun.push((peer, Begun { at, late: false }));
                }
                Ok((participant, begun))
            });
        }
        while let Some((participant, begun)) = meshing.next(sessions * publishers).await? {
            self.lines.push(participant.line);
            self.subscriptions.extend(begun);
        }

        let expected: Vec<PeerId> = self.subscriptions.keys().copied().collect();
        let flows = |told: &BTreeMap<PeerId, Told>, peer: &PeerId| {
            told.get(peer).is_some_and(|it| it.first_media.is_some())
        };
        self.until(|told| {
            expected
                .iter()
                .all(|peer| flows(told, peer) || told.get(peer).is_some_and(|it| it.failed))
        })
        .await;
        if !expected.iter().any(|peer| flows(&self.told, peer)) {
            return Err(Error::NoMedia);
        }
        Ok(Prepared { server, streams })
    }

    /// Measures for as long as it was asked for, or until it is stopped.
    async fn observe(
        &mut self,
        prepared: Prepared,
        stop: &CancellationToken,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Observed, Error> {
        let stopping = |pause: Duration| async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = stop.cancelled() => true,
            }
        };
        let whole = self.options.duration;
        if stopping(self.options.warm_up).await {
            return Err(Error::Interrupted);
        }
        let subscriptions = self.subscriptions.len();
        let begin = clock::now() + NOTICE;
        self.engine
            .tell(Command::Measure(begin, begin + whole))
            .await;
        if stopping(NOTICE).await {
            return Err(Error::Interrupted);
        }
        let drops = process::socket_drops(&self.server_ports);
        let server_begin = self.server_usage()?;
        let own_begin = own_usage()?;

        let mut burst = Joins::new(0, self.options.burst.max(1));
        let mut burst_is_due = self.options.burst > 0;
        let (mut burst_failed, mut interrupted) = (0, false);
        let mut received = self.engine.received.load(Ordering::Relaxed);
        let mut told_at = begin;
        let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
        let end = tokio::time::sleep_until((begin + whole).into());
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                () = stop.cancelled() => {
                    interrupted = true;
                    break;
                }
                _ = interval.tick() => {
                    let now = clock::now();
                    let passed = now.saturating_duration_since(begin);
                    let so_far = self.engine.received.load(Ordering::Relaxed);
                    let since = now.saturating_duration_since(told_at).as_secs_f64().max(0.001);
                    let rate = ((so_far - received) as f64 / since) as u64;
                    (received, told_at) = (so_far, now);
                    progress(Progress::Measuring { passed, whole, rate });
                    if burst_is_due && passed >= whole / 3 {
                        burst_is_due = false;
                        self.begin_burst(&mut burst, &prepared.streams);
                    }
                }
                Some(event) = self.happened.recv() => take_note(&mut self.told, event),
                Some(result) = burst.any() => match result {
                    Ok((participant, begun)) => {
                        self.lines.push(participant.line);
                        self.subscriptions.extend(begun);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a join of the burst failed");
                        burst_failed += 1;
                    }
                },
            }
        }
        let finish = clock::now();
        if interrupted {
            self.engine.tell(Command::Measure(begin, finish)).await;
        }
        let server = self.server_usage()?;
        let own = own_usage()?;
        let server_drops = process::socket_drops(&self.server_ports).saturating_sub(drops);
        burst_failed += burst.under_way();
        tokio::time::sleep(AFTERMATH).await;
        while let Ok(event) = self.happened.try_recv() {
            take_note(&mut self.told, event);
        }
        let connected = self.told.values().filter_map(|told| told.connected);
        Ok(Observed {
            duration: finish.saturating_duration_since(begin).min(whole),
            interrupted,
            subscriptions,
            subscriptions_at_end: self.subscriptions.len(),
            server_before_joins: prepared.server,
            server: server_begin.zip(server).map(|(begin, end)| [begin, end]),
            own: [own_begin, own],
            server_drops,
            burst_failed,
            profile: connected.map(|(_, profile)| profile).next(),
        })
    }

    fn begin_burst(
        &self,
        burst: &mut Joins<(Participant, Vec<(PeerId, Begun)>)>,
        streams: &[Published],
    ) {
        for number in 0..self.options.burst {
            let index = number % self.sessions.len().max(1);
            let Some(session) = self.sessions.get(index).cloned() else {
                return;
            };
            let (crowd, streams) = (self.crowd.clone(), streams_of(streams, index));
            burst.add(async move { crowd.join_and_subscribe(&session, &streams, true).await });
        }
    }

    /// Waits until `condition` holds, for so long as is reasonable.
    async fn until(&mut self, condition: impl Fn(&BTreeMap<PeerId, Told>) -> bool) {
        let Self { happened, told, .. } = self;
        let waiting = async {
            while !condition(told) {
                match happened.recv().await {
                    Some(event) => take_note(told, event),
                    None => return,
                }
            }
        };
        // What has not come by then is counted as missing.
        let _ = tokio::time::timeout(CONNECT_PATIENCE, waiting).await;
    }

    fn server_usage(&self) -> Result<Option<Usage>, Error> {
        let usage = self.options.pid.map(|pid| process::usage(Some(pid)));
        usage.transpose().map_err(|source| Error::System {
            what: "the server's process, as named by --pid",
            source,
        })
    }
}

fn own_usage() -> Result<Usage, Error> {
    process::usage(None).map_err(|source| Error::System {
        what: "/proc",
        source,
    })
}

fn streams_of(streams: &[Published], session: usize) -> Vec<Published> {
    let of = streams.iter().filter(|stream| stream.session == session);
    of.cloned().collect()
}

fn take_note(told: &mut BTreeMap<PeerId, Told>, event: Event) {
    let told = told.entry(event.peer).or_default();
    match event.kind {
        EventKind::Connected(profile) => told.connected = Some((event.at, profile)),
        EventKind::FirstMedia => told.first_media = Some(event.at),
        EventKind::FirstKeyFrame => told.first_key_frame = Some(event.at),
        EventKind::Failed(why) => {
            tracing::debug!(%why, peer = event.peer, "an association failed");
            told.failed = true;
        }
    }
}

/// Joins that are under way, no more at a time and no faster than they may.
struct Joins<T> {
    tasks: JoinSet<Result<T, SignallingError>>,
    places: Arc<Semaphore>,
    pace: Duration,
    added: u32,
    failed: usize,
    first: Option<SignallingError>,
}

impl<T: Send + 'static> Joins<T> {
    fn new(rate: u32, concurrent: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            places: Arc::new(Semaphore::new(concurrent)),
            pace: Duration::from_secs(1).checked_div(rate).unwrap_or_default(),
            added: 0,
            failed: 0,
            first: None,
        }
    }

    fn add(&mut self, join: impl Future<Output = Result<T, SignallingError>> + Send + 'static) {
        let start = self.pace * self.added;
        self.added += 1;
        let places = self.places.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(start).await;
            // Nobody closes the semaphore.
            let _place = places.acquire().await;
            join.await
        });
    }

    /// The next one that has joined; `None` after the last.
    ///
    /// # Errors
    /// All are through, and some of the `wanted` could not join.
    async fn next(&mut self, wanted: usize) -> Result<Option<T>, Error> {
        while let Some(result) = self.any().await {
            match result {
                Ok(joined) => return Ok(Some(joined)),
                Err(error) => {
                    self.failed += 1;
                    self.first.get_or_insert(error);
                }
            }
        }
        match self.first.take() {
            Some(first) => Err(Error::Joining {
                failed: self.failed,
                wanted,
                first,
            }),
            None => Ok(None),
        }
    }

    async fn any(&mut self) -> Option<Result<T, SignallingError>> {
        let result = self.tasks.join_next().await?;
        Some(result.unwrap_or_else(|error| Err(SignallingError::Socket(error.to_string()))))
    }

    fn under_way(&self) -> usize {
        self.tasks.len()
    }
}
