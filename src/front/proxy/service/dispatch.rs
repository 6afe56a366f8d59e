//! What becomes of one request: a service of ours, an application, files, or a page that says why not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::task::spawn_blocking;
use tower::ServiceExt as _;

use super::body::RequestBody;
use super::files::{Asked, Folder};
use super::upgrade::tunnel;
use super::upstream::{Answer, Failure, Upstream};
use super::{Shared, Tracked};
use crate::control::store::service::{keep, read_bounded};
use crate::front::proxy::error_page::{ErrorPages, NOT_FOUND_FILE, SERVER_ERROR_FILE};
use crate::front::proxy::forwarding::{self, Via};
use crate::front::proxy::headers::{Sender, is_trusted};
use crate::front::proxy::limits::Limits;
use crate::front::proxy::ports::Service;
use crate::front::proxy::routes::{
    Application, Destination, Entrance, LAYOUTS, Routes, Routing, Target, below, destination,
    replaced,
};
use crate::units::Live;

/// The longest error page of an operator.
const MAX_PAGE: u64 = 1024 * 1024;

/// [`Routing`], ready for use.
#[derive(Debug)]
pub(super) struct Table {
    application: App,
    routes: Routes<Place>,
    layouts: Folder,
    pub(super) pages: ErrorPages,
    deprecated: bool,
    www: bool,
}

#[derive(Debug)]
enum App {
    None,
    Upstream(Upstream),
    Auto {
        upstream: Upstream,
        answered: AtomicBool,
        seen: PathBuf,
    },
}

#[derive(Debug)]
enum Place {
    Upstream(Upstream),
    Folder(Folder),
}

impl Table {
    /// Reads what `routing` names: error pages, and whether the application was seen before.
    pub(super) fn new(routing: Routing, limits: &Limits) -> Self {
        let upstream = |origin| Upstream::new(origin, limits);
        let application = match routing.application {
            Application::None => App::None,
            Application::Upstream(origin) => App::Upstream(upstream(origin)),
            Application::Auto { origin, seen } => App::Auto {
                upstream: upstream(origin),
                answered: AtomicBool::new(seen.exists()),
                seen,
            },
        };
        let routes = routing.routes.into_iter().map(|(prefix, target)| {
            let place = match target {
                Target::Upstream(origin) => Place::Upstream(upstream(origin)),
                Target::Folder(path) => {
                    if !path.is_dir() {
                        tracing::warn!(%prefix, folder = %path.display(), "a route of HANOK_PROXY_ROUTES leads to no folder");
                    }
                    Place::Folder(Folder::of_application(path))
                }
            };
            (prefix, place)
        });
        Self {
            application,
            routes: Routes::new(routes),
            layouts: Folder::of_layouts(routing.layouts),
            pages: routing
                .error_pages
                .as_deref()
                .map(pages)
                .unwrap_or_default(),
            deprecated: routing.deprecated_api,
            www: routing.redirect_www,
        }
    }
}

fn pages(folder: &Path) -> ErrorPages {
    let read = |name: &str| {
        let path = folder.join(name);
        match read_bounded(&path, MAX_PAGE) {
            Ok(page) => Some(Bytes::from(page)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an error page of HANOK_ERROR_PAGES cannot be read");
                None
            }
        }
    };
    let pages = ErrorPages {
        not_found: read(NOT_FOUND_FILE),
        server_error: read(SERVER_ERROR_FILE),
    };
    if pages.not_found.is_none() && pages.server_error.is_none() {
        tracing::warn!(
            folder = %folder.display(),
            "HANOK_ERROR_PAGES has neither {NOT_FOUND_FILE} nor {SERVER_ERROR_FILE}"
        );
    }
    pages
}

/// Changes what goes where while requests are answered; cheap to clone.
#[derive(Debug, Clone)]
pub struct RoutingHandle {
    table: Live<Table>,
    limits: Limits,
}

impl RoutingHandle {
    pub(super) fn new(table: Live<Table>, limits: &Limits) -> Self {
        Self {
            table,
            limits: limits.clone(),
        }
    }

