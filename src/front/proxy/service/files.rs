//! Files of a folder, opened step by step from the folder's own handle so that no link leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, LOCATION,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::front::proxy::files::{FilePath, Reply, Version, content_type, reply};

/// Bytes that are read at once.
const PIECE: u64 = 64 * 1024;

const INDEX: &str = "index.html";

/// A folder whose files are served.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    /// Whether `index.html` answers what is no file but may be a page of a single-page application.
    falls_back: bool,
}

/// A request to a folder.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The whole path.
    pub(super) path: &'a str,
    /// What follows the folder's prefix.
    pub(super) below: &'a str,
}

/// What a path leads to.
enum Found {
    File(File, Version, String),
    /// A folder, but asked for without a slash at the end.
    FolderWithoutSlash,
    Nothing,
}

impl Folder {
    pub(super) fn of_application(path: PathBuf) -> Self {
        Self {
            path,
            falls_back: true,
        }
    }

    pub(super) fn of_layouts(path: PathBuf) -> Self {
        Self {
            path,
            falls_back: false,
        }
    }

    /// The file's answer, or a status for which there is a page.
    pub(super) async fn answer(&self, asked: Asked<'_>) -> Result<Response<Body>, StatusCode> {
        if asked.method != Method::GET && asked.method != Method::HEAD {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let methods = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, methods);
            return Ok(response);
        }
        let path = FilePath::parse(asked.below).ok_or(StatusCode::NOT_FOUND)?;
        let falls_back = self.falls_back && path.names_a_page(asked.headers);
        let folder = self.path.clone();
        let found = spawn_blocking(move || find(&folder, &path, falls_back)).await;
        match found {
            Ok(Ok(Found::File(file, version, name))) => {
                let reply = reply(asked.method, asked.headers, &version);
                Ok(respond(asked.method, file, version, &name, reply))
            }
            Ok(Ok(Found::FolderWithoutSlash)) => {
                with_slash(asked.path).ok_or(StatusCode::NOT_FOUND)
            }
            Ok(Ok(Found::Nothing)) => Err(StatusCode::NOT_FOUND),
            Ok(Err(error)) => {
                tracing::debug!(%error, folder = %self.path.display(), "a file cannot be served");
                Err(StatusCode::NOT_FOUND)
            }
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

fn find(folder: &Path, path: &FilePath, falls_back: bool) -> io::Result<Found> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The folder itself may be a link: the operator named it.
    let root = open(folder, flags, Mode::empty())?;
    let names = path.names();
    let found = match open_below(&root, names)? {
        Some((file, FileType::RegularFile)) if !path.is_folder() => {
            as_file(file, names.last().map_or(INDEX, String::as_str))?
        }
        Some((folder, FileType::Directory)) => match index(&folder)? {
            Found::File(..) if !path.is_folder() => Found::FolderWithoutSlash,
            found @ (Found::File(..) | Found::FolderWithoutSlash | Found::Nothing) => found,
        },
        Some(_) | None => Found::Nothing,
    };
    if falls_back && matches!(found, Found::Nothing) {
        index(&root)
    } else {
        Ok(found)
    }
}

fn index(folder: &OwnedFd) -> io::Result<Found> {
    match open_below(folder, &[INDEX.to_owned()])? {
        Some((file, FileType::RegularFile)) => as_file(file, INDEX),
        Some(_) | None => Ok(Found::Nothing),
    }
}

/// Goes down from `root` name by name, through folders only and along no link (robustness S24).
fn open_below(root: &OwnedFd, names: &[String]) -> io::Result<Option<(OwnedFd, FileType)>> {
    // A pipe without a writer must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut at = openat(
        root,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for name in names {
        at = match openat(&at, name.as_str(), flags, Mode::empty()) {
            Ok(next) => next,
            Err(error) if is_absence(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    }
    let kind = FileType::from_raw_mode(fstat(&at)?.st_mode);
    Ok(Some((at, kind)))
}

/// Not there, a link, a file where a folder should be, a socket or a device.
fn is_absence(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [
        Errno::NOENT,
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::NXIO,
        Errno::NAMETOOLONG,
        Errno::ACCESS,
    ]
    .contains(&error)
}

fn as_file(file: OwnedFd, name: &str) -> io::Result<Found> {
    let status = fstat(&file)?;
    let version = Version {
        len: u64::try_from(status.st_size).unwrap_or_default(),
        modified: u64::try_from(status.st_mtime).unwrap_or_default(),
        modified_nanos: u32::try_from(status.st_mtime_nsec).unwrap_or_default(),
    };
    Ok(Found::File(File::from(file), version, name.to_owned()))
}

/// 301 to the same path with a slash, relative, so that it holds whatever name the client knows us by.
fn with_slash(path: &str) -> Option<Response<Body>> {
    // Two slashes in front would name another host.
    let target = format!("/{}/", path.trim_matches('/'));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::try_from(target).ok()?);
    Some(response)
}

fn respond(
    method: &Method,
    file: File,
    version: Version,
    name: &str,
    reply: Reply,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(ETAG, version.etag());
    set(LAST_MODIFIED, version.last_modified());
    // Browsers would guess how long a page stays good; a new version must show at once.
    set(CACHE_CONTROL, "no-cache".to_owned());
    let (status, part) = match reply {
        Reply::Whole => (StatusCode::OK, Some(0..version.len)),
        Reply::Part(part) => {
            let shown = format!(
                "bytes {}-{}/{}",
                part.start,
                part.end.saturating_sub(1),
                version.len
            );
            set(CONTENT_RANGE, shown);
            (StatusCode::PARTIAL_CONTENT, Some(part))
        }
        Reply::NotModified => (StatusCode::NOT_MODIFIED, None),
        Reply::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, None),
        Reply::RangeNotSatisfiable => {
            set(CONTENT_RANGE, format!("bytes */{}", version.len));
            (StatusCode::RANGE_NOT_SATISFIABLE, None)
        }
    };
    if let Some(part) = part {
        set(ACCEPT_RANGES, "bytes".to_owned());
        set(CONTENT_TYPE, content_type(name).to_owned());
        set(CONTENT_LENGTH, (part.end - part.start).to_string());
        if method == Method::GET {
            *response.body_mut() = Body::new(FileBody::new(file, part.start, part.end));
        }
    }
    *response.status_mut() = status;
    response
}

/// A part of a file, read piece by piece as the client takes it.
#[derive(Debug)]
struct FileBody {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileBody {
    fn new(file: File, at: u64, end: u64) -> Self {
        Self {
            file: Arc::new(file),
            at,
            end,
            reading: None,
        }
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.at >= this.end {
            return Poll::Ready(None);
        }
        let (file, at) = (&this.file, this.at);
        let len = (this.end - at).min(PIECE);
        let reading = this.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            spawn_blocking(move || read(&file, at, len))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        this.reading = None;
        let piece = read.map_err(io::Error::other)??;
        // A file that has become shorter ends the answer early, which the client sees as an error.
        if piece.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.at = this.at.saturating_add(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end.saturating_sub(self.at))
    }
}

fn read(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; usize::try_from(len).unwrap_or_default()];
    let len = file.read_at(&mut piece, at)?;
    piece.truncate(len);
    Ok(piece)
}