    /// The next request goes by `routing`; those that are being answered are not disturbed.
    pub fn set(&self, routing: Routing) {
        self.table.set(Table::new(routing, &self.limits));
    }
}

/// Whose words an answer is: ours are hardened, others' left as they are.
pub(super) enum Reply {
    Ours(Response<Body>),
    Theirs(Response<Body>),
}

/// Who asks, through which door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) entrance: Entrance,
    pub(super) peer: std::net::IpAddr,
    pub(super) sender: Sender,
}

impl Shared {
    pub(super) async fn dispatch(&self, mut request: Request<Incoming>, asking: Asking) -> Reply {
        let table = self.table.get();
        let refuse = |status| Reply::Ours(table.pages.response(status));
        let host = forwarding::host(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
        );
        let host = match host {
            Ok(host) => host.unwrap_or_else(|| self.redirect.host().clone()),
            Err(bad) => {
                let mut response = table.pages.response(bad.status());
                if request.version() != Version::HTTP_2 {
                    // Whoever sends this may mean something else by what follows.
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                return Reply::Ours(response);
            }
        };
        if table.www && asking.entrance == Entrance::Https && self.redirect.is_www(&host) {
            return Reply::Ours(self.redirect.answer(request.uri()));
        }
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limits.body_bytes) {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if table.deprecated
            && asking.entrance == Entrance::Https
            && let Some(path) = replaced(request.uri().path())
        {
            *request.uri_mut() = with_path(request.uri(), &path);
        }
        let path = request.uri().path();
        let destination = destination(asking.entrance, path);
        let rules = self.rules.get();
        if !rules.access.admits(destination, path, asking.sender) {
            tracing::debug!(sender = ?asking.sender, path, "not on the access list");
            return refuse(StatusCode::FORBIDDEN);
        }
        match destination {
            Destination::Signalling => {
                Reply::Ours(self.serve(&self.services.signalling, request, asking).await)
            }
            Destination::Rest => {
                Reply::Ours(self.serve(&self.services.rest, request, asking).await)
            }
            Destination::Dashboard => {
                Reply::Ours(self.serve(&self.services.page, request, asking).await)
            }
            Destination::Layouts => {
                let path = request.uri().path();
                let rest = below(LAYOUTS, path).unwrap_or_default();
                answer_file(&table, &table.layouts, &request, rest).await
            }
            Destination::Elsewhere => self.elsewhere(&table, request, asking, &host).await,
            Destination::Nothing => refuse(StatusCode::NOT_FOUND),
        }
    }

    /// One of our own services.
    async fn serve(
        &self,
        service: &Service,
        mut request: Request<Incoming>,
        asking: Asking,
    ) -> Response<Body> {
        request.extensions_mut().insert(asking.sender.address());
        let limits = &self.limits;
        let request = request
            .map(|body| Body::new(RequestBody::new(body, limits.body_bytes, limits.body_idle)));
        match service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn elsewhere(
        &self,
        table: &Table,
        request: Request<Incoming>,
        asking: Asking,
        host: &Authority,
    ) -> Reply {
        let forward = |upstream, request| self.forward(table, upstream, request, asking, host);
        if let Some((place, rest)) = table.routes.find(request.uri().path()) {
            return match place {
                Place::Upstream(upstream) => forward(upstream, request).await,
                Place::Folder(folder) => answer_file(table, folder, &request, rest).await,
            };
        }
        match &table.application {
            App::None => Reply::Ours(table.pages.response(StatusCode::NOT_FOUND)),
            App::Upstream(upstream) => forward(upstream, request).await,
            App::Auto {
                upstream,
                answered,
                seen,
            } => {
                let known = answered.load(Ordering::Relaxed);
                if !known && !self.upstreams.reaches(upstream).await {
                    return self.built_in_page(table, request, asking).await;
                }
                let reply = forward(upstream, request).await;
                if !known
                    && matches!(reply, Reply::Theirs(_))
                    && !answered.swap(true, Ordering::Relaxed)
                {
                    remember(seen.clone(), upstream).await;
                }
                reply
            }
        }
    }

    async fn built_in_page(
        &self,
        table: &Table,
        request: Request<Incoming>,
        asking: Asking,
    ) -> Reply {
        let response = self.serve(&self.services.page, request, asking).await;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && table.pages.own(status).is_some() {
            return Reply::Ours(table.pages.response(status));
        }
        Reply::Ours(response)
    }

    async fn forward(
        &self,
        table: &Table,
        upstream: &Upstream,
        request: Request<Incoming>,
        asking: Asking,
        host: &Authority,
    ) -> Reply {
        match self.try_forward(upstream, request, asking, host).await {
            Ok(response) => Reply::Theirs(response),
            Err(failure) => Reply::Ours(table.pages.response(failure.status())),
        }
    }

    async fn try_forward(
        &self,
        upstream: &Upstream,
        mut request: Request<Incoming>,
        asking: Asking,
        host: &Authority,
    ) -> Result<Response<Body>, Failure> {
        let upgrade = forwarding::wanted_upgrade(request.version(), request.headers());
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let trusted = is_trusted(asking.peer, &self.rules.get().trusted_proxies);
        let via = Via {
            peer: asking.peer.to_canonical(),
            trusted,
            remote: asking.sender.address().0,
            https: asking.entrance == Entrance::Https,
            host,
        };
        forwarding::to_upstream(request.headers_mut(), &via, upgrade.clone());
        let limits = &self.limits;
        let mut request =
            request.map(|body| RequestBody::new(body, limits.body_bytes, limits.body_idle));
        if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
            // Said aloud, since the client code leaves a body away that GET does not announce.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let mut answer = self.upstreams.send(upstream, request).await?;
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            forwarding::to_client(answer.response.headers_mut());
            return Ok(answer.into_response(limits));
        }
        // An upstream that changes the protocol unasked is not understood.
        let (Some(client), Some(_)) = (client, upgrade) else {
            return Err(Failure::Down);
        };
        Ok(self.upgraded(client, answer))
    }

    fn upgraded(&self, client: OnUpgrade, mut answer: Answer) -> Response<Body> {
        let upstream = hyper::upgrade::on(&mut answer.response);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let chosen = answer.response.headers().get(UPGRADE).cloned();
        *response.headers_mut() = std::mem::take(answer.response.headers_mut());
        forwarding::to_client(response.headers_mut());
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(chosen) = chosen {
            response.headers_mut().insert(UPGRADE, chosen);
        }
        let tasks = Tracked {
            tasks: self.tunnels.clone(),
            containment: self.containment.clone(),
            stop: Some(self.stop_upstreams.clone()),
        };
        hyper::rt::Executor::execute(&tasks, tunnel(client, upstream, answer.place));
        response
    }
}

async fn answer_file(
    table: &Table,
    folder: &Folder,
    request: &Request<Incoming>,
    below: &str,
) -> Reply {
    let asked = Asked {
        method: request.method(),
        headers: request.headers(),
        path: request.uri().path(),
        below,
    };
    match folder.answer(asked).await {
        Ok(response) => Reply::Theirs(response),
        Err(status) => Reply::Ours(table.pages.response(status)),
    }
}

/// From now on a dead application is an error, also after the next start.
async fn remember(seen: PathBuf, upstream: &Upstream) {
    tracing::info!(upstream = %upstream.origin(), "an application has answered: / is its own from now on");
    let written = spawn_blocking({
        let seen = seen.clone();
        move || keep(&seen, b"")
    });
    if let Ok(Err(error)) = written.await {
        tracing::warn!(file = %seen.display(), %error, "that an application has answered cannot be remembered");
    }
}

/// `uri` with another path and the same query.
fn with_path(uri: &Uri, path: &str) -> Uri {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    match PathAndQuery::try_from(target) {
        Ok(target) => parts.path_and_query = Some(target),
        // What was a path stays one with another beginning.
        Err(_) => return uri.clone(),
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
